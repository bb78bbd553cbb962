"""Attacks on what a program keeps in files: read it where it lies, and give the program something else."""

import contextlib
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path

from cloister.app.battery import calls_unsafe as calls
from cloister.app.battery.attack import Attack, Attempt, NotTried, deception, failed, succeeded
from cloister.app.battery.following import traced
from cloister.app.battery.keeping import BLOCK, NOTICED, Read, keeper
from cloister.app.battery.target import Arena, Target
from cloister.observe.prove.grounds.blocks import runs
from cloister.observe.prove.grounds.disk_unsafe import device_of, physical_extents, read_device
from cloister.observe.prove.secret import Secret

__all__ = ["SHIELDED_FILES"]

LINES, PLACES = 400, 5
LARGEST = 64 << 20
SUPERBLOCKS = 2
WRITES = "pwrite(2)"
Change = Callable[[bytes], Iterator[bytes]]
"""From what a file on the host holds to what the attacker puts there instead: one after another is tried."""


def fresh() -> bytes:
    return Secret.fresh("battery").value


def content_of(secret: bytes) -> bytes:
    """Several blocks."""
    return b"".join(b"%s %d\n" % (secret, number) for number in range(LINES))


def read_there(arena: Arena) -> Attempt:
    """Read every file on the host, by the page cache and by the program's own root directory, while it runs."""
    with keeper(arena) as kept, kept.holding(fresh()) as target:
        places = [*kept.on_the_host(), Path(f"/proc/{target.pid}/root{kept.path}")]
        sizes = 0
        for path in places:
            with contextlib.suppress(FileNotFoundError):
                data = path.read_bytes()
                sizes += len(data)
                if target.secret in data:
                    return succeeded("the secret was read in a file of the host's")
        return failed(f"{sizes:,} bytes of {len(places)} files read, the secret is in none")


def names_there(arena: Arena) -> Attempt:
    """A file whose name is the secret: list directories, descriptors, and search the files."""
    secret = fresh()
    with keeper(arena, secret.decode()) as kept, kept.holding(fresh()) as target:
        shown = [str(path).encode() for path in kept.place.rglob("*")]
        shown += [link for pid in target.family() for link in links_of(pid)]
        shown += [path.read_bytes() for path in kept.on_the_host()]
        if any(secret in one for one in shown):
            return succeeded("the name of the file was read")
        return failed(f"{len(shown)} names and files read, the file's name is in none")


def links_of(pid: int) -> Iterator[bytes]:
    """What its descriptors are called."""
    for name in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(OSError):
            yield os.fsencode(os.readlink(f"/proc/{pid}/fd/{name}"))


def on_the_disk(arena: Arena) -> Attempt:
    """Read the disk itself, past every cache, where the files lie."""
    secret = fresh()
    with keeper(arena) as kept:
        kept.write(content_of(secret))
        found = blocks_of(kept.stored)
        if any(secret in data for data in found):
            return succeeded("the secret was read on the disk")
        return failed(f"{sum(map(len, found)):,} bytes of the disk read, the secret is in none")


