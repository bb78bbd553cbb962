"""`cloister attack` against the software enclave: what works natively, what is stopped, and that a leak is seen."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from cloister.app.battery.battery import ATTACKS
from cloister.app.battery.verdict import DECLARED_READERS

pytestmark = [pytest.mark.needs_runtime, pytest.mark.needs_root]

DECLARED = {name for name, one in ATTACKS.items() if one.declared or one.reader in DECLARED_READERS}
LEAKY = 'read -r S; echo "$S" > leak; read -r C'
NEEDS_TOOLS = {
    *("gdb", "gcore", "strace-attach", "strace-start", "perf-stacks", "perf-registers", "bpf", "nsenter", "criu"),
    *("user-mem", "user-ptrace", "user-perf", "user-core", "user-registers"),
}
NEEDS_MACHINE = {
    *("swap", "hibernation", "core-pipe", "core-dumpable", "core-segv", "core-abrt", "core-quit", "core-moments"),
    *("uprobe", "breakpoint", "bpf-stacks", "want-of-memory", "guards-freeze", "oom-registers", "fatal-registers"),
    *(
        "ld-preload",
        "ld-audit",
        "library-path",
        "hostile-directory",
        "interpreter",
        "io-uring",
        "aio-ring",
        "waiting-call",
    ),
    *("debug-registers", "physical", "tracepoints", "kprobe"),
    *("file-disk", "file-trace", "net-trace", "net-packets", "console-trace"),
}
"""What a machine may not offer; each says so itself."""
NEVER_TRIED = {
    *(
        "module",
        "hypervisor",
        "cold-boot",
        "kexec",
        "hot-unplug",
        "kcmp",
        "userfaultfd",
        "sysrq-registers",
        "user-namespace",
    ),
}
"""Each says why."""


def attack(*words: str, seconds: int = 110) -> tuple[int, dict[str, str], str]:
    """Exit code, outcome of each attack, everything that was printed."""
    done = subprocess.run(
        [sys.executable, "-m", "cloister", "attack", "--json", *words],
        env={**os.environ, "PYTHONPATH": ":".join(sys.path)}, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=seconds, check=False,
    )  # fmt: skip
    assert done.stdout, done.stderr
    document = json.loads(done.stdout)
    assert document["exit_code"] == done.returncode
    return done.returncode, {one["name"]: one["outcome"] for one in document["attacks"]}, done.stdout


def only(*names: str) -> list[str]:
    return [word for name in names for word in ("--only", name)]


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_everything_that_is_not_declared_is_stopped() -> None:
    status, outcomes, printed = attack(seconds=380)
    assert set(outcomes) == set(ATTACKS)
    assert not {name for name, outcome in outcomes.items() if outcome == "leaked"}, printed
    assert not {name for name, outcome in outcomes.items() if outcome == "inconclusive"}, printed
    assert {
        name for name, outcome in outcomes.items() if outcome == "not tried"
    } <= NEEDS_TOOLS | NEEDS_MACHINE | NEVER_TRIED
    assert {name for name in NEVER_TRIED if outcomes[name] != "not tried"} == set()
    assert {name for name, outcome in outcomes.items() if "declared" in outcome} <= DECLARED
    assert status == 0
    assert not re.search(r"/tmp/cloister-attack-\S+/tmp\S+\d{10}", printed)


@pytest.mark.timeout(120)
def test_the_most_important_ones_are_stopped() -> None:
    names = (
        "mem-read",
        "vm-write",
        "poke-text",
        "map-files",
        "ptrace-setregs",
        "guards-kill",
        "environ",
        "pidfd-getfd",
        "thread-mem",
        "early-mem",
        "proc-files",
    )
    status, outcomes, printed = attack(*only(*names))
    assert outcomes == dict.fromkeys(names, "stopped"), printed
    assert status == 0


@pytest.mark.needs_program("cc")
def test_a_program_with_an_io_uring_cannot_be_given_orders_by_it() -> None:
    """It could: root took the ring's descriptor, and the kernel wrote the program's secret memory to a file for him."""
    if Path("/proc/sys/kernel/io_uring_disabled").read_text().strip() == "2":
        pytest.skip("io_uring is switched off on this machine")
    status, outcomes, printed = attack(*only("io-uring"))
    assert (status, outcomes) == (0, {"io-uring": "stopped"}), printed


@pytest.mark.needs_program("cc")
def test_a_program_is_not_told_lies_by_aio() -> None:
    """It was: its completions stood in ordinary memory, and root wrote some of his own."""
    status, outcomes, printed = attack(*only("aio-ring"))
    assert (status, outcomes) == (0, {"aio-ring": "stopped"}), printed


@pytest.mark.needs_program("setcap")
def test_the_programs_own_user_is_attacked_with_too() -> None:
    names = ("user-mem", "user-ptrace")
    _, outcomes, printed = attack(*only(*names))
    if set(outcomes.values()) == {"not tried"}:
        pytest.skip("file capabilities do not work here")
    assert outcomes == dict.fromkeys(names, "stopped"), printed
    row = next(one for one in json.loads(printed)["readers"] if one["key"] == "user")
    assert (row["native"], row["enclaved"]) == ("reads (2 attacks)", "2 stopped")


@pytest.mark.slow
@pytest.mark.needs_program("cc", "swapon")
def test_what_changes_the_machine_is_undone() -> None:
    settings = ("/proc/swaps", "/proc/sys/kernel/print-fatal-signals", "/proc/sys/fs/suid_dumpable")
    before = [Path(name).read_text() for name in settings]
    _, outcomes, printed = attack("--unsafe-change-machine", *only("swap", "fatal-registers"))
    assert outcomes["swap"] in {"stopped", "not tried"}, printed
    assert outcomes["fatal-registers"] in {"leaked (declared)", "not seen (declared)", "not tried"}, printed
    assert [Path(name).read_text() for name in settings] == before


def test_a_page(tmp_path: Path) -> None:
    place = tmp_path / "attacks.html"
    _, outcomes, _ = attack("--html", str(place), *only("mem-read", "pidfd-pipe"))
    page = place.read_text()
    for name, outcome in outcomes.items():
        assert f'<tr id="{name}">' in page
        assert f">{outcome}</span>" in page
    assert "<script" not in page


def test_an_enclave_without_guards_is_seen_to_leak() -> None:
    names = ("mem-read", "ptrace-attach", "ptrace-setregs", "race-start", "race-exec")
    status, outcomes, printed = attack("--unsafe-no-guard", *only(*names))
    assert status == 10
    assert outcomes == {**dict.fromkeys(names, "leaked"), "mem-read": "stopped"}, printed


def test_a_program_that_gives_its_secret_away_is_seen_to_leak() -> None:
    status, outcomes, printed = attack(*only("mem-read", "written-files"), "--", "/bin/sh", "-c", LEAKY)
    assert status == 10
    assert outcomes == {"mem-read": "stopped", "written-files": "leaked"}, printed
    row = next(one for one in json.loads(printed)["readers"] if one["key"] == "root")
    assert row["enclaved"] == "READS: written-files; 1 stopped"


def test_a_secret_in_a_variable() -> None:
    program = ("/bin/sh", "-c", "S=$KEY; read -r C")
    status, outcomes, printed = attack("--feed", "env:KEY", *only("mem-read", "ptrace-setregs"), "--", *program)
    assert (status, set(outcomes.values())) == (0, {"stopped"}), printed


def test_a_program_that_never_takes_the_secret_is_inconclusive() -> None:
    status, outcomes, printed = attack(*only("mem-read"), "--", "/bin/sleep", "100")
    assert (status, outcomes) == (16, {"mem-read": "inconclusive"}), printed


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    before = set(os.listdir("/proc"))
    pattern = Path("/proc/sys/kernel/core_pattern").read_text()
    environment = {**os.environ, "PYTHONPATH": ":".join(sys.path), "TMPDIR": str(tmp_path)}
    words = only("core-segv", "guards-stop", "race-exec", "core-pipe", "ld-preload", "oom-registers", "guards-freeze")
    command = [sys.executable, "-m", "cloister", "attack", *words]
    subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=100)
    assert list(tmp_path.iterdir()) == []
    assert Path("/proc/sys/kernel/core_pattern").read_text() == pattern
    ours = [pid for pid in set(os.listdir("/proc")) - before if pid.isdigit() and came_from(pid, str(tmp_path))]
    assert ours == []
    assert not list(Path("/sys/fs/cgroup").glob("**/cloister-battery-*"))


def came_from(pid: str, place: str) -> bool:
    """Whether the process still runs in that directory."""
    try:
        return os.readlink(f"/proc/{pid}/cwd").startswith(place)
    except OSError:
        return False


def test_wrong_words() -> None:
    for words, part in (
        (["--only", "shouting"], "no attack is called"),
        (["--feed", "fax"], "use stdin or env:NAME"),
        (["--", "/nonexistent/program"], "no such program"),
        (["--keys", "x"], "goes with --tee"),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "cloister", "attack", *words],
            env={**os.environ, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        assert done.returncode == 2
        assert part in done.stderr
