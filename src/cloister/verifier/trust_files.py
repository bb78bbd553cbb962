"""Reading from disk whom to believe and what vouches: keys, roots, certificates, revocation lists, TCB statements."""

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from cloister._der import Der
from cloister._ed25519_sha3 import spki_of_ed25519
from cloister._x509 import Certificate, pem_blocks
from cloister.endorse import cache
from cloister.endorse.anchors import AnchorKind, TrustAnchors
from cloister.endorse.importing import LARGEST_FILE, import_files
from cloister.endorse.store import Endorsements
from cloister.errors import ParseError, UsageError
from cloister.model import Tee
from cloister.result.keys import verification_keys

__all__ = ["LONGEST_KEY", "anchors_in", "read_anchors", "read_endorsements"]

LONGEST_KEY: Final = 65_536
"""Bytes of a file with keys or roots."""

FORMS: Final = "PEM, DER, a JWK, or 64 hexadecimal digits (Ed25519)"
HEX_DIGITS: Final = b"0123456789abcdefABCDEF"


def read_anchors(*files: str | Path, kind: AnchorKind, tees: Iterable[Tee] = Tee) -> tuple[TrustAnchors, Endorsements]:
    """Keys and roots that the caller trusts, from files: as anchors, and as endorsements, where they must be at hand.

    `files`: PEM with `PUBLIC KEY` or `CERTIFICATE`, the same in DER, a JWK or JWK set, or the 64 hexadecimal digits of
    an Ed25519 key.
    `kind`: what such an anchor is worth; `tees`: what it may vouch for. Only these anchors are returned: join them
    with `TrustAnchors.hardware()` by `|` to believe the hardware vendors too. UsageError if a file cannot be read or
    holds no key, ParseError if a certificate is broken.
    """
    vouches = frozenset(tees)
    anchors, given = TrustAnchors(()), Endorsements()
    for file in files:
        path = Path(file)
        some, endorsements = anchors_in(_read(path, LONGEST_KEY), str(path), kind=kind, tees=vouches)
        anchors, given = anchors | some, given | endorsements
    return anchors, given


def anchors_in(data: bytes, name: str, *, kind: AnchorKind, tees: frozenset[Tee]) -> tuple[TrustAnchors, Endorsements]:
    """The same for the content of one file; `name` is the file's."""
    keys, certificates = _keys_in(data, name)
    spkis = [*keys, *(one.spki for one in certificates)]
    anchors = TrustAnchors.of(spkis, kind=kind, name=Path(name).name, tees=tees)
    return anchors, Endorsements(keys=tuple(keys), certificates=tuple(certificates))


def _keys_in(data: bytes, name: str) -> tuple[list[bytes], list[Certificate]]:
    """Public keys (DER SubjectPublicKeyInfo) and certificates."""
    if b"\0" not in data.rstrip(b"\0"):  # evidence may have certificates in PEM inside: those are not to be believed
        keys = pem_blocks(data, "PUBLIC KEY")
        certificates = [Certificate.parse(block) for block in pem_blocks(data, "CERTIFICATE")]
        if keys or certificates:
            return keys, certificates
    text = b"".join(data.split())
    if len(text) == 64 and not text.strip(HEX_DIGITS):
        return [spki_of_ed25519(bytes.fromhex(text.decode("ascii")))], []
    if text[:1] == b"{":
        return [one.spki for one in verification_keys(data)], []
    if data[:1] == b"\x30":
        return ([data], []) if is_public_key(data) else ([], [Certificate.parse(data)])
    raise UsageError(f"{name} holds no public key and no certificate; give {FORMS}")


def is_public_key(der: bytes) -> bool:
    """Whether this is a SubjectPublicKeyInfo: an algorithm and a bit string, where a certificate has three parts."""
    try:
        inside = Der(der, "SubjectPublicKeyInfo").inside("sequence")
        inside.whole("algorithm")
        inside.bits("key")
        inside.finish()
    except ParseError:
        return False
    return True


def read_endorsements(*files: str | Path) -> Endorsements:
    """Collateral from files, in every form that `cloister collateral import` takes; nothing of it is believed yet.

    UsageError if a file cannot be read or a statement lacks what belongs to it, ParseError if it is in no known form.
    """
    return cache.endorsements(import_files((str(file), _read(Path(file), LARGEST_FILE)) for file in files))


def _read(path: Path, longest: int) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(longest + 1)
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read {path}: {error.strerror if isinstance(error, OSError) else error}") from error
    if len(data) > longest:
        raise UsageError(f"{path} is longer than {longest:,} bytes, so it is not what it should be")
    return data
