"""The runtime's C readers under mutation: `python -m tests.fuzz.runtime [--seconds 120] [--seed 1]`.

No coverage guides it, so half of all inputs are changed where it matters: at the lengths. Beside the sanitizers there is
a second judge: what is taken and what is refused is decided again here, and by cloister's own reader of manifests.
"""

import argparse
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
from tests.property.runtime_pieces.pieces_unsafe import HERE, RUNTIME, compile_c

from cloister.errors import ParseError
from cloister.launch import _abi
from cloister.measure.software import Manifest

__all__ = ["INPUTS", "Input", "asked", "expected", "inputs", "main", "readers"]

Input = tuple[str, bytes]
"""What it is, by the letter in runtime_readers.c, and its bytes."""
SANITIZED: Final = ("-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-D_GNU_SOURCE")
LINKED: Final = ("aead", "hmac", "hpke", "normalise", "sha2", "x25519")
LENGTHS: Final = (0, 1, 2, 3, 31, 32, 33, 255, 256, 4094, 4095, 4096, 65535, 65536, 65537, 1 << 20, 1 << 23, (1 << 31) - 1)
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
    return lists + b"".join(map(text, regions)) + b"d" * 32 + b"b" * 32


FILES: Final = {b"/run/key": b"k" * 100, b"/etc/empty": b"", b"/a": b"x"}
BLOCKS: Final = (
    block(), block([b"program", b"", b"-x" * 50], {b"A": b"1", b"B": b""}, directory=b"/", files=FILES),
    block([b"p"])[:17], block([b"a"] * 40, {b"%d" % one: b"v" for one in range(40)}),
)  # fmt: skip
STATE: Final = (MANIFESTS[1].serialize(), BLOCKS[1][-80:], b"/run/attester", b"/usr/bin/program")
SPOKEN: Final = (
    frame(_abi.FRAME_MANIFEST, MANIFESTS[1].serialize()), frame(_abi.FRAME_NONCE, b"bm9uY2U="),
    frame(_abi.FRAME_SEALED, bytes(range(1, 200))), frame(_abi.FRAME_REFUSED, b"\4\0\0\0denied: \x1b[2J"),
)  # fmt: skip
INPUTS: Final[dict[str, tuple[bytes, ...]]] = {
    "m": tuple(one.serialize() for one in MANIFESTS),
    "b": BLOCKS,
    "r": BLOCKS,
    "f": (struct.pack("<I", len(FILES)) + b"".join(text(path) + text(content) for path, content in FILES.items()),),
    "h": (handed_on([b"a", b""], [b"A=1"], *STATE), handed_on([], [], b"", b"", b"", b"")),
    "x": (struct.pack("<II", 0x66646E68, 1) + bytes(200),),
    "c": (b"".join(SPOKEN[:3]), SPOKEN[0] + SPOKEN[1] + SPOKEN[3], SPOKEN[0] + SPOKEN[3], SPOKEN[3]),
}
"""Kind to whole inputs of it."""


def readers() -> Path:
    """The program."""
    sources = [Path(__file__).with_name("runtime_readers.c"), HERE / "gate.c"]
    return compile_c("runtime-readers", [*sources, *(RUNTIME / "src" / f"{name}.c" for name in LINKED)], [*SANITIZED])


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
        kind = chance.choice("mmbbrfhhxcc")
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
    return "refused" if kind in {"x", "c"} else None


def manifest(data: bytes) -> str | None:
    """By cloister's reader. The runtime takes paths that are not UTF-8."""
    try:
        return Manifest.parse(data).digest.hex()
    except ParseError as error:
        return None if "UTF-8" in str(error) else "refused"


def start_block(data: bytes, *, renewed: bool) -> str | None:
    """By the format's description in cloister_abi.h; None where the directory decides."""
    words, directory = _Words(data), b""
    try:
        counts = words.number(), words.number()
        if max(counts) > _abi.START_MAX_STRINGS:
            return "refused"
        for _ in range(sum(counts)):
            words.text()
        if words.data or renewed:
            directory = words.text()
            left, files = words.data, words.number()
            if files > _abi.START_MAX_STRINGS:
                return "refused"
            for _ in range(2 * files):
                words.text()
        elif not renewed:
            return f"{counts[0]} {counts[1]} 0"
    except EOFError:
        return "refused" if not directory or renewed else None
    if words.data:
        return "refused" if not directory or renewed else None
    if renewed:
        return str(files)
    return None if directory else f"{counts[0]} {counts[1]} {len(left) if files else 0}"


class _Words:
    """Bytes, front to back; EOFError where there are not enough."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def take(self, size: int) -> bytes:
        if size > len(self.data):
            raise EOFError
        found, self.data = self.data[:size], self.data[size:]
        return found

    def number(self) -> int:
        return int.from_bytes(self.take(WORD), "little")

    def text(self) -> bytes:
        return self.take(self.number())


def main() -> int:
    """Until the time is over, or something is found."""
    made = argparse.ArgumentParser(prog="python -m tests.fuzz.runtime", description="Fuzz the runtime's C readers.")
    made.add_argument("--seconds", type=float, default=120)
    made.add_argument("--seed", type=int, default=1)
    args = made.parse_args()
    program, end, tried = readers(), time.monotonic() + args.seconds, 0
    chance = random.Random(args.seed)  # noqa: S311 - repeatable is what it must be
    taken: dict[str, int] = dict.fromkeys(INPUTS, 0)
    while time.monotonic() < end:
        given = [*inputs(chance, BATCH)]
        for (kind, data), said in zip(given, asked(program, given), strict=True):
            wanted = expected(kind, data)
            if wanted not in {None, said}:
                print(f"{kind} {data.hex()}: the runtime says {said!r}, {wanted!r} was expected")  # noqa: T201
                return 1
            taken[kind] += said != "refused"
        tried += BATCH
    print(f"{tried} inputs, nothing found; taken: {taken}")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
