"""The runtime's C readers under mutation: `python -m tests.fuzz.runtime [--seconds 120] [--again FILE]`.

No coverage guides it, so many changes are made where it matters: at the lengths. Beside the sanitizers there is another
judge: what is taken and what is refused is decided again here, and by cloister's own reader of manifests.
"""

import argparse
import hashlib
import random
import struct
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from tests.forge.carrier import block, text
from tests.fuzz.seeds_owner import MANIFESTS
from tests.fuzz.seeds_tls import CERTIFICATES, PRIVATE_KEYS, PUBLIC_KEYS
from tests.property.runtime_pieces.pieces_unsafe import HERE, RUNTIME, compile_c

from cloister._x509 import Certificate
from cloister.errors import ParseError
from cloister.launch import _abi
from cloister.measure.software import Manifest
from cloister.shield_policy.block import ShieldBlock
from cloister.shield_policy.entries import ConnectEntry, ConsoleEntry, FilesEntry, ListenEntry
from cloister.shield_policy.words import FileKind, Transport

__all__ = ["INPUTS", "RUNTIME", "Input", "agrees", "asked", "asked_one_by_one", "expected", "inputs", "main", "readers"]

Input = tuple[str, bytes]
"""What it is, by the letter in runtime_readers.c, and its bytes."""
SANITIZED: Final = (
    "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-D_GNU_SOURCE",
    "-fno-sanitize=nonnull-attribute",  # of the C library's memcpy: the runtime's takes no bytes from nowhere
)  # fmt: skip
LINKED: Final = ("src/aead", "src/hmac", "src/hpke", "src/normalise", "src/sha2", "src/x25519")
TLS: Final = (
    "comb", "curve", "curve_constants", "der_read", "der_write", "ecdsa", "ed25519", "edwards", "field", "jacobian",
    "key_names", "keys", "nonce", "rsa", "rsa_private", "rsa_pss", "x509",
)  # fmt: skip
LENGTHS: Final = (
    0, 1, 2, 3, 31, 32, 33, 255, 256, 4094, 4095, 4096, 65535, 65536, 65537, 1 << 20, 1 << 23, (1 << 31) - 1,
)  # fmt: skip
"""Besides those near 2**32."""
BATCH: Final = 2000
WORD: Final = 4


def frame(kind: int, body: bytes) -> bytes:
    """As the carrier sends it."""
    return struct.pack("<II", kind, len(body)) + body


def handed_on(arguments: Sequence[bytes], variables: Sequence[bytes], *regions: bytes) -> bytes:
    """The plain text of a block (runtime/src/handoff.h)."""
    last = struct.pack("<I", 0xFFFFFFFF)
    lists = b"".join(map(text, arguments)) + last + b"".join(map(text, variables)) + last
    return text(b"/bin/program") + last + lists + b"".join(map(text, regions)) + b"d" * 32 + b"b" * 32 + text(b"")


FILES: Final = {b"/run/key": b"k" * 100, b"/etc/empty": b"", b"/a": b"x"}
BLOCKS: Final = (
    block(), block([b"program", b"", b"-x" * 50], {b"A": b"1", b"B": b""}, directory=b"/", files=FILES),
    block([b"p"], files=FILES) + text(b"shield"), block([b"p"]) + text(b""),
    block([b"p"])[:17], block([b"a"] * 40, {b"%d" % one: b"v" for one in range(40)}),
)  # fmt: skip
STATE: Final = (MANIFESTS[1].serialize(), BLOCKS[1][-80:], b"/run/attester", b"/usr/bin/program")
SPOKEN: Final = (
    frame(_abi.FRAME_MANIFEST, MANIFESTS[1].serialize()), frame(_abi.FRAME_NONCE, b"bm9uY2U="),
    frame(_abi.FRAME_SEALED, bytes(range(1, 200))), frame(_abi.FRAME_REFUSED, b"\4\0\0\0denied: \x1b[2J"),
)  # fmt: skip
SHIELDS: Final = (
    ShieldBlock(entries=()).serialize(),
    ShieldBlock(strict=False, entries=(
        FilesEntry(
            kind=FileKind.ENCRYPTED, path="/data", container="/srv/v", key=b"k" * 32, generation=3, digest=b"d" * 32,
            writer=b"w" * 16, report_root=True, name="a/b:/data#0.0",
        ),
        FilesEntry(kind=FileKind.MEMORY, path="/tmp"),
        ListenEntry(
            transport=Transport.TLS, port=443, certificates=(b"c", b"d" * 9), private_key=b"p", clients=(b"s" * 32,),
            needs_client=True,
        ),
        ConnectEntry(transport=Transport.RA_TLS, host="::1", port=80, pins=(b"s" * 32,), server_name="x"),
        ConsoleEntry(key=b"c" * 32, terminal=True, rows=24, columns=80),
    )).serialize(),
)  # fmt: skip
INPUTS: Final[dict[str, tuple[bytes, ...]]] = {
    "m": tuple(one.serialize() for one in MANIFESTS),
    "b": BLOCKS,
    "r": BLOCKS,
    "f": (struct.pack("<I", len(FILES)) + b"".join(text(path) + text(content) for path, content in FILES.items()),),
    "h": (handed_on([b"a", b""], [b"A=1"], *STATE), handed_on([], [], b"", b"", b"", b"")),
    "s": SHIELDS,
    "d": CERTIFICATES,
    "p": PUBLIC_KEYS,
    "k": PRIVATE_KEYS,
    "x": (struct.pack("<II", 0x66646E68, 1) + bytes(200),),
    "c": (b"".join(SPOKEN[:3]), SPOKEN[0] + SPOKEN[1] + SPOKEN[3], SPOKEN[0] + SPOKEN[3], SPOKEN[3]),
}
"""Kind to whole inputs of it."""


