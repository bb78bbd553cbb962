"""What the targets of the carrier and of the owner's tools begin with."""

import json
from collections.abc import Callable, Iterator
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from tests.forge.elf import TEXT, VARIABLES, elf, segment
from tests.forge.envelope import sgx_quote
from tests.forge.ratls import certificate, claims_for, dice_extension, fresh_key
from tests.forge.sealing import header_of
from tests.forge.x509 import Authority
from tests.fuzz import fixed
from tests.unit.test_flow import BACKGROUND, record
from tests.unit.test_snp_measure import SECTIONS
from tests.unit.test_snp_measure import image as firmware
from tests.unit.test_tls_messages import message

from cloister import _cbor
from cloister.attest.frames import HEAD, Kind, refusal
from cloister.launch import _abi
from cloister.measure.guest import BootParameters
from cloister.measure.image import read_image
from cloister.measure.software import Manifest, SoftwareMeasurement, write_measurement
from cloister.result import _base64url
from cloister.seal import Terms
from cloister.seal.counter import _content_of
from cloister.seal.platform_file import KeyFileStart

__all__ = ["OWNER"]

DIGEST: Final = b"\xab" * 32
MANIFESTS: Final = (
    Manifest(),
    Manifest({"/lib/é.so": DIGEST, "/usr/lib/python3.11/a b.py": b"\1" * 32}, frozenset({"/usr/lib", "/"}), DIGEST),
    Manifest({f"/f{number}": DIGEST for number in range(30)}),
)  # fmt: skip


def frame(kind: Kind, body: bytes) -> bytes:
    """One frame."""
    return HEAD.pack(kind, len(body)) + body


def frames() -> Iterator[bytes]:
    """Whole conversations, and a frame of each kind."""
    bodies = {
        Kind.HELLO: HEAD.pack(_abi.ABI_VERSION, _abi.HELLO_GUARDED), Kind.MANIFEST: MANIFESTS[1].serialize(),
        Kind.STATEMENT: bytes(range(96)), Kind.NONCE: b"bm9uY2U=", Kind.QUOTE: bytes(64), Kind.SEALED: bytes(100),
        Kind.REFUSED: refusal("denied: no", 4), Kind.REFRESH: bytes(96), Kind.EVIDENCE_WANTED: bytes(64),
        Kind.EVIDENCE: sgx_quote(),
    }  # fmt: skip
    yield from (frame(kind, body) for kind, body in bodies.items())
    yield b"".join(frame(kind, body) for kind, body in bodies.items())


def response(status: str, body: object, *headers: str) -> bytes:
    """What a server says, byte by byte."""
    data = json.dumps(body).encode()
    return "\r\n".join((f"HTTP/1.1 {status}", *headers, f"Content-Length: {len(data)}", "", "")).encode() + data


def answers() -> Iterator[bytes]:
    """Documents and whole responses, whole and broken."""
    key, text = _base64url.encode(DIGEST), _base64url.encode(bytes(90))
    sealed = {"protected": _abi.PROTECTED_HEADER, "broker_key": key, "encrypted_key": key, "ciphertext": text}
    yield json.dumps(sealed).encode()
    yield response("200 OK", {"nonce": "bm9uY2U=", "extra-params": ""}, "Set-Cookie: kbs-session-id=abc; HttpOnly")
    yield response("200 OK", {"token": "ey.ey.AA"}) + b"\n--\n" + response("200 OK", sealed)
    yield response("200 OK", {"token": "ey.ey.AA", "challenge": "AAAA", "sessions": [{"name": "a"}], "secrets": []})
    yield response("403 Forbidden", {"type": "about:blank", "detail": "no: é\u202e"}, "Content-Type: application/json")
    yield response("503 Service Unavailable", {"detail": 1}, "Retry-After: 5", "Connection: close")
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;a=b\r\n{}\r\n0\r\nx: y\r\n\r\n"
    yield b"HTTP/1.1 100 Continue\r\n\r\n" + chunked
    yield b"HTTP/1.0 204 No Content\r\n\r\n"
    yield b"HTTP/1.1 200 OK\r\nContent-Length: 9999999999999\r\n\r\n{}"
    yield b"HTTP/1.1 301 Moved\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"


def sealed() -> Iterator[bytes]:
    """Sealed data, headers, and the files that it depends on."""
    for data in (b"", b"a secret"):
        yield fixed.sealer().seal(data, Terms(label=fixed.LABEL))
    yield header_of(fixed.sealer().seal(b"", Terms(label="lösch"))).encoded
    yield KeyFileStart(magic=b"CLOIPKEY", version=1).serialize() + DIGEST
    yield _content_of(bytes(range(16)), 5)
    yield ed25519.Ed25519PrivateKey.from_private_bytes(DIGEST).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )


def manifest() -> Iterator[bytes]:
    """What the runtime reads, what people read, and what was seen while a program ran."""
    for one in MANIFESTS:
        yield one.serialize()
        measured = SoftwareMeasurement(program="/bin/program", executable=DIGEST, manifest=one)
        yield write_measurement(measured, {"/lib/é.so": "a note"}).encode()
    yield b"x/bin/sh\0m/lib/a.so\0r/lib/a.so\0w/tmp/x\0?\0"


def image() -> Iterator[bytes]:
    """ELF programs of each machine, firmware, boot parameters."""
    for machine in (62, 183, 243):
        yield elf(TEXT, VARIABLES, machine=machine)
    yield elf(TEXT, type=3, entry=0x400200)
    yield elf(segment(0, flags=4, offset=64, filesz=20, kind=3), TEXT)
    yield elf(segment(0x400000, flags=5, filesz=0x1000, memsz=1 << 23))
    yield firmware(*SECTIONS)
    yield BootParameters.of(read_image(elf(TEXT, VARIABLES))).serialize()


def flow() -> Iterator[bytes]:
    """A conversation, and one with strangers in it."""
    yield record(BACKGROUND)
    yield record([("carrier", "carrier", "x", 0), ("é" * 64, "<b>", "{{ 1 }}", 500)])


def tls() -> Iterator[bytes]:
    """Certificate messages, and the messages about freshness."""
    key = fresh_key()
    own = certificate(key, [dice_extension(sgx_quote, claims_for(key))]).encoded
    plain = Authority("x").certificate.encoded
    yield from (message(own), message(own, plain, context=b"c", extensions=b"ext"), message(plain), message())
    for one in ([b""], [b"n" * 32], [b"", b""], [sgx_quote(), b"n" * 32], [own, b""]):
        data = _cbor.dumps(one)
        yield len(data).to_bytes(4, "big") + data


OWNER: Final[dict[str, Callable[[], Iterator[bytes]]]] = {
    "frames": frames, "answers": answers, "sealed": sealed, "manifest": manifest, "image": image, "flow": flow,
    "tls": tls,
}  # fmt: skip
"""Name of a target to what forges its inputs."""
