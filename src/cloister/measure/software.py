"""What a program measures in the software enclave: its file, and the manifest of everything else that may be code.

A strict enclave lets nothing in that the manifest does not list by path and SHA-256 (runtime/src/admission.h). Paths
are the names by which files are opened, not what links lead to: the runtime compares text, which no host redirects.
"""

import hashlib
import json
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from cloister import _cbor
from cloister.errors import ParseError, UsageError
from cloister.evidence.software import libraries_digest

__all__ = ["Change", "Manifest", "SoftwareMeasurement", "difference", "read_measurement", "write_measurement"]

DIGEST: Final = 32
BROKER: Final = "broker"
"""No path: what a manifest says of the broker stands under it."""
NOTHING: Final = bytes(DIGEST)
"""The digest of a closed directory."""
LONGEST_PATH: Final = 4095
LARGEST: Final = 8 << 20
"""Bytes of an encoded manifest: what the runtime takes (CLOISTER_FRAME_MAX_BYTES)."""
RECORD: Final = "Manifest"
WORD: Final = 4
PROGRAM, SHA256, CLOSED, FILES = "program", "sha256", "closed", "files"
HEAD: Final = """\
# What this program measures in the software enclave, written by `cloister measure`. Nothing else becomes code there,
# neither by `cloister run --manifest` nor where a broker's session names it. A changed line is another measurement.
"""


@dataclass(frozen=True)
class Manifest:
    """Files by the path that they are opened by, each with the SHA-256 of its content; and closed directories.

    Under a closed directory no file is read that is not listed: for programs that look there for code of their own,
    as Python does. UsageError for a path that the runtime would not take.
    """

    files: Mapping[str, bytes] = field(default_factory=dict)
    closed: frozenset[str] = frozenset()
    broker: bytes = b""
    """The X25519 key of the only broker whose secrets are taken; empty: any, as whoever starts the program chooses."""

    def __post_init__(self) -> None:
        """Check, and put into the one order that the encoding has."""
        for path in (*self.files, *self.closed):
            if fault := _fault(path):
                raise UsageError(f"{path!r} cannot be listed in a manifest: {fault}")
        for path, digest in self.files.items():
            if path == "/" or len(digest) != DIGEST or digest == NOTHING:
                raise UsageError(f"{path!r} cannot be listed in a manifest: it is no file, or its digest no SHA-256")
        if self.broker and len(self.broker) != DIGEST:
            raise UsageError(f"a broker's key has {DIGEST} bytes, not {len(self.broker)}")
        object.__setattr__(self, "files", {path: bytes(self.files[path]) for path in _ordered(self.files)})

    @property
    def entries(self) -> Mapping[str, bytes]:
        """Files and closed directories as they are encoded: a directory ends with a slash, and its digest is zeros."""
        merged = {**self.files, **{path.removesuffix("/") + "/": NOTHING for path in self.closed}}
        merged |= {BROKER: self.broker} if self.broker else {}
        return {path: merged[path] for path in _ordered(merged)}

    @property
    def digest(self) -> bytes:
        """What evidence calls `libraries`."""
        return libraries_digest(self.entries)

    def serialize(self) -> bytes:
        """The bytes that the runtime reads.

        u32 flags (0), u32 count; then for each entry u32 length and path, and 32 bytes SHA-256; little-endian.
        """
        entries = self.entries
        parts = [bytes(WORD), _word(len(entries))]
        for path, digest in entries.items():
            parts += [_word(len(path.encode())), path.encode(), digest]
        data = b"".join(parts)
        if len(data) > LARGEST:
            raise UsageError(f"a manifest of {len(data):,} bytes; the runtime takes at most {LARGEST:,}")
        return data

    @classmethod
    def parse(cls, data: bytes) -> "Manifest":
        """Read what `serialize` writes, and nothing else: ParseError."""
        if len(data) > LARGEST:
            raise ParseError(RECORD, "length", 0, f"{len(data)} bytes; at most {LARGEST}")
        if _number(data, 0, "flags") != 0:
            raise ParseError(RECORD, "flags", 0, "are not 0; none is known")
        offset, files, closed, broker = 2 * WORD, {}, set(), b""
        for _ in range(_number(data, WORD, "count")):
            path, digest = _entry(data, offset)
            offset += WORD + len(path.encode()) + DIGEST
            if path == BROKER:
                broker = digest
            elif path.endswith("/") and digest == NOTHING:
                closed.add(path.removesuffix("/") or "/")
            else:
                files[path] = digest
        try:
            made = cls(files, frozenset(closed), broker)
        except UsageError as error:
            raise ParseError(RECORD, "path", 2 * WORD, str(error)) from error
        if made.serialize() != data:
            raise ParseError(RECORD, "order", 2 * WORD, "entries are not in order or occur twice, or bytes follow them")
        return made


@dataclass(frozen=True, kw_only=True)
class SoftwareMeasurement:
    """A program with its manifest. `program` is the path by which it is started, `executable` its file's SHA-256."""

    program: str
    executable: bytes
    manifest: Manifest = field(default_factory=Manifest)

    def __post_init__(self) -> None:
        """The program is not listed among what it loads: evidence names it apart."""
        fault = _fault(self.program) or ("" if len(self.executable) == DIGEST else "its digest is not 32 bytes")
        if fault:
            raise UsageError(f"{self.program!r} cannot be measured: {fault}")
        if self.program in self.manifest.files:
            raise UsageError(f"{self.program}: the program itself is not listed among its files")

    @property
    def libraries(self) -> bytes:
        """The digest of the manifest."""
        return self.manifest.digest

    @property
    def measurement(self) -> bytes:
        """The one digest that policies name: SHA-256 of `executable` and `libraries`."""
        return hashlib.sha256(self.executable + self.libraries).digest()

    def started(self) -> Manifest:
        """The manifest with the program in it: for a start without evidence, where nobody else compares its digest."""
        files = {**self.manifest.files, self.program: self.executable}
        return Manifest(files, self.manifest.closed, self.manifest.broker)


