"""Whoever stores a volume attacks it in use: programs get what they wrote or an error, never what was before."""

import errno
import fcntl
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.services.shielded import Shielded

from cloister.observe.family import family
from cloister.shield.volume.layout import BLOCK
from cloister.shield_policy.words import FileKind

pytestmark = [pytest.mark.needs_runtime, pytest.mark.needs_root]

OLD, NEW = "OLD-f31b57", "NEW-9c02aa"


@pytest.fixture
def place(tmp_path: Path) -> Shielded:
    return Shielded(tmp_path)


@dataclass
class Shell:
    """A shell in the enclave that is told what to do line by line. Other programs come and go as its children."""

    pid: int
    say_line: Callable[[str], None]
    hear_line: Callable[[], str]

    def ask(self, line: str) -> list[str]:
        """What the line printed, errors included, and its status at the end."""
        self.say_line(f'{{ {line}\n}} 2>&1; echo "end $?"')
        found = []
        while not (heard := self.hear_line().rstrip("\n")).startswith("end "):
            found.append(heard)
        return [*found, heard.removeprefix("end ")]


@contextmanager
def shell(place: Shielded) -> Iterator[Shell]:
    with place.start(["/bin/sh"]) as process:
        assert process.stdin
        assert process.stdout

        def say(line: str) -> None:
            process.stdin.write(line + "\n")  # type: ignore[union-attr]
            process.stdin.flush()  # type: ignore[union-attr]

        def hear() -> str:
            line: str = process.stdout.readline()  # type: ignore[union-attr]
            assert line, "the shell has ended"
            return line

        try:
            yield Shell(process.pid, say, hear)
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


def put_back(path: Path, before: bytes) -> None:
    """The same file, with another content: whoever has it open sees that."""
    with path.open("r+b") as file:
        file.write(before)
        file.truncate(max(len(before), 2 * BLOCK))


# ---- an older state in place of the newest, during a run


def with_two_states(place: Shielded, one: Shell) -> bytes:
    """The container when the file held OLD; now it holds NEW."""
    assert one.ask(f"echo {OLD} > /data/f; /bin/sync; /bin/cat /data/f") == [OLD, "0"]
    before = place.volume.read_bytes()
    assert one.ask(f"echo {NEW} > /data/f; /bin/sync; /bin/cat /data/f") == [NEW, "0"]
    return before


def test_an_older_container_is_noticed_by_who_comes_then(place: Shielded) -> None:
    """Both states are authentic and durable; only the guard knows which is the newest."""
    with shell(place) as one:
        before = with_two_states(place, one)
        put_back(place.volume, before)
        *said, status = one.ask("/bin/cat /data/f")
        assert status != "0"
        assert OLD not in "".join(said)
        *said, _ = one.ask("read -r line < /data/f; echo $line")
        assert OLD not in "".join(said), "nor by who had it open before"


def test_between_runs_nobody_could_notice(place: Shielded) -> None:
    """The control: the older container is in order in itself."""
    with shell(place) as one:
        before = with_two_states(place, one)
    put_back(place.volume, before)
    assert place.run("/bin/cat", "/data/f").stdout == OLD + "\n"


def test_between_runs_the_policy_notices(place: Shielded) -> None:
    with shell(place) as one:
        assert one.ask(f"echo {OLD} > /data/f; /bin/sync") == ["0"]
        old = place.root()
        before = place.volume.read_bytes()
        assert one.ask(f"echo {NEW} > /data/f; /bin/sync") == ["0"]
        new = place.root()
    assert new.generation > old.generation
    newest = place.root()
    place.generation, place.digest = newest.generation, newest.digest
    assert place.run("/bin/cat", "/data/f").stdout == NEW + "\n", "the control"
    put_back(place.volume, before)
    done = place.run("/bin/cat", "/data/f")
    assert done.returncode
    assert OLD not in done.stdout
    place.generation, place.digest = old.generation, bytes([old.digest[0] ^ 1, *old.digest[1:]])
    done = place.run("/bin/cat", "/data/f")
    assert OLD not in done.stdout, "of that generation, but not that state"


def test_another_file_under_the_containers_name_changes_nothing(place: Shielded, tmp_path: Path) -> None:
    """The tree has its container open; who comes by exec inherits it."""
    with shell(place) as one:
        before = with_two_states(place, one)
        other = tmp_path / "other"
        other.write_bytes(before)
        other.replace(place.volume)
        assert one.ask("/bin/cat /data/f") == [NEW, "0"]


