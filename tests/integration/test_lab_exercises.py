"""`cloister lab start N | check`: every exercise solved through the command, and what is not enough for it."""

import contextlib
import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.machines.student import SECONDS, SOLUTIONS, Student, pin


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The manufacturers' keys of all tests here: making them takes seconds."""
    directory = tmp_path_factory.mktemp("keys")
    directory.chmod(0o700)
    return str(directory)


@pytest.fixture
def student(tmp_path: Path, keys: str) -> Iterator[Student]:
    one = Student(tmp_path, keys)
    yield one
    if one.number:
        one.run("lab", "stop", str(one.number))


ALL = [
    pytest.param(
        number,
        marks=[pytest.mark.needs_program("aarch64-linux-gnu-gcc" if number == 1 else "cc"), pytest.mark.timeout(240)],
    )
    for number in SOLUTIONS
]


def unmet(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.lstrip().startswith("[ ]")]


def met(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.lstrip().startswith("[x]")]


@pytest.mark.parametrize("number", ALL)
def test_solved_step_by_step(student: Student, number: int) -> None:
    """Untouched: nothing is done. The attack alone is not enough, without its answer still less. Then all is."""
    attack, defence = SOLUTIONS[number]
    student.start(number)
    code, text = student.check()
    assert (code, met(text)) == (10, []), text
    answer = attack(student)
    if answer is not None:
        code, text = student.check("--answer", "PIN-0000000000000")
        assert code == 10
        assert "The answer is wrong." in text
        assert any("--answer" in line for line in unmet(text)), text
        code, text = student.check("--answer", answer)
        assert "The answer is right." in text
    else:
        code, text = student.check()
    assert code == 10
    assert met(text)
    assert all("attack" not in line for line in unmet(text)), text
    defence(student)
    code, text = student.check()
    assert (code, unmet(text)) == (0, []), text


@pytest.mark.parametrize("number", ALL)
def test_the_defence_alone_is_not_enough(student: Student, number: int) -> None:
    student.start(number)
    if number == 5:  # one machine: what is traced in the defence alone shows nothing of a branch
        student.say("sgx", "c")
    SOLUTIONS[number][1](student)
    code, text = student.check()
    assert code == 10
    assert all("attack" not in line for line in met(text)), text


def test_the_owner_may_not_give_the_money_back(student: Student) -> None:
    student.start(3)
    for machine in ("sev", "sgx"):
        student.host(machine, "keep", "balance", "full")
        for words in ("w", "d"):
            student.say(machine, words)
        assert student.say(machine, "b") == "1000"
    code, text = student.check()
    assert code == 10
    assert len(unmet(text)) == 3, text


def test_an_owner_who_ends_the_program_is_no_detection(student: Student) -> None:
    student.start(4)
    student.host("sev-snp", "remap", "balance", "riches")
    student.say("sev-snp", "q")
    _, text = student.check()
    assert any("the machine stopped it" in line for line in unmet(text)), text
    assert "by itself" in text


def test_a_written_over_secret_is_no_answer(student: Student) -> None:
    """The owner's words are the student's as well; the secret to be found is the first."""
    student.start(2)
    student.say("native", "sPIN-aaaaaaaaaaaa")
    assert pin(student.host("native", "read", "secret")) == "PIN-aaaaaaaaaaaa"
    code, text = student.check("--answer", "PIN-aaaaaaaaaaaa")
    assert code == 10
    assert met(text) == []


def test_the_progress_file_is_not_believed(student: Student) -> None:
    student.start(4)
    student.check()
    progress = student.directory / "cloister-lab-4" / "progress.json"
    record = json.loads(progress.read_text())
    assert record["done"] is False
    for one in record["demands"]:
        one["met"] = True
    progress.write_text(json.dumps(record | {"done": True}))
    code, text = student.check()
    assert (code, met(text)) == (10, [])


def test_a_policy_that_accepts_all_of_a_signer_is_refused(student: Student) -> None:
    student.start(7)
    policy = student.directory / "cloister-lab-7" / "policy.toml"
    folder = "cloister-lab-7"
    student.run("attest", "--tee", "sgx", "--keys", student.keys, "-o", f"{folder}/q", f"{folder}/app")
    (folder_collateral,) = (policy.parent / "q.collateral").iterdir()
    verified = student.run(
        "verify", f"{folder}/q", "--json",
        "--unsafe-trust-root", f"{folder}/q.roots.pem", "--endorsement", str(folder_collateral),
    )  # fmt: skip
    signer = re.search(r'"mrsigner": "([0-9a-f]{64})"', verified.stdout)
    assert signer, verified
    rule = f'mrsigner = {{ equals = "{signer[1]}", decides = "executables" }}\nisvprodid = 0\n'
    policy.write_text(f'accept_anchors = ["testing"]\n[sgx]\ndebug = false\n{rule}')
    code, text = student.check()
    assert code == 10
    assert any("refuses evidence of `other`" in line for line in unmet(text)), text
    policy.write_text("nonsense = [")
    code, text = student.check()
    assert code == 10
    assert sum("attestation" in line for line in unmet(text)) == 2


def test_the_secret_stands_in_no_file_argument_or_environment(student: Student) -> None:
    student.start(2)
    secret = pin(student.host("native", "read", "secret")).encode()
    folder = student.directory / "cloister-lab-2"
    assert secret in (folder / "native.dram").read_bytes(), (
        "this machine's DRAM has it in plaintext, so the search works"
    )
    for path in folder.iterdir():
        if path.is_file() and path.name != "native.dram":
            assert secret not in path.read_bytes(), path
    for process in rooms(folder):
        for name in ("cmdline", "environ"):
            assert secret not in (process / name).read_bytes()
    student.lab("stop", "2")
    assert not list(folder.glob("*.dram"))


