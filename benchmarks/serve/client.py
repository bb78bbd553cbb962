"""Clients of the KBS protocol that do as little as they can: raw HTTP/1.1 on kept connections, one key each."""

import asyncio
import hashlib
import json
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Client", "Flow"]

Answer = Callable[[str], bytes]
"""The Attestation message, as JSON, that answers a nonce."""


@dataclass(slots=True)
class Flow:
    """Seconds that the three steps of one flow took."""

    auth: float
    attest: float
    release: float
    evidence: float
    """Of making the evidence, which is the client's own work."""
    connect: float = 0.0

    @property
    def total(self) -> float:
        """What the client waited for the service."""
        return self.connect + self.auth + self.attest + self.release


@dataclass
class Client:
    """One connection that is kept; with TLS, one for each flow, as programs that start have it."""

    host: str
    port: int
    tee: str
    answer: Answer
    tls: ssl.SSLContext | None = None
    flows: list[Flow] = field(default_factory=list)

    async def run(self, until: float) -> None:
        """Flows, one behind the other, until that time of the monotonic clock."""
        while time.monotonic() < until:
            start = time.perf_counter()
            reader, writer = await asyncio.open_connection(self.host, self.port, ssl=self.tls)
            connect = time.perf_counter() - start
            try:
                while time.monotonic() < until:
                    self.flows.append(await self._flow(reader, writer))
                    if self.tls is not None:
                        self.flows[-1].connect = connect
                        break
            finally:
                writer.close()

    async def _flow(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Flow:
        body = json.dumps({"version": "0.4.0", "tee": self.tee, "extra-params": ""}).encode()
        start = time.perf_counter()
        head, found = await exchange(reader, writer, "POST /kbs/v0/auth", b"", body)
        auth = time.perf_counter()
        cookie = head.partition(b"set-cookie: ")[2].partition(b";")[0]
        message = self.answer(json.loads(found)["nonce"])
        made = time.perf_counter()
        await exchange(reader, writer, "POST /kbs/v0/attest", cookie, message)
        attested = time.perf_counter()
        await exchange(reader, writer, "GET /kbs/v0/resource/app/keys/db", cookie, b"")
        end = time.perf_counter()
        return Flow(auth=auth - start, attest=attested - made, release=end - attested, evidence=made - auth)


async def exchange(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, what: str, cookie: bytes, body: bytes
) -> tuple[bytes, bytes]:
    """One request and its answer: lower-case headers, body. RuntimeError if it is not 200."""
    head = f"{what} HTTP/1.1\r\nhost: bench\r\ncontent-length: {len(body)}\r\n".encode()
    writer.write(head + (b"cookie: " + cookie + b"\r\n" if cookie else b"") + b"\r\n" + body)
    answered = await reader.readuntil(b"\r\n\r\n")
    length = int(answered.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    found = await reader.readexactly(length)
    if b" 200 " not in answered[:20]:
        raise RuntimeError(f"{what}: {answered[:40]!r} {found[:200]!r}")
    return answered, found


def answering(jwk: dict[str, Any], evidence: Callable[[bytes], bytes], wrap: Callable[[bytes], Any]) -> Answer:
    """Answers with evidence that is bound to a key."""

    def answer(nonce: str) -> bytes:
        runtime = {"nonce": nonce, "tee-pubkey": jwk}
        text = json.dumps({"additional-evidence": "", **runtime}, sort_keys=True, separators=(",", ":"))
        primary = wrap(evidence(hashlib.sha384(text.encode()).digest()))
        found = {"primary_evidence": primary, "additional_evidence": ""}
        return json.dumps({"runtime-data": runtime, "tee-evidence": found}).encode()

    return answer