def test_the_older_of_two_published_states(place: Shielded) -> None:
    """Nothing is durable of either: a family wrote, and the next came. Blocks are put back one by one, and together."""
    with shell(place) as one:
        assert one.ask(f"/bin/sh -c 'echo {OLD} > /data/f'; /bin/true") == ["0"]
        before = place.volume.read_bytes()
        assert one.ask(f"/bin/sh -c 'echo {NEW} > /data/f'; /bin/true") == ["0"]
        after = place.volume.read_bytes()
        changed = [n for n in range(len(after) // BLOCK) if before[n * BLOCK :][:BLOCK] != after[n * BLOCK :][:BLOCK]]
        assert changed
        for blocks in ([changed[0]], [changed[-1]], changed):
            mixed = bytearray(after)
            for n in blocks:
                mixed[n * BLOCK : (n + 1) * BLOCK] = before[n * BLOCK :][:BLOCK].ljust(BLOCK, b"\0")
            put_back(place.volume, bytes(mixed))
            *said, _ = one.ask("/bin/cat /data/f")
            assert OLD not in "".join(said), blocks
            put_back(place.volume, after)
        assert one.ask("/bin/cat /data/f") == [NEW, "0"], "the control: nothing but the container was wrong"


# ---- damage


@pytest.mark.parametrize("seed", range(6))
def test_changed_bytes_are_an_error_or_not_looked_at(place: Shielded, seed: int) -> None:
    draw = random.Random(seed)  # noqa: S311
    with shell(place) as one:
        assert one.ask("i=0; while [ $i -lt 30 ]; do echo text $i > /data/f$i; i=$((i+1)); done; /bin/sync") == ["0"]
        data = bytearray(place.volume.read_bytes())
        for _ in range(8):
            data[draw.randrange(2 * BLOCK, len(data))] ^= 1 << draw.randrange(8)
        put_back(place.volume, bytes(data))
        *said, status = one.ask("/bin/cat /data/f7 /data/f23")
        assert (said == ["text 7", "text 23"]) if status == "0" else "text" not in "".join(said[2:])


def test_a_container_cut_off(place: Shielded) -> None:
    with shell(place) as one:
        assert one.ask(f"echo {NEW} > /data/f; /bin/sync") == ["0"]
        os.truncate(place.volume, 2 * BLOCK)
        *_, status = one.ask("/bin/cat /data/f")
        assert status != "0"
    with shell(place) as one:
        os.truncate(place.volume, 0)
        assert one.ask("/bin/ls /data") == ["0"], "with `create` an emptied file is a new volume; a root forbids that"


def test_two_containers_exchanged(tmp_path: Path) -> None:
    """Of one key, and in each the same number of blocks."""
    places = [Shielded(tmp_path / name) for name in ("a", "b")]
    for at in places:
        at.directory.mkdir()
    (places[1].directory / "key").write_bytes(places[0].key.read_bytes())
    for at, text in zip(places, (OLD, NEW), strict=True):
        assert at.run("/bin/sh", "-c", f"echo {text} > /data/f").returncode == 0
    with shell(places[1]) as one:
        assert one.ask("/bin/cat /data/f") == [NEW, "0"]
        put_back(places[1].volume, places[0].volume.read_bytes())
        *said, _ = one.ask("/bin/cat /data/f")
        assert OLD not in "".join(said)


# ---- what is seen


def open_files(pid: int) -> Iterator[Path]:
    for member in family(pid):
        yield from Path(f"/proc/{member.pid}/fd").iterdir()


def contents(pid: int) -> bytes:
    """Of everything that the tree has open and that can be read to its end."""
    found = bytearray()
    for entry in open_files(pid):
        try:
            target = os.readlink(entry)
            if "memfd:" in target or target.startswith("/tmp"):
                found += entry.read_bytes()
        except OSError as error:
            assert error.errno in {errno.ENOENT, errno.EACCES, errno.EPERM, errno.ENXIO}  # noqa: PT017
    return bytes(found)


def test_root_finds_ciphertext_only_in_what_is_open(place: Shielded) -> None:
    """The containers of /data and /memory are there to read, and change; and the file on the disk."""
    place.memory = True
    with shell(place) as one:
        assert one.ask(f"echo {NEW} > /data/f; echo {NEW} > /memory/m; /bin/sync; /bin/cat /memory/m") == [NEW, "0"]
        seen = contents(one.pid)
        assert len(seen) > 4 * BLOCK
        assert NEW.encode() not in seen
        assert b"cloister" not in place.volume.read_bytes()
    assert NEW.encode() not in place.volume.read_bytes()


def test_an_authenticated_volume_is_read_by_everybody(place: Shielded) -> None:
    """The control of the test above: there it would have been found."""
    place.kind = FileKind.AUTHENTICATED
    with shell(place) as one:
        assert one.ask(f"echo {NEW} > /data/f; /bin/sync") == ["0"]
        assert NEW.encode() in contents(one.pid)


def test_a_region_of_memory_is_attacked_as_a_file_is(place: Shielded) -> None:
    place.memory = True
    with shell(place) as one:
        assert one.ask(f"echo {OLD} > /memory/m; /bin/cat /memory/m") == [OLD, "0"]
        where = next(entry for entry in open_files(one.pid) if "cloister-volume" in os.readlink(entry))
        before = where.read_bytes()
        assert one.ask(f"echo {NEW} > /memory/m; /bin/cat /memory/m") == [NEW, "0"]
        after = where.read_bytes()
        for attack, worked in ((before, {"0", "1"}), (os.urandom(len(after)), {"1"}), (after, {"0"})):
            with where.open("r+b") as file:
                file.write(attack)
            *said, status = one.ask("/bin/cat /memory/m")
            assert OLD not in "".join(said)
            assert status in worked
            assert said == [NEW] or status != "0"


def test_locks_of_the_host_do_not_let_two_states_live(place: Shielded) -> None:
    """Whoever holds the tree's own lock on the container stops it, and no more; when it goes, all goes on."""
    with shell(place) as one:
        assert one.ask(f"echo {OLD} > /data/f; /bin/true") == ["0"]
        with place.volume.open("r+b") as file:
            fcntl.lockf(file, fcntl.LOCK_EX)
            one.say_line(f"/bin/sh -c 'echo {NEW} > /data/f'; echo done")
            time.sleep(0.5)
        assert one.hear_line() == "done\n"
        assert one.ask("/bin/cat /data/f") == [NEW, "0"]
