"""What the guard keeps for a tree: counters and roots, for who has the tree's key and nobody else."""

import contextlib
import errno
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from cloister.launch import _abi
from cloister.launch.runtime_file import runtime_path

pytestmark = [pytest.mark.needs_runtime, pytest.mark.needs_program("nm", "cc")]

HERE = Path(__file__).resolve().parent / "runtime_programs"
FUNCTIONS = ("guard_add", "guard_swap", "guard_root", "guard_executing", "guard_lease", "guard_return", "state")
UNKNOWN = f"{-errno.ENOSYS}"


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("words") / "words"
    subprocess.run(["cc", "-O1", "-Wall", "-o", target, HERE / "words.c"], check=True)
    return target


@dataclass(frozen=True, kw_only=True)
class Asker:
    """A program in an enclave that asks the guard as its runtime would."""

    process: subprocess.Popen[str]

    def ask(self, order: str) -> str:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(order + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()


def addresses() -> list[str]:
    listing = subprocess.run(["nm", runtime_path()], check=True, capture_output=True, text=True).stdout
    at = {name: where for where, _, name in (line.split() for line in listing.splitlines() if len(line.split()) == 3)}
    return [at[name] for name in FUNCTIONS]


@contextlib.contextmanager
def asker(program: Path, *options: str) -> Iterator[Asker]:
    command = [str(runtime_path()), *options, "--", str(program), str(program), *addresses()]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield Asker(process=process)
    finally:
        process.kill()
        process.communicate()


def test_words_count(program: Path) -> None:
    with asker(program) as one:
        assert one.ask("add 3 5") == "0 0"
        assert one.ask("add 3 7") == "0 5"
        assert one.ask("add 4 1") == "0 0"
        assert one.ask("add 3 0") == "0 12"
        assert one.ask("add 16 1").split()[0] == str(-errno.EINVAL)


def test_each_number_is_given_once_however_many_ask(program: Path) -> None:
    """Children by fork share the words; a counter never gives the same twice: a nonce may be made of it."""
    with asker(program) as one:
        assert one.ask("add 0 1") == "0 0"
        one.process.stdin.write("fork\n")  # type: ignore[union-attr]
        seen = [one.ask("add 0 1") for _ in range(20)]
        assert seen == [f"0 {number}" for number in range(1, 21)]


def test_a_root_is_swapped_by_who_knows_the_last(program: Path) -> None:
    with asker(program) as one:
        assert one.ask("look 2") == "0 0 0 0000 1"
        assert one.ask("swap 2 0 7 1000") == "0 7 1000 0707 1"
        assert one.ask("swap 2 0 8 2000") == f"{-errno.EAGAIN} 7 1000 0707 1", "who comes too late learns what is there"
        assert one.ask("swap 2 7 9 3000") == "0 9 3000 0909 1"
        assert one.ask("look 2") == "0 9 3000 0909 1"
        assert one.ask("look 3") == "0 0 0 0000 1"


def test_trees_have_words_of_their_own(program: Path) -> None:
    with asker(program) as one, asker(program) as other:
        assert one.ask("add 0 5") == "0 0"
        assert other.ask("add 0 5") == "0 0"


def test_families_are_counted(program: Path) -> None:
    with asker(program) as one:
        assert one.ask("look 0").split()[-1] == "1"
        assert one.ask("executing 1") == "0 2", "what is about to execute counts already"
        assert one.ask("executing 1") == "0 2"
        assert one.ask("executing 0") == "0 1"
        assert one.ask("run /bin/true") == "0"
        assert settled(one) == 1
        assert one.ask("background /bin/sleep") == "0"
        assert settled(one, 2) == 2
        assert settled(one) == 1


def settled(one: Asker, wanted: int = 1) -> int:
    """The number of families once it is the wanted one: what executes or ends takes its time."""
    deadline = time.monotonic() + 20
    while (count := int(one.ask("look 0").split()[-1])) != wanted and time.monotonic() < deadline:
        time.sleep(0.02)
    return count


# ---- the lease of a volume

ROW = 8  # questions of one family with nobody else between
REFUSED = f"{-errno.EBUSY}"


def test_who_asks_in_a_row_gets_the_lease_and_others_learn_nothing(program: Path) -> None:
    with asker(program) as one:
        assert one.ask("other") == "0"
        assert one.ask("swap 2 0 7 1000").split()[0] == "0"
        assert settled(one, 2) == 2
        assert one.ask("tell look 2").split()[0] == "0"
        assert [one.ask("lease 2") for _ in range(ROW)] == ["0 0"] * (ROW - 1) + ["0 1"]
        for order in ("look 2", "swap 2 7 8 2000", "return 2 7 8 2000", "lease 2"):
            assert one.ask(f"tell {order}").split()[0] == REFUSED
        assert one.ask("tell look 3").split()[0] == "0", "of another volume"
        assert one.ask("swap 2 7 9 3000") == "0 9 3000 0909 2"
        assert one.ask("tell look 2").split()[0] == REFUSED, "until it is back"
        assert one.ask("return 2 9 10 4000") == "0 10 4000 0a0a 2"
        assert one.ask("tell look 2") == "0 10 4000 0a0a 2"


def test_one_family_at_a_time_has_leases(program: Path) -> None:
    """So nobody who has one waits for another's."""
    with asker(program) as one:
        assert one.ask("other") == "0"
        assert settled(one, 2) == 2
        assert [one.ask("lease 2") for _ in range(ROW)][-1] == "0 1"
        assert {one.ask("tell lease 3") for _ in range(5 * ROW)} == {"0 0"}
        assert one.ask("return 2 0 0 0").split()[0] == "0"
        assert "0 1" in {one.ask("tell lease 3") for _ in range(5 * ROW)}


def test_the_lease_ends_with_its_family(program: Path) -> None:
    with asker(program) as one:
        assert one.ask("other") == "0"
        assert settled(one, 2) == 2
        assert "0 1" in {one.ask("tell lease 2") for _ in range(2 * ROW)}
        assert one.ask("look 2").split()[0] == REFUSED
        assert one.ask("tell end") == "gone"
        deadline = time.monotonic() + 20
        while one.ask("look 2").split()[0] == REFUSED and time.monotonic() < deadline:
            time.sleep(0.01)
        assert one.ask("look 2") == "0 0 0 0000 1"


def test_who_is_about_to_execute_gets_no_lease(program: Path) -> None:
    """What it changed would go with its memory."""
    with asker(program) as one:
        assert one.ask("executing 1").split()[0] == "0"
        assert {one.ask("lease 2") for _ in range(5 * ROW)} == {"0 0"}
        assert one.ask("executing 0").split()[0] == "0"
        assert one.ask("lease 2") == "0 1"


# ---- who gets no answer


@pytest.mark.parametrize("mark", [0, 1, 0x5A5A5A5A5A5A5A5A])
def test_without_the_key_the_call_does_not_exist(program: Path, mark: int) -> None:
    """Neither an answer nor a changed register."""
    with asker(program) as one:
        assert one.ask(f"raw {mark}") == f"{UNKNOWN} 1"
        assert one.ask("look 0") == "0 0 0 0000 1", "the control: the runtime's own call is answered"


def test_another_key_is_refused(program: Path) -> None:
    with asker(program) as one:
        assert one.ask("wrongkey") == UNKNOWN
        assert one.ask("add 0 0") == "0 0", "nothing was added, and the right key is answered"


def test_without_a_guard_there_are_no_words(program: Path) -> None:
    with asker(program, _abi.OPTION_UNSAFE_NO_GUARD) as one:
        assert one.ask("add 0 1").split()[0] == UNKNOWN
        assert one.ask("look 0").split()[0] == UNKNOWN
