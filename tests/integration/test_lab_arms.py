"""The lab on real processes: natively the secret is found every way; a stand-in with secret memory hides it.

The stand-in is a C program that does what the exercise does, with its input in memfd_secret(2) memory. It stands for
the runtime in tests of the lab itself; tests/system/test_lab.py runs the real one.
"""

import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from cloister.app.lab import arm as lab_arm
from cloister.app.lab.arm import Arm, run_arm
from cloister.app.lab.experiment import run_lab
from cloister.app.lab.program import compile_program
from cloister.launch.command import RuntimeOptions
from cloister.observe.report import Verdict, render
from cloister.observe.report.record import Access, ArmRecord, LabRecord, Outcome

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_program("cc")]

STAND_IN = r"""
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static char *keep(const char *how) {
    int flags = MAP_PRIVATE | MAP_ANONYMOUS, fd = -1;
    if (strcmp(how, "secret") == 0) {
        fd = (int)syscall(SYS_memfd_secret, 0);
        if (fd < 0 || ftruncate(fd, 4096) != 0) { perror("memfd_secret"); exit(120); }
        flags = MAP_SHARED;
    }
    return mmap(NULL, 4096, PROT_READ | PROT_WRITE, flags, fd, 0);
}

int main(int argc, char **argv) {
    char *input = keep(argv[1]);
    printf("Enter a secret: ");
    fflush(stdout);
    long length = read(0, input, 1024);
    unsigned hash = atoi(argc > 2 ? argv[2] : "0");
    for (long i = 0; i + 1 < length; i++)
        hash = 31 * hash + (unsigned char)input[i];
    printf("Hash of your input: %u\n", hash);
    fflush(stdout);
    return (int)read(0, input + 512, 512) < 0;
}
"""


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> str:
    directory = tmp_path_factory.mktemp("stand-in")
    (directory / "stand_in.c").write_text(STAND_IN)
    subprocess.run(["cc", "-O1", "-o", "stand-in", "stand_in.c"], cwd=directory, check=True, timeout=60)
    if subprocess.run([directory / "stand-in", "secret"], stdin=subprocess.DEVNULL, check=False, timeout=20).returncode:
        pytest.skip("memfd_secret(2) is not available here")
    return str(directory / "stand-in")


def silent(step: str) -> None:
    del step


@pytest.fixture(scope="module")
def native(tmp_path_factory: pytest.TempPathFactory) -> ArmRecord:
    program = compile_program(tmp_path_factory.mktemp("native"))
    return run_arm(Arm(name="native", command="./app", argv=lambda path: [str(path)]), program, silent)


def enclosed(*words: str) -> Callable[[str, Sequence[str], RuntimeOptions], list[str]]:
    """A replacement for the runtime: always these words."""
    return lambda _program, _args, _options: list(words)


@pytest.fixture(scope="module")
def hidden(stand_in: str) -> LabRecord:
    return run_lab(silent, enclosed(stand_in, "secret"))


def test_the_hash_is_the_exercises(native: ArmRecord) -> None:
    assert native.absent == ""
    assert native.hash_shown == "2084933351"
    assert "Enter a secret: FUNFOO\n" in native.terminal


def test_natively_the_secret_is_found_in_the_heap_with_its_surroundings(native: ArmRecord) -> None:
    hits = [hit for hit in native.hits if hit.encoding == "raw"]
    assert [hit.where for hit in hits] == ["[heap]", "[heap]"]
    for hit in hits:
        assert bytes.fromhex(hit.context_hex)[hit.address - hit.context_start :].startswith(b"FUNFOO")
    (heap,) = [region for region in native.regions if region.name == "[heap]"]
    assert heap.access is Access.READABLE
    assert heap.read_bytes == heap.size


def test_natively_every_tool_of_root_gets_through(native: ArmRecord) -> None:
    tried = {one.tool: one.outcome for one in native.attempts if one.outcome is not Outcome.NOT_TRIED}
    refused = {tool for tool, outcome in tried.items() if outcome not in {Outcome.READ, Outcome.ATTACHED}}
    assert refused == {"another user: /proc/PID/mem"}
    assert len(tried) >= 5


def test_natively_the_trace_shows_the_secret_going_by(native: ArmRecord) -> None:
    (telling,) = [call for call in native.trace.calls if call.secret]
    assert telling.name == "read"
    assert telling.text.startswith("read(0") and "FUNFOO" in telling.text  # noqa: PT018 - one claim about one text


def test_secret_memory_is_seen_as_unreadable_and_its_address_is_no_help(hidden: LabRecord) -> None:
    arm = hidden.enclaved
    assert arm.absent == ""
    assert arm.hits == ()
    secret = [region for region in arm.regions if region.access is Access.UNREADABLE]
    assert [(region.name, region.size, region.read_bytes) for region in secret] == [("secret memory", 4096, 0)]
    assert arm.unreadable_bytes == 4096
    assert secret[0].start <= arm.buffer_address < secret[0].end
    refused = {one.tool: one.detail for one in arm.attempts if one.outcome is Outcome.REFUSED}
    assert refused["/proc/PID/mem, at the input's address"] == "EIO: Input/output error"
    assert refused["process_vm_readv, at the input's address"] == "EFAULT: Bad address"


def test_without_a_guard_the_lab_does_not_say_protected(hidden: LabRecord) -> None:
    assert hidden.verdict is Verdict.INCONCLUSIVE
    assert "a tracer could attach" in hidden.reason


def test_the_report_of_a_real_run_shows_both_sides(hidden: LabRecord) -> None:
    html = render(hidden)
    assert "FUNFOO ×2</text>" in html
    assert "EIO: Input/output error" in html
    assert hidden.machine.kernel in html


def test_a_program_that_keeps_it_in_ordinary_memory_is_caught(stand_in: str) -> None:
    record = run_lab(silent, enclosed(stand_in, "ordinary"))
    assert record.verdict is Verdict.LEAKED
    assert record.enclaved.hits


def test_a_wrong_hash_is_inconclusive(stand_in: str) -> None:
    record = run_lab(silent, enclosed(stand_in, "secret", "1"))
    assert record.verdict is Verdict.INCONCLUSIVE
    assert "instead of 2084933351" in record.reason


def test_a_runtime_that_refuses_is_quoted(tmp_path: Path) -> None:
    refusing = tmp_path / "refusing"
    refusing.write_text("#!/bin/sh\necho memory lock limit too low, try ulimit -l unlimited\nexit 120\n")
    refusing.chmod(0o755)
    record = run_lab(silent, enclosed(str(refusing)))
    assert record.verdict is Verdict.INCONCLUSIVE
    assert "ended with status 120" in record.reason
    assert "ulimit -l unlimited" in record.reason


def test_no_compiler_is_inconclusive_with_the_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    record = run_lab(silent, enclosed("unused"))
    assert record.verdict is Verdict.INCONCLUSIVE
    assert "apt install gcc" in record.reason
    assert render(record)


def test_nothing_is_left_behind(native: ArmRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    record = run_lab(silent, enclosed("/nonexistent/runtime"))
    assert record.enclaved.absent
    assert list(tmp_path.iterdir()) == []
    assert not Path(f"/proc/{native.members[0].pid}").exists()


def test_the_patience_for_a_silent_program_ends(stand_in: str, monkeypatch: pytest.MonkeyPatch) -> None:
    del stand_in
    monkeypatch.setattr(lab_arm, "PROMPT", "a prompt that never comes")
    arm = Arm(name="native", command="cat", argv=lambda _path: ["/bin/false"])
    assert "ended with status 1" in run_arm(arm, Path("/tmp/app"), silent).absent
