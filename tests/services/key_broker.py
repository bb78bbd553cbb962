"""A service in this process, an attester with forged evidence, and a client of the KBS protocol that knows no Cloister.

The client's JOSE is joserfc's and its canonical JSON its own, so that a mistake of ours is not made twice.
"""

import base64
import hashlib
import io
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
from cryptography.hazmat.bindings._rust import openssl
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from joserfc import jwe
from joserfc.jwk import ECKey, RSAKey
from pyhpke import AEADId, CipherSuite, KDFId, KEMId, KEMKey
from tests.forge import amd
from tests.forge.software import SoftwareForge

from cloister.endorse.anchors import AnchorKind
from cloister.model import Tee
from cloister.result.signing import SigningKey
from cloister.serve.appraiser import Appraiser
from cloister.serve.journal import Journal
from cloister.serve.server import Listening, bind, server_for
from cloister.serve.service import Service, Settings
from cloister.verifier import Verifier
from cloister.verifier.policy_files import load_policy

__all__ = [
    "NOW",
    "Attester",
    "Clock",
    "Desk",
    "X25519Key",
    "desk",
    "octets",
    "rule_for",
    "snp_attester",
    "software_attester",
]

NOW = amd.NOW
COOKIE = "kbs-session-id"
SECRET = b"correct horse battery staple \x00\xff"
AUTH_SUITE = CipherSuite.new(KEMId.DHKEM_X25519_HKDF_SHA256, KDFId.HKDF_SHA256, AEADId.CHACHA20_POLY1305)
HPKE_4 = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.CHACHA20_POLY1305)


@dataclass
class X25519Key:
    """What joserfc has no HPKE for. Two other implementations open what is encrypted to it: one for each mode."""

    private: X25519PrivateKey = field(default_factory=X25519PrivateKey.generate)

    def open(self, message: dict[str, str], *, additional: bytes | None = None) -> bytes:
        if "broker_key" in message:
            return self.open_from(message)
        text = octets(message["encrypted_key"]) + octets(message["ciphertext"])
        header = message["protected"].encode() if additional is None else additional
        # The library's public interface takes no additional data; this function of it does.
        return openssl.hpke._decrypt_with_aad(HPKE_4, text, self.private, b"", header)

    def open_from(self, message: dict[str, str]) -> bytes:
        """What the holder of `broker_key` sealed."""
        private = KEMKey.from_pyca_cryptography_key(self.private)
        sender = KEMKey.from_pyca_cryptography_key(X25519PublicKey.from_public_bytes(octets(message["broker_key"])))
        context = AUTH_SUITE.create_recipient_context(octets(message["encrypted_key"]), private, pks=sender)
        return context.open(octets(message["ciphertext"]), message["protected"].encode())


Key = ECKey | RSAKey | X25519Key


def octets(text: str) -> bytes:
    """base64url without padding, decoded."""
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


@dataclass
class Clock:
    """A clock that goes when it is told to."""

    time: datetime = NOW

    def __call__(self) -> datetime:
        return self.time

    def forward(self, **units: float) -> None:
        self.time += timedelta(**units)


