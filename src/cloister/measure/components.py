"""What a launch measurement was computed from, part by part, so that two of them can be compared.

A digest alone says that something changed. Beside it stand the inputs: files by their SHA-256, settings as they are
written, and one root over all of them. The root is not what evidence shows: it tells at one glance whether two lists
agree, also where the digest cannot (an input that a machine does not measure).
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from cloister import _json
from cloister.errors import ParseError, UsageError
from cloister.model import Digest, Tee

__all__ = ["Difference", "Measured", "content", "differences", "hexadecimal", "read_measured"]

RECORD: Final = "measurement"
SHA256: Final = "sha256:"
MEMBERS: Final = frozenset({"machine", "tee", "claim", "algorithm", "digest", "claims", "components", "root"})
LARGEST: Final = 8 << 20
"""Bytes of a document."""


def content(data: bytes) -> str:
    """A file as a component: its SHA-256 and nothing else, so that a renamed file is the same component."""
    return SHA256 + hashlib.sha256(data).hexdigest()


def hexadecimal(number: int) -> str:
    """A number as a component, in the form that documents of processors use."""
    return f"{number:#x}"


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A launch measured offline. `claims` are what policies call them, the launch measurement first.

    `machine` is what `--tee` names; `components` are the inputs in the order in which they were used.
    """

    machine: str
    tee: Tee
    claims: Mapping[str, Digest]
    components: Mapping[str, str] = field(default_factory=dict)

    @property
    def claim(self) -> str:
        """The launch measurement's name."""
        return next(iter(self.claims))

    @property
    def digest(self) -> Digest:
        """The launch measurement."""
        return self.claims[self.claim]

    @property
    def root(self) -> bytes:
        """SHA-256 over machine and components, each with its length before it: no two lists have one encoding."""
        hashed = hashlib.sha256()
        for text in (self.machine, *(part for pair in self.components.items() for part in pair)):
            data = text.encode("utf-8", "surrogatepass")
            hashed.update(len(data).to_bytes(8, "little") + data)
        return hashed.digest()

    def references(self) -> list[str]:
        """What `cloister policy init --measurement` takes, one for each claim."""
        return [f"{self.tee}:{claim}={digest.value.hex()}" for claim, digest in self.claims.items()]

    def as_json(self) -> dict[str, object]:
        """What `cloister measure --json` prints, and `read_measured` reads."""
        return {
            "machine": self.machine,
            "tee": str(self.tee),
            "claim": self.claim,
            "algorithm": self.digest.algorithm,
            "digest": self.digest.value.hex(),
            "claims": {claim: str(digest) for claim, digest in self.claims.items()},
            "components": dict(self.components),
            "root": self.root.hex(),
        }


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A component or claim that differs; None where it is missing."""

    name: str
    before: str | None
    after: str | None


def differences(before: Measured, after: Measured) -> list[Difference]:
    """Components that differ, then claims that do. Empty if and only if root, machine and claims are the same."""
    found = _compared({"machine": before.machine, **before.components}, {"machine": after.machine, **after.components})
    return found + _compared(*({name: str(one) for name, one in each.claims.items()} for each in (before, after)))


def _compared(left: Mapping[str, str], right: Mapping[str, str]) -> list[Difference]:
    return [
        Difference(name=name, before=left.get(name), after=right.get(name))
        for name in {**left, **right}
        if left.get(name) != right.get(name)
    ]


def read_measured(text: str, name: str) -> Measured:
    """Read what `cloister measure --json` wrote for a firmware or an image. UsageError, with the file's `name`."""
    try:
        return _read(text)
    except ParseError as error:
        raise UsageError(f"{name}: no measurement that `cloister measure --json` wrote: {error}") from error


def _read(text: str) -> Measured:
    data = text.encode("utf-8", "surrogatepass")
    if len(data) > LARGEST:
        raise ParseError(RECORD, "length", 0, f"{len(data)} bytes; at most {LARGEST}")
    document = _json.loads(data, RECORD)
    if not isinstance(document, Mapping) or document.keys() != MEMBERS:
        raise ParseError(RECORD, "members", 0, f"needs {', '.join(sorted(MEMBERS))}, and has no others")
    tee = _json.text(document, "tee", RECORD)
    if tee not in tuple(Tee):
        raise ParseError(RECORD, "tee", 0, f"{tee!r} is none of {', '.join(Tee)}")
    made = Measured(
        machine=_json.text(document, "machine", RECORD),
        tee=Tee(tee),
        claims={claim: _digest(value) for claim, value in _texts(document, "claims").items()},
        components=_texts(document, "components"),
    )
    if not made.claims or made.as_json() != dict(document):
        raise ParseError(RECORD, "root", 0, "does not belong to the rest: the document was changed by hand")
    return made


def _texts(document: Mapping[str, object], member: str) -> dict[str, str]:
    value = document[member]
    if not isinstance(value, Mapping) or not all(isinstance(one, str) for one in value.values()):
        raise ParseError(RECORD, member, 0, "is not a set of texts by name")
    return {str(key): str(one) for key, one in value.items()}


def _digest(text: str) -> Digest:
    algorithm, _, digits = text.partition(":")
    expected = hashlib.new(algorithm).digest_size or -1 if algorithm in hashlib.algorithms_guaranteed else -1
    try:
        value = bytes.fromhex(digits)
    except ValueError:
        value = b""
    if len(value) != expected or value.hex() != digits:
        raise ParseError(RECORD, "claims", 0, f"{text!r} is no digest, such as sha256:00ff...")
    return Digest(algorithm, value)