def blocks_of(path: Path) -> list[bytes]:
    """What stands on the disk beneath a file. NotTried where that cannot be read."""
    try:
        with path.open("rb") as file:
            number = os.fstat(file.fileno()).st_dev
            extents = physical_extents(file.fileno())
        numbers = sorted({at // BLOCK for start, size in extents for at in range(start, start + size, BLOCK)})
        return [data for _, data in read_device(device_of(number), runs(numbers))]
    except OSError as error:
        raise NotTried(f"the disk beneath cannot be read: {error.strerror or error}") from None


def descriptors_taken(arena: Arena) -> Attempt:
    """Take a copy of every descriptor of every process while it has the file open, and read there."""
    with keeper(arena) as kept, kept.holding(fresh()) as target:
        taken = refused = 0
        for pid in target.family():
            for data in taken_from(pid):
                taken, refused = taken + (data is not None), refused + (data is None)
                if data is not None and target.secret in data:
                    return succeeded("the secret was read by a copied descriptor")
        return failed(f"{taken} descriptors copied and read, {refused} refused: the secret is in none")


def taken_from(pid: int) -> Iterator[bytes | None]:
    """What can be read by each descriptor that can be copied; None for one that cannot be."""
    pidfd = os.pidfd_open(pid)
    try:
        for name in os.listdir(f"/proc/{pid}/fd"):
            yield read_copy(pidfd, int(name))
    finally:
        os.close(pidfd)


def read_copy(pidfd: int, number: int) -> bytes | None:
    """What can be read by a copy of a descriptor, nothing where it cannot be read; None if there is no copy."""
    try:
        copy = calls.take_descriptor(pidfd, number)
    except OSError:
        return None
    try:
        return os.pread(copy, LARGEST, 0)
    except OSError:
        return b""
    finally:
        os.close(copy)


def traced_reading(arena: Arena) -> Attempt:
    """Follow it and everything that it starts while it writes the file and another program reads it."""

    def act(target: Target) -> None:
        kept.begin(target)
        kept.told(target, "r", b"done")

    with keeper(arena) as kept:
        return traced(arena, kept.holder(), fresh(), kept.start(), act)


def flips(stored: bytes) -> Iterator[bytes]:
    """One byte, in some blocks; then in all of them."""
    chosen = blocks_in_use(stored)
    yield from (changed_at(stored, [at]) for at in random.sample(chosen, min(PLACES, len(chosen))))
    yield changed_at(stored, chosen)


def cuts(stored: bytes) -> Iterator[bytes]:
    """Behind so many parts of what is in use."""
    used = blocks_in_use(stored)[-1] + 1
    yield from (stored[: used * part // PLACES * BLOCK] for part in range(PLACES))


def swaps(stored: bytes) -> Iterator[bytes]:
    """Two blocks in each other's place."""
    chosen = [at for at in blocks_in_use(stored) if at >= SUPERBLOCKS] or blocks_in_use(stored)
    for one, other in zip(chosen[:PLACES], reversed(chosen[-PLACES:]), strict=False):
        if one != other:
            pieces = [stored[at : at + BLOCK] for at in range(0, len(stored), BLOCK)]
            pieces[one], pieces[other] = pieces[other], pieces[one]
            yield b"".join(pieces)


def blocks_in_use(stored: bytes) -> list[int]:
    """Blocks that are not all zero; the last may be short."""
    return [at // BLOCK for at in range(0, len(stored), BLOCK) if any(stored[at : at + BLOCK])]


def changed_at(stored: bytes, blocks: list[int]) -> bytes:
    """Some byte of each of these blocks is another."""
    data = bytearray(stored)
    for block in blocks:
        at = min(block * BLOCK + random.randrange(BLOCK), len(data) - 1)  # noqa: S311
        data[at] ^= 1 << random.randrange(8)  # noqa: S311
    return bytes(data)


def between_runs(change: Change) -> Callable[[Arena], Attempt]:
    """The file is written by one program, changed on the host, and read by another."""

    def run(arena: Arena) -> Attempt:
        content = content_of(fresh())
        with keeper(arena) as kept:
            kept.write(content)
            stored, root = kept.stored.read_bytes(), kept.root() if arena.enclaved else None
            ends = []
            for other in change(stored):
                kept.stored.write_bytes(other)
                ends.append(end_of(kept.read(root), content))
                kept.stored.write_bytes(stored)
            if end_of(kept.read(root), content) != "same":
                raise ValueError("what is not attacked cannot be read either")
        return judged(ends)

    return run


def end_of(read: Read, content: bytes) -> str:
    """What came of reading. Of what was printed before an error nothing may be another's."""
    if read.status == 0:
        return "same" if read.data == content else "taken"
    return "noticed"


def judged(ends: list[str]) -> Attempt:
    """Taken once is enough. That nothing was noticed would mean that nothing was attacked."""
    if "taken" in ends:
        return succeeded("the program read something else, and took it")
    if "noticed" not in ends:
        raise ValueError("no change had any effect")
    return failed(f"{len(ends)} changes: {ends.count('noticed')} noticed by the program, the others without effect")


def brought_back(*, rooted: bool) -> Callable[[Arena], Attempt]:
    """Between runs, put an older state back. `rooted`: whoever starts the program knows the newest root."""

    def run(arena: Arena) -> Attempt:
        old, new = content_of(fresh()), content_of(fresh())
        with keeper(arena) as kept:
            kept.write(old)
            before = kept.stored.read_bytes()
            kept.write(new)
            root = kept.root() if rooted and arena.enclaved else None
            if end_of(kept.read(root), new) != "same":
                raise ValueError("what is not attacked cannot be read either")
            kept.stored.write_bytes(before)
            read = kept.read(root)
        if read.status == 0 and read.data == old:
            return succeeded("the program read the older state, and took it")
        return failed("the program noticed it" if read.status else "the program read the newest state")

    return run


def brought_back_meanwhile(arena: Arena) -> Attempt:
    """While the program runs, put an older state back, and have it read."""
    newer = Secret.fresh("battery").text
    with keeper(arena) as kept, kept.holding(fresh()) as target:
        before = kept.stored.read_bytes()
        kept.told(target, newer, b"written")
        with kept.stored.open("r+b") as file:
            file.write(before)
        said = kept.told(target, "r", b"done")
        if target.secret in said:
            return succeeded("the program read the older state, and took it")
        return failed("the program noticed it" if NOTICED in said else "the program read the newest state")


SHIELDED_FILES = (
    Attack(name="file-read", what="read its files on the host", source="open(2), page cache", run=read_there),
    Attack(name="file-names", what="read the names of its files", source="readdir(3), proc_pid_fd(5)", run=names_there),
    Attack(name="file-disk", what="read the disk beneath its files", source="open(2), O_DIRECT", run=on_the_disk),
    Attack(
        name="file-descriptor", what="copy its open files' descriptors", source="pidfd_getfd(2)", run=descriptors_taken
    ),
    Attack(
        name="file-trace", what="trace who writes and reads its files", source="ptrace(2), tracefs", run=traced_reading
    ),
    deception("file-flip", "change bits of its files", WRITES, between_runs(flips)),
    deception("file-cut", "cut its files off", "truncate(2)", between_runs(cuts)),
    deception("file-swap", "exchange blocks of its files", WRITES, between_runs(swaps)),
    deception("file-back", "put an older state back; its root is known", WRITES, brought_back(rooted=True)),
    deception("file-back-running", "put an older state back while it runs", WRITES, brought_back_meanwhile),
    deception(
        "file-back-unknown",
        "put an older state back; nobody keeps its root",
        WRITES,
        brought_back(rooted=False),
        declared="nobody keeps the root of the volume",
    ),
)
