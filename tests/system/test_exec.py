"""Programs that become others: exec chains, scripts, descriptors, daemons, enclaves in enclaves; and failures."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.system.arms import ARMS, CLOISTER_ENVIRONMENT, ENVIRONMENT, cloister_run, command
from tests.system.conftest import MemoryProof
from tests.system.conversation import Conversation
from tests.system.process_tree import descendants, every_process, guards_of, moments, read_process, wait_until_gone

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_runtime]

PROGRAMS = Path(__file__).parent / "programs"


def script(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o755)
    return path


def compiled(name: str, directory: Path) -> str:
    subprocess.run(["cc", "-O1", "-o", directory / name, PROGRAMS / f"{name}.c"], check=True, timeout=60)
    return str(directory / name)


def assert_same(argv: Sequence[str], cwd: Path) -> "subprocess.CompletedProcess[bytes]":
    native, enclaved = (
        subprocess.run(
            command(arm, argv),
            cwd=cwd,
            env=ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=60,
            check=False,
        )
        for arm in ARMS
    )
    assert (enclaved.returncode, enclaved.stdout, enclaved.stderr) == (native.returncode, native.stdout, native.stderr)
    return native


SHOW = '#!/bin/sh\nprintf \'<%s>\' "$0" "$@"; echo\n'


@pytest.fixture
def scripts(tmp_path: Path) -> Path:
    """Scripts of every kind. The nested ones name one another as interpreters."""
    show = script(tmp_path / "show", SHOW)
    script(tmp_path / "with-argument", '#!/bin/sh -eu\nprintf \'<%s>\' "$-" "$0" "$@"; echo; false; echo not reached\n')
    script(tmp_path / "one-word", "#! /usr/bin/env -S printf <%s>\n")
    script(tmp_path / "spaces", f"#!  \t {show}   one argument with spaces  \t\nignored\n")
    script(tmp_path / "nested", f"#!{tmp_path / 'spaces'} inner\n")
    script(tmp_path / "deeper", f"#!{tmp_path / 'nested'}\n")
    script(tmp_path / "python", "#!/usr/bin/python3 -I\nimport sys; print(sys.argv, sys.flags.isolated)\n")
    script(tmp_path / "no-newline", "#!/bin/echo")
    return tmp_path


@pytest.mark.parametrize(
    "name", ["show", "with-argument", "one-word", "spaces", "nested", "deeper", "python", "no-newline"]
)
def test_scripts(name: str, scripts: Path) -> None:
    done = assert_same([str(scripts / name), "", "a b", "--", "\udcff"], scripts)
    assert done.stdout


def test_scripts_that_a_program_starts(scripts: Path) -> None:
    everything = " ; ".join(
        f"./{name} '' 'a b'" for name in ("show", "with-argument", "spaces", "deeper", "no-newline")
    )
    done = assert_same(["bash", "-c", everything], scripts)
    assert done.stdout.count(b"\n") == 5


def test_what_cannot_start_says_the_same_below_a_shell(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("echo a script without its first line\n")
    script(tmp_path / "no-magic", "echo no magic: $0\n")
    script(tmp_path / "no-interpreter", "#!/nonexistent/interpreter\n")
    script(tmp_path / "empty", "")
    script(tmp_path / "loop", f"#!{tmp_path / 'loop'}\n")
    names = ("plain", "no-magic", "no-interpreter", "empty", "loop", "missing", "plain/below", ".")
    for shell in ("bash", "dash"):
        assert_same([shell, "-c", "; ".join(f"./{name}; echo $?" for name in names)], tmp_path)


@pytest.mark.needs_program("cc")
@pytest.mark.parametrize("how", ["descriptor", "deleted", "directory"])
def test_execution_by_descriptor(how: str, tmp_path: Path) -> None:
    done = assert_same([compiled("fexecve", tmp_path), how, "/bin/echo", "", "a b"], tmp_path)
    assert done.stdout == b" a b\n"


def test_a_chain_of_programs_in_one_process(memory_proof: MemoryProof, marker: bytes, tmp_path: Path) -> None:
    """A shell becomes env becomes bash becomes Python becomes cat: one process id all the way, protected at the end."""
    python = "import os; os.execvp('sh', ['sh', '-c', 'echo $$; exec cat'])"
    chain = ["sh", "-c", 'echo $$; exec env A=b nice -n 0 bash -c "$@"', "sh"]
    chain += ['echo $$; exec -a other /usr/bin/python3 -c "$0"', python]
    with contextlib.ExitStack() as stack:
        talks = [stack.enter_context(Conversation(command(arm, chain), cwd=tmp_path)) for arm in ARMS]
        for talk in talks:
            talk.expect(b"(?:%d\n){3}" % talk.pid)
            talk.send(marker)
            talk.expect(marker)
        memory_proof([talks[0].pid], [talks[1].pid], marker)
        assert [talk.finish().status for talk in talks] == [0, 0]


def test_many_programs_one_after_another(tmp_path: Path) -> None:
    done = assert_same(
        ["bash", "-c", "for i in $(seq 200); do /bin/true || echo failed; done; seq 500 | xargs -P4 -n5 echo | wc -l"],
        tmp_path,
    )
    assert done.stdout == b"100\n"


@pytest.mark.needs_program("cc")
def test_a_daemon_stays_protected_and_its_guards_end_with_it(
    memory_proof: MemoryProof, marker: bytes, tmp_path: Path
) -> None:
    program, pids = compiled("daemonize", tmp_path), []
    for arm in ARMS:
        file = tmp_path / f"{arm}.pid"
        with Conversation(command(arm, [program, str(file)]), cwd=tmp_path) as talk:
            assert talk.finish(marker + b"\n").status == 0
        pids.append(read_pid(file))
    guards = guards_of(pids[1])
    memory_proof([pids[0]], [pids[1]], marker)
    for pid in pids:
        os.kill(pid, signal.SIGTERM)
    assert not wait_until_gone([*pids, *guards], seconds=5)


def read_pid(file: Path) -> int:
    for _ in moments(20):
        if file.exists() and file.read_text().endswith("\n"):
            return int(file.read_text())
    raise AssertionError("the daemon did not write its pid")


@pytest.mark.parametrize("victim", [0, 1], ids=["first guard", "second guard"])
def test_a_guard_that_is_killed_takes_everything_with_it(victim: int, tmp_path: Path) -> None:
    with Conversation(
        command("enclaved", ["bash", "-c", "echo ready; sleep 60 & (sleep 61; :) & wait"]), cwd=tmp_path
    ) as talk:
        talk.expect(b"ready")
        first = (read_process(talk.pid) or pytest.fail("it is gone")).tracer
        second = (read_process(first) or pytest.fail("no guard")).tracer
        family = descendants([talk.pid], every_process())
        os.kill((first, second)[victim], signal.SIGKILL)
        assert talk.process.wait(10) == -signal.SIGKILL
        assert not wait_until_gone(family | {first, second}, seconds=5)


@pytest.mark.parametrize("inner", ["cloister run", "the runtime"])
def test_an_enclave_in_an_enclave(inner: str, memory_proof: MemoryProof, marker: bytes, tmp_path: Path) -> None:
    again = cloister_run("enclaved", ["cat"])
    if inner == "the runtime":
        again = ["sh", "-c", 'exec "$@"', "sh", *command("enclaved", ["cat"])]
    with contextlib.ExitStack() as stack:
        talks = [
            stack.enter_context(Conversation(argv, cwd=tmp_path, env=CLOISTER_ENVIRONMENT))
            for argv in (["cat"], cloister_run("enclaved", again))
        ]
        for talk in talks:
            talk.send(marker)
            talk.expect(marker)
        memory_proof([talks[0].pid], [talks[1].pid], marker)
        native, enclaved = (talk.finish() for talk in talks)
    assert enclaved == native


@pytest.mark.parametrize(
    ("argv", "status"),
    [(["/nonexistent/program"], 127), (["no-such-program-anywhere"], 127), (["/etc/passwd"], 126), (["/tmp"], 126)],
)
def test_what_cannot_start_has_the_status_of_a_shell(argv: list[str], status: int, tmp_path: Path) -> None:
    done = subprocess.run(
        cloister_run("enclaved", argv),
        cwd=tmp_path,
        env=CLOISTER_ENVIRONMENT,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == status
    assert argv[0].encode() in done.stderr
    assert done.stdout == b""