def rooms(folder: Path) -> list[Path]:
    """The processes whose machines are in this folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes()
        except OSError:
            continue
        if b"exercises.room" in words and str(folder).encode() in words:
            found.append(process)
    return found


def working_in(directory: Path) -> list[Path]:
    """The processes that work in a directory: what a process in the software enclave was started with is hidden."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (process / "cwd").readlink() == directory:
                found.append(process)
    return found


def test_nobody_else_may_enter(student: Student) -> None:
    student.start(5)
    folder = student.directory / "cloister-lab-5"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / "sgx.sock").stat().st_mode & 0o777 == 0o600


def test_each_start_has_a_secret_of_its_own(student: Student) -> None:
    found = set()
    for _ in range(2):
        student.start(2)
        found.add(pin(student.host("native", "read", "secret")))
        student.lab("stop", "2")
    assert len(found) == 2


def test_wrong_words(student: Student) -> None:
    for words, part in (
        (("start",), "number"), (("start", "8"), "no exercise 8"), (("start", "x"), "no exercise x"),
        (("check", "3"), "cloister lab start 3"), (("say", "3", "sev"), "exercise, machine and words"),
        (("say", "3", "tdx", "b"), "sev, sgx"), (("hint", "3", "9"), "hints 1 to 3"), (("list", "1"), "no other words"),
        (("start", "3", "--answer", "x"), "--answer belongs"), (("check", "3", "4"), "takes nothing behind"),
    ):  # fmt: skip
        done = student.run("lab", *words)
        assert done.returncode == 2, done
        assert part in done.stderr
    assert student.run("lab", "nonsense").returncode == 2


def test_what_cannot_be_typed_is_refused(student: Student) -> None:
    student.start(5)
    for words in ("x", "bb", "b\x01", ""):
        assert student.run("lab", "say", "5", "sgx", words).returncode == 2, words
    assert student.say("sgx", "b") == "1000"
    again = student.run("lab", "start", "5", "--background", "--unsafe-outside")
    assert again.returncode == 2
    assert "is running" in again.stderr


def test_what_keeps_a_machine_from_starting_is_said(student: Student, tmp_path: Path) -> None:
    open_to_all = tmp_path / "keys"
    open_to_all.mkdir()
    open_to_all.chmod(0o777)
    student.number = 3
    done = student.run("lab", "start", "3", "--background", "--unsafe-outside", "--keys", str(open_to_all))
    assert done.returncode == 2, done
    assert "machine could not be started: " in done.stderr
    assert str(open_to_all) in done.stderr
    assert rooms(tmp_path / "cloister-lab-3") == []


def test_list_and_hints(student: Student) -> None:
    listed = student.lab("list").splitlines()
    assert [line.split()[0] for line in listed] == list("1234567")
    assert all(line.endswith("not started") for line in listed)
    for number in SOLUTIONS:
        first = student.lab("hint", str(number))
        assert first.startswith("1 of ")
        assert "{folder}" not in first


def foreground(student: Student, number: int) -> subprocess.Popen[str]:
    """`start` as a person has it, in the first terminal."""
    student.number = number
    process = subprocess.Popen(
        [sys.executable, "-m", "cloister", "lab", "start", str(number), "--unsafe-outside", "--keys", student.keys],
        cwd=student.directory, env=student.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    for line in process.stdout:
        if "lab stop" in line:
            return process
    raise AssertionError(f"ended before it was ready: {process.wait()}")


def test_the_first_terminal_is_the_owners(student: Student) -> None:
    process = foreground(student, 4)
    output, _ = process.communicate("sev w\nsev nonsense\nsev-snp b\nsev b\nstop\n", timeout=SECONDS)
    assert output.splitlines() == ["taken", "1000", "100"]
    assert process.returncode == 0
    assert student.check()[0] == 2, "it still runs"


def test_the_machines_end_with_the_first_terminal(student: Student) -> None:
    process = foreground(student, 4)
    folder = student.directory / "cloister-lab-4"
    running = rooms(folder)
    assert len(running) == 2
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=SECONDS)
    deadline = time.monotonic() + 10
    while any(one.exists() for one in running) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(one.exists() for one in running)


@pytest.mark.needs_root
@pytest.mark.needs_runtime
def test_the_machines_run_in_the_software_enclave(student: Student) -> None:
    student.number = 2
    done = student.run("lab", "start", "2", "--background", "--keys", student.keys)
    assert done.returncode == 0, done
    assert "outside the software enclave" not in done.stderr
    found = pin(student.host("native", "read", "secret")).encode()
    processes = working_in(student.directory)
    assert len(processes) == 2
    assert not [one for one in processes if found in readable(one)]


@pytest.mark.needs_root
def test_root_reads_the_secret_outside_the_software_enclave(student: Student) -> None:
    """The same search as above finds it there, so that not to find it means something."""
    student.start(2)
    found = pin(student.host("native", "read", "secret")).encode()
    assert [one for one in working_in(student.directory) if found in readable(one)]


def readable(process: Path) -> bytes:
    """All memory of a process that its administrator can read, without what DRAM's file shows anyway."""
    content = bytearray()
    with (process / "mem").open("rb", buffering=0) as memory:
        for line in (process / "maps").read_text().splitlines():
            place, permissions = line.split()[:2]
            start, end = (int(one, 16) for one in place.split("-"))
            if permissions.startswith("r") and not line.endswith(".dram"):
                with contextlib.suppress(OSError, ValueError, OverflowError):
                    memory.seek(start)
                    while memory.tell() < end and (part := memory.read(min(1 << 20, end - memory.tell()))):
                        content += part
    return bytes(content)
