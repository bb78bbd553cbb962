"""One entry of `secrets` -> a Secret, and its value if the owner wrote it. No error quotes a value."""

import base64
import binascii
import re
from collections.abc import Callable
from typing import Final

from cloister._yaml import wrong
from cloister.broker.session import key_material
from cloister.broker.session.grammar import Found, Word
from cloister.broker.session.references import LOOKS_LIKE, template_of
from cloister.broker.session.secret_value import SecretValue
from cloister.broker.session.session import Export, Generated, Given, Imported, Secret

__all__ = ["secret_of"]

ORIGINS: Final = ("value", "generate", "import")
ASCII: Final = re.compile(r"[\t\n -~]+")
AES_SIZES: Final = {16, 24, 32}
LARGEST: Final = 4096
"""Bytes of a binary secret."""

ALGORITHMS: Final = {
    "aes-key": ("AES-256", "AES-128", "AES-192"),
    "private-key": ("P-256", "P-384", "Ed25519"),
    "x509": ("P-256", "P-384", "Ed25519"),
    "jwt-key": ("ES256", "ES384", "EdDSA"),
}
"""What can be made of each kind, the default first."""
GENERATE_KEYS: Final = {
    "ascii": {"size"},
    "binary": {"size"},
    "aes-key": {"algorithm"},
    "private-key": {"algorithm"},
    "x509": {"algorithm", "days", "common_name", "dns"},
    "jwt-key": {"algorithm"},
}
SIZES: Final = {"ascii": 24, "binary": 32}
"""Defaults. 24 characters of 62 are 142 bits."""
DAYS: Final = 90


def secret_of(found: Found, session: str) -> tuple[Secret, SecretValue | None]:
    """The secret, and what the owner wrote as its value. `session` is the name of the session that it stands in."""
    origins = [key for key in ORIGINS if key in found]
    if len(origins) != 1:
        raise wrong(found.place, f"write exactly one of value, generate and import; here are {len(origins)}")
    kind = found.text("kind")
    exports = _exports(found, session)
    if origins == ["import"] and exports:
        raise wrong(
            found.at("export"), "this secret is imported; only the session that makes a secret says who gets it"
        )
    origin, value = ORIGIN[origins[0]](found, kind, session)
    made = Secret(name=found.text("name"), kind=kind, origin=origin, place=found.place, exports=exports)
    return made, value


def _exports(found: Found, session: str) -> frozenset[Export]:
    exports = [Export(session=one.text) for one in found.words("export")]
    exports += [
        Export(session=one.text("session"), session_hash=one.text("session_hash").lower())
        for one in found.records("export")
    ]
    names = [one.session for one in exports]
    if session in names:
        raise wrong(
            found.at("export"), "a session does not export to itself; its services get the secret by referring to it"
        )
    if len(set(names)) != len(names):
        raise wrong(found.at("export"), "one session stands twice; keep one of them")
    return frozenset(exports)


Read = tuple[Given | Generated | Imported, SecretValue | None]


def _given(found: Found, kind: str, session: str) -> Read:
    del session
    word = found.word("value") or Word("", found.place)
    try:
        value = VALUE_OF[kind](word.text)
    except ValueError as error:
        raise wrong(word.place, f"this is no value of kind {kind}: {error}") from None
    references = template_of(word).references if kind == "ascii" else ()
    if kind != "ascii" and LOOKS_LIKE.search(word.text):
        raise wrong(word.place, "only secrets of kind ascii can be put together from others")
    return Given(composed_of=tuple(sorted({one.name for one in references}))), SecretValue(value)


def _generated(found: Found, kind: str, session: str) -> Read:
    del session
    how = found.record("generate") or found
    for key in how.values:
        if key not in GENERATE_KEYS[kind]:
            allowed = ", ".join(sorted(GENERATE_KEYS[kind]))
            raise wrong(how.at(key), f"`{key}` has no meaning for a {kind}; known here: {allowed}")
    offered = ALGORITHMS.get(kind, ("",))
    algorithm = how.text("algorithm", offered[0])
    if algorithm not in offered:
        raise wrong(how.at("algorithm"), f"a {kind} is made as one of {', '.join(offered)}")
    if kind == "x509" and "common_name" not in how:
        raise wrong(how.place, "a certificate needs a subject; add `common_name:`")
    if LOOKS_LIKE.search(how.text("common_name")):
        raise wrong(how.at("common_name"), "everybody sees a certificate's subject: a secret has no place here")
    certificate = kind == "x509"
    return Generated(
        size=(how.whole("size") or SIZES[kind]) if kind in SIZES else 0, algorithm=algorithm,
        days=(how.whole("days") or DAYS) if certificate else 0, common_name=how.text("common_name"),
        dns=tuple(sorted({one.text.lower() for one in how.words("dns")})),
    ), None  # fmt: skip


def _imported(found: Found, kind: str, session: str) -> Read:
    del kind
    source = found.record("import") or found
    if source.text("session") == session:
        raise wrong(
            source.at("session"), "a session does not import from itself: that is a circle; name another session"
        )
    return Imported(
        session=source.text("session"), secret=source.text("secret"), session_hash=source.text("session_hash").lower()
    ), None


ORIGIN: Final[dict[str, Callable[[Found, str, str], Read]]] = {
    "value": _given, "generate": _generated, "import": _imported
}  # fmt: skip


def _ascii(text: str) -> bytes:
    if not ASCII.fullmatch(text):
        raise ValueError("it has characters outside ASCII, or control characters; use kind binary")
    return text.encode()


def _binary(text: str) -> bytes:
    prefix, _, rest = text.partition(":")
    try:
        if prefix == "hex":
            data = binascii.unhexlify(rest)
        elif prefix == "base64":
            data = base64.b64decode(rest, validate=True)
        else:
            raise ValueError("write hex: or base64: before it, so that it has one reading")
    except binascii.Error:
        raise ValueError(f"it is not {prefix}") from None
    if not 1 <= len(data) <= LARGEST:
        raise ValueError(f"it has {len(data):,} bytes; 1 to {LARGEST:,} are allowed")
    return data


def _aes_key(text: str) -> bytes:
    data = _binary(text)
    if len(data) not in AES_SIZES:
        raise ValueError(f"an AES key has 16, 24 or 32 bytes, this has {len(data)}")
    return data


def _private_key(text: str) -> bytes:
    key_material.check_private_key(text.encode())
    return text.encode()


def _certificate(text: str) -> bytes:
    key_material.check_certificate(text.encode())
    return text.encode()


VALUE_OF: Final[dict[str, Callable[[str], bytes]]] = {
    "ascii": _ascii,
    "binary": _binary,
    "aes-key": _aes_key,
    "private-key": _private_key,
    "x509": _certificate,
    "jwt-key": _private_key,
}