@dataclass(frozen=True, kw_only=True)
class Attester:
    """Something that makes evidence over report data. `measurement` is what it would be released for."""

    tee: str
    measurement: str
    verifier: Verifier
    policy: str
    make: Callable[[bytes], bytes]
    key: Key = field(default_factory=lambda: ECKey.generate_key("P-256"))

    def with_key(self, key: Key) -> "Attester":
        return Attester(**{name: getattr(self, name) for name in self.__dataclass_fields__} | {"key": key})

    @property
    def jwk(self) -> dict[str, Any]:
        return public_members(self.key)

    def answer(self, nonce: str, **changes: Any) -> dict[str, Any]:
        """The Attestation message that answers a nonce; `changes` lie about what was bound."""
        runtime = {"nonce": nonce, "tee-pubkey": self.jwk}
        hashed = {"additional-evidence": "", **runtime} | changes.pop("hashed", {})
        text = json.dumps(hashed, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        evidence = self.make(hashlib.sha384(text.encode()).digest())
        primary = {"evidence": base64.b64encode(evidence).decode()}
        message = {
            "init-data": None, "runtime-data": runtime,
            "tee-evidence": {"primary_evidence": primary, "additional_evidence": ""},
        }  # fmt: skip
        return message | changes

    def open(self, message: Any) -> bytes:
        """What is in a JWE, by another implementation."""
        if isinstance(self.key, X25519Key):
            return self.key.open(message)
        found = jwe.decrypt_json(message, self.key, algorithms=["RSA-OAEP-256", "ECDH-ES+A256KW", "A256GCM"])
        assert found.plaintext is not None
        return found.plaintext


def cookie_of(response: httpx.Response) -> str:
    """The session that a response gives."""
    return response.headers["set-cookie"].partition("=")[2].partition(";")[0]


def new_key(curve: str = "P-256") -> Key:
    if curve == "X25519":
        return X25519Key()
    return RSAKey.generate_key(2048) if curve == "RSA" else ECKey.generate_key(curve)


def public_members(key: Key) -> dict[str, Any]:
    if isinstance(key, X25519Key):
        x = base64.urlsafe_b64encode(key.private.public_key().public_bytes_raw()).decode().rstrip("=")
        return {"kty": "OKP", "crv": "X25519", "alg": "HPKE-4", "x": x}
    found = key.as_dict(private=False)
    names = ("kty", "n", "e") if found["kty"] == "RSA" else ("kty", "crv", "x", "y")
    algorithm = "RSA-OAEP-256" if found["kty"] == "RSA" else "ECDH-ES+A256KW"
    return {"alg": algorithm, **{name: found[name] for name in names}}


def software_attester(key: Key | None = None, host: SoftwareForge | None = None) -> Attester:
    forge = host or SoftwareForge()
    measurement = measurement_of_software(forge)
    return Attester(
        tee="software", measurement=measurement, make=forge.evidence, key=key or new_key(),
        verifier=Verifier(anchors=forge.anchors, endorsements=forge.endorsements),
        policy=f'accept_anchors = ["software"]\n[software]\nmeasurement = "{measurement}"\n',
    )  # fmt: skip


def measurement_of_software(forge: SoftwareForge) -> str:
    verifier = Verifier(anchors=forge.anchors, endorsements=forge.endorsements)
    verdict = verifier.appraise(forge.evidence(b"1"), at=NOW)
    return str(verdict.claims["measurement"])


def snp_attester(key: Key | None = None) -> Attester:
    platform = amd.platform()
    ek = platform.ek()
    measurement = bytes(range(48)).hex()
    return Attester(
        tee="snp", measurement=measurement, key=key or new_key(),
        make=lambda data: amd.signed_report(ek, nonce=data).serialize(),
        verifier=Verifier(anchors=platform.anchors, endorsements=platform.endorsements(ek)),
        policy=f'accept_anchors = ["testing"]\n[snp]\nmeasurement = "{measurement}"\n',
    )  # fmt: skip


def rule_for(attester: Attester, **changes: Any) -> dict[str, Any]:
    """The release rule that lets this attester have a secret."""
    kind = "software" if attester.tee == Tee.SOFTWARE else "testing"
    return {"measurements": {attester.tee: [attester.measurement]}, "anchors": [kind]} | changes


@dataclass
class Desk:
    """One service with its client."""

    service: Service
    client: httpx.Client
    address: tuple[str, int]
    clock: Clock
    log: io.StringIO
    token: str
    attester: Attester

    def admin(self, method: str, path: str, **options: Any) -> httpx.Response:
        headers = {"authorization": f"Bearer {options.pop('token', self.token)}"}
        return self.client.request(method, f"/admin/v1/{path}", headers=headers, **options)

    def store_secret(self, name: str = "app/keys/db", value: bytes = SECRET, **rule: Any) -> httpx.Response:
        body = {"value": base64.b64encode(value).decode(), "release": rule or rule_for(self.attester)}
        found = self.admin("PUT", f"secrets/{name}", json=body)
        assert found.status_code == 201, found.text
        return found

    def auth(self, tee: str = "", **changes: Any) -> httpx.Response:
        self.client.cookies.clear()
        body = {"version": "0.4.0", "tee": tee or self.attester.tee, "extra-params": ""} | changes
        found = self.client.post("/kbs/v0/auth", json=body)
        self.client.cookies.clear()  # the service's clock is not that of the client's cookies
        if "set-cookie" in found.headers:
            self.client.cookies.set(COOKIE, cookie_of(found))
        return found

    def attest(self, attester: Attester | None = None, **changes: Any) -> httpx.Response:
        """Both steps; the cookie stays with the client."""
        one = attester or self.attester
        nonce = self.auth(one.tee).json()["nonce"]
        found = self.client.post("/kbs/v0/attest", json=one.answer(nonce, **changes))
        if "set-cookie" in found.headers:
            self.client.cookies.clear()
            self.client.cookies.set(COOKIE, cookie_of(found))
        return found

    def resource(self, name: str = "app/keys/db", **headers: str) -> httpx.Response:
        return self.client.get(f"/kbs/v0/resource/{name}", headers=headers)


@contextmanager
def listening(service: Service) -> Iterator[tuple[str, int]]:
    """The service on a loopback port, as `cloister serve` runs it, but in a thread and without TLS."""
    server = server_for(service.application, Listening())
    with bind("127.0.0.1", 0) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            yield listener.getsockname()[:2]
        finally:
            server.should_exit = True
            thread.join(15)
            assert not thread.is_alive()


@contextmanager
def desk(directory: Path, attester: Attester | None = None, *, database: str = "", **settings: Any) -> Iterator[Desk]:
    """A service with its state in this directory, which believes what this attester makes."""
    one, clock, log = attester or software_attester(), settings.pop("clock", None) or Clock(), io.StringIO()
    policy_file = directory / "policy.toml"
    policy_file.write_text(one.policy)
    policy, references = load_policy(policy_file, NOW)

    def make(key: SigningKey) -> Appraiser:
        return Appraiser(
            verifier=one.verifier, key=key, clock=clock, policy=policy, references=references,
            accept_anchors=frozenset(AnchorKind),
        )  # fmt: skip

    made = Settings(
        state=directory / "state", appraiser=make, database=database, clock=clock, secure_cookie=False, **settings
    )
    service = Service(made, Journal(log))
    try:
        with listening(service) as address, httpx.Client(base_url=f"http://{address[0]}:{address[1]}") as client:
            yield Desk(service, client, address, clock, log, service.shared.new_token, one)
    finally:
        service.close()