def readers(before: Path | None = None) -> Path:
    """The program. What stands in the directory `before` is taken in place of the runtime's own files."""
    sources = [Path(__file__).with_name("runtime_readers.c"), HERE / "gate.c", HERE / "unshielded.c"]
    sources += [RUNTIME / f"{name}.c" for name in ("shield/policy", *LINKED, *(f"tls/{one}" for one in TLS))]
    changed = [] if before is None else ["-iquote", str(before)]
    return compile_c(f"runtime-readers{len(changed)}", sources, [*SANITIZED, *changed])


def asked(program: Path, given: Sequence[Input]) -> list[str]:
    """What it says of each, in order. AssertionError with the sanitizer's words and the input that it stopped at."""
    packed = b"".join(kind.encode() + struct.pack("<I", len(data)) + data for kind, data in given)
    done = subprocess.run([program], input=packed, capture_output=True, check=False, timeout=600)
    said = done.stdout.decode().split("\n")[:-1]
    if done.returncode or len(said) != len(given):
        kind, data = given[min(len(said), len(given) - 1)]
        raise AssertionError(f"{kind} {data.hex()}: exit code {done.returncode}\n{done.stderr.decode()[-4000:]}")
    return said


def inputs(chance: random.Random, count: int) -> Iterator[Input]:
    """Changed inputs, of every kind."""
    for _ in range(count):
        kind = chance.choice("mmbbrfhhxccddpkss")
        data = bytearray(chance.choice(INPUTS[kind]))
        for _ in range(chance.choice((0, 1, 1, 1, 2, 3, 8))):
            change(data, chance)
        yield kind, bytes(data)


def change(data: bytearray, chance: random.Random) -> None:
    """One change: of a length, a byte, or a piece."""
    at = chance.randrange(len(data) + 1)
    match chance.randrange(8):
        case 0 | 1 | 2:
            number = chance.choice(LENGTHS) if chance.random() < 0.7 else (1 << 32) - chance.randrange(1, 70)
            old = int.from_bytes(data[at : at + WORD], "little")
            number = number if chance.random() < 0.6 else (old + chance.choice((-1, 1, 4, -4))) % (1 << 32)
            data[at : at + WORD] = number.to_bytes(WORD, "little")
        case 3 | 4:
            data[at : at + 1] = bytes([chance.choice((0, 0x2F, 0x2E, 0xFF, 0x80, chance.randrange(256)))])
        case 5:
            del data[at:]
        case 6:
            del data[at : at + chance.choice((1, 4, 36, 40))]
        case _:
            start = chance.randrange(len(data) + 1)
            data[at:at] = data[start : start + chance.choice((1, 4, 8, 36, 100, 5000))]


def expected(kind: str, data: bytes) -> str | None:
    """What must be said of an input; None where that is not known here."""
    if kind == "m":
        return manifest(data)
    if kind in {"b", "r"}:
        return start_block(data, renewed=kind == "r")
    if kind == "d":
        return certificate(data)
    if kind == "s":
        return shield(data)
    return "refused" if kind in {"x", "c"} else None


