"""What the targets of the broker begin with: sessions, messages and logs, with the keys of `fixed.py`."""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from tests.forge.frameworks import SHIELD
from tests.forge.sessions import MEASUREMENT, SIGNER, document, public_pem, text
from tests.fuzz import fixed
from tests.fuzz.service import seeds as service
from tests.services.key_broker import new_key, public_members

from cloister.attest.console_link import NONCE, Call
from cloister.broker.audit.event_json import json_of_event
from cloister.broker.nonces import Purpose
from cloister.broker.root_report import RootReport
from cloister.broker.session.approval import approval_json, sign_approval
from cloister.broker.session.canonical import canonical_form
from cloister.broker.session.key_material import make_certificate, make_private_key
from cloister.broker.session.read import parse_session
from cloister.broker.session.request_signature import sign_request
from cloister.shield_policy.block import ShieldBlock
from cloister.shield_policy.policy import IdentityAt, KeyAt, Root
from cloister.shield_policy.resolve import Identity, resolve

__all__ = ["BROKER", "OWNED"]

EXAMPLES: Final = Path(__file__).parents[2] / "examples" / "sessions"
PEOPLE: Final = [
    {"name": "alice", "key": public_pem(fixed.OWNER)}, {"name": "bob", "key": public_pem(fixed.OTHER_OWNER)},
]  # fmt: skip
OWNED: Final = text(document(approvals={"threshold": 2, "owners": PEOPLE}))
"""The session that approvals are of."""
KEY: Final = "ab" * 32


def counting(size: int) -> bytes:
    """Entropy that everybody can guess."""
    return bytes(range(1, size + 1))


def rich() -> dict[str, Any]:
    """A session with something of everything."""
    key = make_private_key("P-256", counting).decode()
    pair = make_certificate("P-256", counting, common_name="x", dns=("x.example",), start=fixed.AT, days=30).decode()
    rule = {
        "tee": "sgx", "signer": SIGNER, "product": 7, "minimum_security_version": 3, "tolerate": ["OutOfDate"],
        "ignore_advisories": ["INTEL-SA-00001"], "claims": {"configid": "00" * 64},
        "anchors": ["hardware", "owner"],
    }  # fmt: skip
    service = {
        "name": "web", "attestation": [rule, {"tee": "snp", "measurement": ["ab" * 48, "cd" * 48]}], "pwd": "/srv",
        "command": ["server", "--token", "$$SCONE::token$$", "$$SCONE::aes:hex$$"],
        "environment": {"MODE": "x", "PIN": "a$$SCONE::pin$$b"},
        "injection_files": [
            {"path": "/run/key.pem", "content": "$$SCONE::pair:key$$"},
            {"path": "/run/raw", "content": "$$SCONE::aes$$"},
        ],
        "secrets": ["token", "composed"],
        "shield": {
            "files": [
                {"path": "/d", "kind": "encrypted", "volume": "/v", "key": "aes", "root": "broker", "create": True},
                {"path": "/usr", "kind": "plain", "unsafe_plain": True, "read_only": True},
                {"path": "/tmp", "kind": "memory"},
            ],
            "listen": [{"port": 443, "protocol": "tls", "certificate": "pair", "clients": [f"sha256:{KEY}"]}],
            "connect": [
                {"address": "::1", "port": 53, "protocol": "plain", "unsafe_plain": True},
                {"address": "any", "port": 80, "protocol": "ra-tls", "pins": [f"sha256:{KEY}"], "server_name": "x"},
            ],
            "console": {"key": "aes", "terminal": True, "rows": 24, "columns": 80},
        },
    }  # fmt: skip
    secrets = [
        {"name": "token", "kind": "ascii", "generate": {"size": 40}, "export": [{"session": "other/app"}]},
        {"name": "pin", "kind": "ascii", "value": "plantedsecretvalue"},
        {"name": "composed", "kind": "ascii", "value": "user:$$SCONE::pin$$@host"},
        {"name": "blob", "kind": "binary", "value": "base64:cGxhbnRlZHNlY3JldHZhbHVl"},
        {"name": "aes", "kind": "aes-key", "generate": {"algorithm": "AES-256"}},
        {"name": "key", "kind": "private-key", "value": key}, {"name": "pair", "kind": "x509", "value": pair},
        {"name": "theirs", "kind": "ascii", "import": {"session": "b/c", "secret": "s", "session_hash": KEY}},
    ]  # fmt: skip
    return document(
        services=[service, {"name": "other", "attestation": [{"tee": "sgx", "measurement": MEASUREMENT}]}],
        secrets=secrets, approvals={"threshold": 1, "owners": PEOPLE}, verifiers=PEOPLE[:1],
        access_policy={"read": ["CREATOR", "alice", KEY], "update": ["NONE"]}, predecessor=KEY,
    )  # fmt: skip


def session() -> Iterator[bytes]:
    """Sessions in both styles, and pieces of YAML that no session may have."""
    for path in sorted(EXAMPLES.glob("*.yaml")):
        yield path.read_bytes()
    yield from (OWNED, text(document()), text(rich()))
    yield b'name: a/b\nversion: "1"\nservices: &x [{name: w}]\nsecrets: *x\n'
    yield b"%YAML 1.2\n---\n? !!str a\n: |-\n  b\n  c\n...\n---\n"
    yield b"a: {b: [c, 'd', \"\\u0041\\U0010ffff\"], e: >+\n  f\n\n  g\n\n}\n"
    yield b"a: 0x_1\nb: 1:20:30.5\nc: 2026-01-01t\n<<: {d: ~}\n"
    yield b"- " * 11 + b"a\n" + b"[" * 11 + b"]" * 11