@dataclass(frozen=True, kw_only=True)
class Change:
    """One component that differs: `before` or `after` is None where it is missing."""

    component: str
    before: bytes | None
    after: bytes | None


def difference(before: SoftwareMeasurement, after: SoftwareMeasurement) -> list[Change]:
    """Which components make the two measurements differ: `executable`, or an entry of the manifest.

    Empty if they are equal. The path of the program is no part of its measurement.
    """
    left = {"executable": before.executable, **before.manifest.entries}
    right = {"executable": after.executable, **after.manifest.entries}
    names = ["executable", *_ordered((left.keys() | right.keys()) - {"executable"})]
    return [
        Change(component=name, before=left.get(name), after=right.get(name))
        for name in names
        if left.get(name) != right.get(name)
    ]


def write_measurement(measured: SoftwareMeasurement, notes: Mapping[str, str] | None = None) -> str:
    """The TOML text that `read_measurement` reads; `notes` are comments, for paths."""
    return "".join(_lines(measured, notes or {}))


def _lines(measured: SoftwareMeasurement, notes: Mapping[str, str]) -> Iterator[str]:
    yield f"{HEAD}# software:measurement={measured.measurement.hex()}\n\n"
    yield f"{PROGRAM} = {_quoted(measured.program)}\n{SHA256} = {_quoted(measured.executable.hex())}\n"
    if measured.manifest.closed:
        yield f"{CLOSED} = [{', '.join(map(_quoted, _ordered(measured.manifest.closed)))}]\n"
    if measured.manifest.broker:
        yield f"{BROKER} = {_quoted(measured.manifest.broker.hex())}\n"
    yield f"\n[{FILES}]\n"
    said = ""
    for note, path in sorted((" ".join(notes.get(path, "").split()), path) for path in measured.manifest.files):
        if note != said:
            yield f"# {note}\n"
        said = note
        yield f"{_quoted(path)} = {_quoted(measured.manifest.files[path].hex())}\n"


def read_measurement(text: str, name: str) -> SoftwareMeasurement:
    """Read the TOML text of a manifest; `name` is the file in messages. UsageError if anything is not understood."""
    try:
        values = tomllib.loads(text)
        return _measurement(values)
    except UsageError as error:
        raise UsageError(f"{name}: {error}") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{name}: this is not TOML: {error}") from error


def _measurement(values: Mapping[str, object]) -> SoftwareMeasurement:
    program, files, closed = values.get(PROGRAM), values.get(FILES, {}), values.get(CLOSED, [])
    if unknown := sorted(values.keys() - {PROGRAM, SHA256, CLOSED, BROKER, FILES}):
        raise UsageError(
            f"{unknown[0]!r} is not understood; a manifest has {PROGRAM}, {SHA256}, {CLOSED}, {BROKER}, {FILES}"
        )
    if not isinstance(program, str) or not isinstance(files, dict) or not isinstance(closed, list):
        raise UsageError(f"a manifest names its {PROGRAM}, has a table [{FILES}], and maybe a list {CLOSED}")
    if not all(isinstance(path, str) for path in closed):
        raise UsageError(f"{CLOSED} is a list of directories")
    listed = {path: _digest(value, path) for path, value in files.items()}
    executable = _digest(values.get(SHA256), SHA256)
    broker = _digest(values[BROKER], BROKER) if BROKER in values else b""
    manifest = Manifest(listed, frozenset(closed), broker)
    return SoftwareMeasurement(program=program, executable=executable, manifest=manifest)


def _digest(value: object, what: str) -> bytes:
    digits = value if isinstance(value, str) else ""
    try:
        found = bytes.fromhex(digits)
    except ValueError:
        found = b""
    if len(found) != DIGEST or found.hex() != digits:
        raise UsageError(f"{what}: 64 hexadecimal digits of a SHA-256 expected, not {value!r}")
    return found


def _entry(data: bytes, offset: int) -> tuple[str, bytes]:
    """The path and digest that begin there."""
    start, end = offset + WORD, offset + WORD + _number(data, offset, "length of a path")
    if end + DIGEST > len(data):
        raise ParseError(RECORD, "path and digest", offset, "go on behind the end")
    try:
        return data[start:end].decode(), data[end : end + DIGEST]
    except UnicodeDecodeError as error:
        raise ParseError(RECORD, "path", start, "is not UTF-8") from error


def _fault(path: str) -> str:
    """Why the runtime would not take this path; empty if it does."""
    try:
        encoded = path.encode()
    except UnicodeEncodeError:
        return "it is not UTF-8"
    if not path.startswith("/") or "\0" in path or len(encoded) >= LONGEST_PATH:
        return "it is not an absolute path of less than 4095 bytes"
    if path != "/" and any(part in {"", ".", ".."} for part in path.split("/")[1:]):
        return "it has empty, . or .. parts"
    return ""


def _ordered(paths: Iterable[str]) -> list[str]:
    """As deterministic CBOR orders the keys of a map (RFC 8949, section 4.2.1): shorter first, then by bytes."""
    return sorted(paths, key=_cbor.dumps)


def _word(value: int) -> bytes:
    return value.to_bytes(WORD, "little")


def _number(data: bytes, offset: int, name: str) -> int:
    if offset + WORD > len(data):
        raise ParseError(RECORD, name, offset, "is cut off")
    return int.from_bytes(data[offset : offset + WORD], "little")


def _quoted(text: str) -> str:
    """Text as a TOML basic string."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