def shield(data: bytes) -> str | None:
    """By cloister's reader, which takes less: no ports and regions that make no sense together."""
    try:
        found = ShieldBlock.parse(data)
    except ParseError:
        return None
    kinds = [type(one) for one in found.entries]
    counts = " ".join(str(kinds.count(one)) for one in (FilesEntry, ListenEntry, ConnectEntry))
    return f"{found.strict:d} {found.network:d} {counts}"


def certificate(data: bytes) -> str | None:
    """By cloister's reader, which believes keys that the runtime does not know, and looks at more of the rest."""
    try:
        read = Certificate.parse(data)
    except ParseError:
        return None
    dates = (int(moment.timestamp()) for moment in (read.not_before, read.not_after))
    return " ".join([hashlib.sha256(read.spki).hexdigest(), *map(str, dates)])


def manifest(data: bytes) -> str | None:
    """By cloister's reader. The runtime takes paths that are not UTF-8."""
    try:
        return Manifest.parse(data).digest.hex()
    except ParseError as error:
        return None if "UTF-8" in str(error) else "refused"


def start_block(data: bytes, *, renewed: bool) -> str | None:
    """By the format's description in cloister_abi.h; None where it says a directory, which may be there or not."""
    words = _Words(data)
    try:
        arguments, variables = words.count(), words.count()
        words.texts(arguments + variables)
        if not words.data and not renewed:
            return f"{arguments} {variables} 0"
        if words.text() and not renewed:
            return None
        before, files = len(words.data), words.count()
        words.texts(2 * files)
        size = before - len(words.data)
        if words.data and not words.text() and not renewed:  # what is shielded; at a refresh it is passed over
            return "refused"
    except EOFError:
        return "refused"
    if words.data:
        return "refused"
    return str(files) if renewed else f"{arguments} {variables} {size if files else 0}"


class _Words:
    """Bytes, front to back; EOFError where there are not enough, or a count is too large."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def take(self, size: int) -> bytes:
        if size > len(self.data):
            raise EOFError
        found, self.data = self.data[:size], self.data[size:]
        return found

    def number(self) -> int:
        return int.from_bytes(self.take(WORD), "little")

    def count(self) -> int:
        found = self.number()
        if found > _abi.START_MAX_STRINGS:
            raise EOFError
        return found

    def text(self) -> bytes:
        return self.take(self.number())

    def texts(self, count: int) -> None:
        for _ in range(count):
            self.text()


def agrees(one: Input, said: str) -> bool:
    """Whether what the runtime says of an input is what is expected. It knows fewer kinds of keys in certificates."""
    return expected(*one) in {None, said} or (one[0] == "d" and said == "refused")


def asked_one_by_one(program: Path, given: Sequence[Input]) -> Input | None:
    """The first that ends the program, or is judged in another way than here."""
    try:
        answers = asked(program, given)
    except AssertionError as error:
        if len(given) == 1:
            print(error)  # noqa: T201 - for the log
            return given[0]
        return next(filter(None, (asked_one_by_one(program, [one]) for one in given)), given[-1])
    for one, said in zip(given, answers, strict=True):
        if not agrees(one, said):
            print(f"the runtime says {said!r}, {expected(*one)!r} was expected")  # noqa: T201 - for the log
            return one
    return None


def main() -> int:
    """Until the time is over, or something is found."""
    made = argparse.ArgumentParser(prog="python -m tests.fuzz.runtime", description="Fuzz the runtime's C readers.")
    made.add_argument("--seconds", type=float, default=120)
    made.add_argument("--seed", type=int, default=None, help="for the same inputs again (default: others each time)")
    made.add_argument("--found", type=Path, default=Path(), help="the directory for an input that was found")
    made.add_argument("--again", type=Path, help="try this one input that was found")
    args = made.parse_args()
    program, end, tried = readers(), time.monotonic() + args.seconds, 0
    if args.again:
        data = args.again.read_bytes()
        return 1 if asked_one_by_one(program, [(chr(data[0]), data[1:])]) else 0
    chance = random.Random(args.seed)  # noqa: S311 - repeatable is what it must be
    found = None
    while found is None and time.monotonic() < end:
        found = asked_one_by_one(program, [*inputs(chance, BATCH)])
        tried += BATCH
    print(f"stat::number_of_executed_units: {tried}")  # noqa: T201 - as libFuzzer has it
    if found is None:
        return 0
    path = args.found / f"crash-{hashlib.sha256(found[1]).hexdigest()[:16]}"
    path.write_bytes(found[0].encode() + found[1])
    print(f"Test unit written to {path}")  # noqa: T201 - as libFuzzer has it
    return 1


if __name__ == "__main__":
    sys.exit(main())
