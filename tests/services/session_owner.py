"""An owner of sessions who signs requests to a broker by docs/formats/broker-api.md, with a signer of its own."""

import base64
import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

import httpx
from tests.services.key_broker import Desk

from cloister.broker.session.read_people import fingerprint
from cloister.result.algorithms import Algorithm
from cloister.result.signing import SigningKey

__all__ = ["Owner"]

SESSIONS = "/admin/v1/sessions"


def text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


@dataclass
class Owner:
    """Somebody with a key. `certificate` is what the server is believed to have."""

    at: Desk
    key: SigningKey = field(default_factory=lambda: SigningKey.generate(Algorithm.EDDSA))
    certificate: str = ""

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.key.spki)

    def challenge(self) -> str:
        found = self.at.client.post("/cloister/v1/challenge")
        assert found.status_code == 200, found.text
        return str(found.json()["challenge"])

    def header(self, method: str, target: str, body: bytes = b"", **changes: Any) -> str:
        """The signed header; `changes` to what is signed."""
        context = changes.pop("context", b"cloister session request 1\0")
        named = {
            "body": hashlib.sha256(body).hexdigest(), "challenge": changes.get("challenge") or self.challenge(),
            "method": method, "server": self.certificate, "target": target,
        } | changes  # fmt: skip
        said = json.dumps(named, sort_keys=True, separators=(",", ":")).encode()
        signature = self.key.sign(context + said)
        members = {
            "challenge": named["challenge"], "key": text(self.key.spki), "server": named["server"],
            "signature": text(signature),
        }  # fmt: skip
        return text(json.dumps(members).encode())

    def ask(self, method: str, name: str = "", body: Any = None, *, token: str = "", **headers: str) -> httpx.Response:
        """A signed request about a session; with the administrator's token too, if one is given."""
        target = f"{SESSIONS}/{name}" if name else SESSIONS
        data = b"" if body is None else json.dumps(body).encode()
        sent = {"cloister-signature": self.header(method, target, data)} | headers
        if token:
            sent["authorization"] = f"Bearer {token}"
        return self.at.client.request(method, target, content=data, headers=sent)

    def put(self, name: str, session: str, *, token: str = "", approvals: tuple[Any, ...] = ()) -> httpx.Response:
        return self.ask("PUT", name, {"session": session, "approvals": list(approvals)}, token=token)