def canonical() -> Iterator[bytes]:
    """Sessions as a broker shows them."""
    for one in (OWNED, text(rich()), *(path.read_bytes() for path in sorted(EXAMPLES.glob("*.yaml")))):
        yield canonical_form(parse_session(one, "x"))


def owner() -> Iterator[bytes]:
    """Approvals, headers of signed requests, private keys."""
    made = parse_session(OWNED, "owned.yaml")
    for key in (fixed.OWNER, fixed.OTHER_OWNER):
        yield approval_json(sign_approval(made, key)).encode()
        for server in ("", KEY):
            yield sign_request(key, fixed.ASKED, challenge="challenge", server=server).encode()
    for algorithm in ("P-256", "P-384", "Ed25519"):
        yield make_private_key(algorithm, counting)
    yield make_certificate("Ed25519", counting, common_name="x", dns=(), start=fixed.AT, days=1)


def encoded(value: object) -> bytes:
    """JSON."""
    return json.dumps(value).encode()


def attestation(jwk: Mapping[str, Any], **changes: Any) -> dict[str, Any]:
    """A message of the KBS protocol."""
    evidence = {"primary_evidence": {"evidence": "AAAA"}, "additional_evidence": ""}
    made = {"init-data": None, "runtime-data": {"nonce": "bm9uY2U=", "tee-pubkey": jwk}, "tee-evidence": evidence}
    return made | changes


def attester() -> Iterator[bytes]:
    """Requests, answers, keys, rules, cookies."""
    yield encoded({"version": "0.4.0", "tee": "snp", "extra-params": {"a": [1]}})
    keys = [public_members(new_key(kind)) for kind in ("P-256", "P-521", "RSA", "X25519")]
    yield from map(encoded, keys)
    more = json.dumps({"tdx": ["GPU", {"evidence": "AAAA"}], "snp": {"quote": "x"}})
    yield encoded(attestation(keys[0]))
    init_data = 'algorithm = "sha384"\nversion = "0.1.0"\n\n[data]\n"aa.toml" = """\nurl = \'x\'\n"""\n"p.rego" = "x"\n'
    yield init_data.encode()
    yield Call(nonce=bytes(range(NONCE)), terminal=True, rows=24, columns=80).serialize()
    yield encoded(attestation(keys[0], **{"init-data": {"format": "toml", "body": init_data}}))
    yield encoded(attestation(
        keys[3], **{"tee-evidence": {"primary_evidence": {"quote": "é", "n": 1.5}, "additional_evidence": more}}
    ))  # fmt: skip
    measurements = {"sgx": ["ab" * 32, "cd" * 32], "snp": ["ef" * 48]}
    yield encoded({"measurements": measurements, "anchors": ["hardware", "owner"]})
    yield encoded({"measurements": {}})
    for nonce in (bytes(range(1, 65)), bytes(range(1, 9))):
        yield fixed.challenges().issue(Purpose.KBS, tee="snp", nonce=nonce).text.encode()
    yield fixed.challenges().issue(Purpose.VERAISON).text.encode()


def audit() -> Iterator[bytes]:
    """Entries, checkpoints, events, whole logs, and logs with something wrong."""
    lines = [one.line() for one in fixed.log()]
    yield from lines
    yield fixed.checkpoint().serialize()
    yield from (encoded(json_of_event(one.event)) for one in fixed.log())
    whole = b"".join(line + b"\n" for line in lines)
    yield from (whole, whole[:-20], b"".join(line + b"\n" for line in lines[:-2]), whole.replace(b"payroll", b"pay"))
    yield b"".join(line + b"\n" for line in (lines[0], *lines[2:]))
    yield b"\n".join((*lines[:3], b"--", *lines[3:], b""))
    yield b"".join(line + b"\n" for line in lines[2:])


def shield() -> Iterator[bytes]:
    """Policies in TOML, blocks, reports of roots."""
    yield from (SHIELD.encode(), b"[shield]\nunsafe_open_files = true\n")
    made = parse_session(text(rich()), "x").services[0].shield
    if made is not None:
        yield resolve(made, SameKey()).serialize()
    yield ShieldBlock(strict=False).serialize()
    yield RootReport.make(bytes(32), "a/b:/data#000000000000000000000001.0", Root(3, bytes(32))).serialize()


class SameKey:
    """For every question the same answer."""

    def key(self, at: KeyAt, place: str) -> bytes:
        del at, place
        return bytes(range(32))

    def identity(self, at: IdentityAt, place: str) -> Identity:
        del at, place
        return Identity((b"certificate",), b"key")

    def certificate(self, path: str, place: str) -> bytes:
        del path, place
        return b""

    def root(self, name: str, place: str) -> Root | None:
        del name, place
        return Root(3, bytes(range(32)))


BROKER: Final[dict[str, Callable[[], Iterator[bytes]]]] = {
    "shield": shield, "session": session, "canonical": canonical, "owner": owner, "attester": attester, "audit": audit,
    "service": service,
}  # fmt: skip
"""Name of a target to what forges its inputs."""
