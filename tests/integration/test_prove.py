"""The experiment on real processes. The enclaved arm is a stand-in here; tests/security has the real runtime."""

import errno
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from cloister.app.prove import Enclose, prove
from cloister.errors import UsageError
from cloister.launch.command import RuntimeOptions
from cloister.observe import scan
from cloister.observe.prove.offspring import descendants_of_prover
from cloister.observe.prove.plan import (
    AfterDelay,
    Feed,
    FeedArgument,
    FeedEnvironment,
    FeedFile,
    FeedSend,
    FeedStdin,
    FinishInput,
    OnOutput,
    OnPort,
    Plan,
)
from cloister.observe.prove.record import Trigger
from cloister.observe.prove.render import Experiment, as_json, as_text
from cloister.observe.prove.secret import Secret
from cloister.observe.prove.verdict import Outcome

pytestmark = [pytest.mark.needs_root, pytest.mark.slow]

STAND_IN = Path(__file__).parent / "prove_programs" / "stand_in.c"
READS_A_LINE = (
    "import sys; line = sys.stdin.readline(); print('got', len(line)); sys.stdout.flush(); sys.stdin.readline()"
)


@pytest.fixture(autouse=True)
def nothing_left_running() -> Iterator[None]:
    """No experiment leaves a process behind."""
    before = set(descendants_of_prover())
    yield
    assert set(descendants_of_prover()) <= before


@pytest.fixture
def fresh_secrets(monkeypatch: pytest.MonkeyPatch) -> list[Secret]:
    """Every secret the experiment makes."""
    made: list[Secret] = []
    fresh = Secret.fresh

    def remember(label: str) -> Secret:
        made.append(fresh(label))
        return made[-1]

    monkeypatch.setattr(Secret, "fresh", remember)
    return made


def plan_for(cwd: Path, *words: str, feed: Feed | None = None) -> Plan:
    """A short experiment in a directory of its own."""
    return Plan(
        words=words,
        feed=feed or FeedStdin(),
        readiness=AfterDelay(seconds=0.2),
        ending=FinishInput(),
        cwd=cwd,
        environment={"PATH": os.environ["PATH"], "TMPDIR": str(cwd)},
        hold=0.3,
        ready_timeout=5.0,
        grace=5.0,
    )


def python(code: str, *words: str) -> tuple[str, ...]:
    return sys.executable, "-c", code, *words


def silent(text: str) -> None:
    """No progress line."""


def command(*words: str) -> Enclose:
    """An enclosure that runs this command instead, with the checkpoint option of the runtime."""

    def enclose(_program: str, _args: Sequence[str], options: RuntimeOptions) -> list[str]:
        return [*words, f"--checkpoint={options.checkpoint}"]

    return enclose


def checked_in(*words: str) -> Enclose:
    """An unprotected "enclave": checks in as the runtime does, then runs these words natively."""
    code = (
        "import os,socket,sys\n"
        "s=socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])\n"
        's.sendall(b\'{"pid":1,"at":"start"}\\n\'); s.recv(1); s.close()\n'
        "os.execv(sys.argv[2], sys.argv[2:])\n"
    )

    def enclose(program: str, args: Sequence[str], options: RuntimeOptions) -> list[str]:
        return [sys.executable, "-c", code, str(options.checkpoint), *(words or (program, *args))]

    return enclose


def run(plan: Plan, enclose: Enclose) -> Experiment:
    return prove(plan, silent, enclose)


def failed(experiment: Experiment) -> list[str]:
    assert experiment.verdict.outcome is Outcome.INCONCLUSIVE, as_text(experiment)
    return [control.name for control in experiment.verdict.failed]


@pytest.fixture
def stand_in(tmp_path: Path) -> str:
    """A program that keeps its secret in secret memory and stops at the checkpoints."""
    compiler = shutil.which("cc") or pytest.skip("no C compiler")
    target = tmp_path / "stand-in"
    subprocess.run([compiler, "-o", str(target), str(STAND_IN)], check=True, timeout=60)
    probe = subprocess.run([str(target)], stdin=subprocess.DEVNULL, capture_output=True, timeout=10, check=False)
    if probe.returncode == 120:
        pytest.skip(f"no secret memory here: {probe.stderr.decode().strip()}")
    return str(target)


HASHES = "s = input('Enter a secret: '); print('Hash of your input:', hash(s)); input()"


def test_secret_memory_is_protected(tmp_path: Path, stand_in: str) -> None:
    experiment = run(plan_for(tmp_path, *python(HASHES)), command(stand_in))
    assert experiment.verdict.outcome is Outcome.PROTECTED, as_text(experiment)
    assert experiment.enclaved.samples.checkpoints == 2
    assert experiment.enclaved.unreadable["secret memory refused the read (EIO)"] > 0
    assert experiment.native.samples.hits > 0


def test_what_stands_open_only_at_exit_is_found(tmp_path: Path, stand_in: str) -> None:
    plan = plan_for(tmp_path, *python(HASHES))
    experiment = run(replace(plan, environment={**plan.environment, "LEAK": "heap"}), command(stand_in))
    assert experiment.verdict.outcome is Outcome.LEAKED
    assert "[heap]" in str(experiment.verdict.leaks[0])
    assert experiment.verdict.leaks[0].last.trigger is Trigger.EXIT


FEEDS: list[tuple[Callable[[Path], Feed], str, tuple[str, ...]]] = [
    (lambda _: FeedStdin(), READS_A_LINE, ()),
    (lambda _: FeedStdin(close=True), "import sys, time; s = sys.stdin.read(); time.sleep(1)", ()),
    (lambda _: FeedStdin(template=b"password={secret}\n"), READS_A_LINE, ()),
    (lambda base: FeedFile(path=base / "feed"), "import sys; s = open(sys.argv[1]).read(); input()", ("{file}",)),
    (
        lambda base: FeedFile(path=base / "feed", unlink=True),
        "import sys; s = open(sys.argv[1]).read(); input()",
        ("{file}",),
    ),
]


@pytest.mark.parametrize(("make", "code", "words"), FEEDS)
def test_every_feed_reaches_a_program_that_does_not_protect(
    tmp_path: Path, make: Callable[[Path], Feed], code: str, words: tuple[str, ...]
) -> None:
    experiment = run(plan_for(tmp_path, *python(code, *words), feed=make(tmp_path)), checked_in())
    assert experiment.verdict.outcome is Outcome.LEAKED, as_text(experiment)
    assert not [control for control in experiment.verdict.failed if control.name.startswith("native")]
    assert experiment.native.samples.hits > 0
    assert not (tmp_path / "feed").exists()


@pytest.mark.parametrize("feed", [FeedEnvironment(name="TOKEN"), FeedArgument()])
def test_environment_and_arguments_go_through_the_start_pipe(tmp_path: Path, feed: Feed) -> None:
    """The pipe's block arrives whole, and nothing of it stands in the arguments or environment given to execve(2)."""
    code = (
        "import os,socket,struct,sys,time\n"
        "s=socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])\n"
        's.sendall(b\'{"pid":1,"at":"start"}\\n\'); s.recv(1)\n'
        "f=os.fdopen(int(sys.argv[2]),'rb'); c,e=struct.unpack('<II',f.read(8))\n"
        "w=[f.read(struct.unpack('<I',f.read(4))[0]).decode() for _ in range(c+e)]\n"
        "print('words', sum(x.startswith('TOKEN=') for x in w) or len(w[3]), flush=True); input()\n"
    )

    def enclose(_program: str, _args: Sequence[str], options: RuntimeOptions) -> list[str]:
        return [sys.executable, "-c", code, str(options.checkpoint), str(options.start_fd)]

    words = python("print('words', 28, flush=True); input()", *(("{secret}",) if feed == FeedArgument() else ()))
    experiment = run(plan_for(tmp_path, *words, feed=feed), enclose)
    assert experiment.verdict.outcome is Outcome.LEAKED, as_text(experiment)
    assert {place.surface.value for place in experiment.verdict.leaks} == {"memory"}
    assert {"environ", "cmdline"} & {place.surface.value for place in experiment.native.places}
    assert not [control.name for control in experiment.verdict.failed]


def test_a_secret_that_never_reaches_the_program_is_inconclusive(tmp_path: Path) -> None:
    plan = replace(plan_for(tmp_path, *python("import time; time.sleep(60)")), ready_timeout=0.5, grace=0.2)
    names = failed(run(plan, checked_in()))
    assert {"native fed", "positive control", "enclaved fed"} <= set(names)


def test_without_a_comparison_the_enclaved_arm_is_spared(tmp_path: Path) -> None:
    def enclose(_program: str, _args: Sequence[str], _options: RuntimeOptions) -> list[str]:
        return ["/bin/touch", str(tmp_path / "ran")]

    plan = replace(plan_for(tmp_path, *python("import time; time.sleep(60)")), ready_timeout=0.5, grace=0.2)
    experiment = run(plan, enclose)
    assert experiment.enclaved.status == "did not run"
    assert not (tmp_path / "ran").exists()
    (sentence,) = (line for line in as_text(experiment).splitlines() if line.startswith("inconclusive: "))
    assert re.fullmatch(
        r"inconclusive: native fed: \d+ bytes of standard input were never read;"
        r" and \d+ more failed controls \(--json lists all\)",
        sentence,
    )


def test_a_refusal_ends_the_wait_for_samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As for an ordinary user whose runtime has a file capability: /proc/PID of the enclaved program is closed."""

    def refuse(pid: int) -> int:
        raise PermissionError(errno.EACCES, "Permission denied", f"/proc/{pid}/mem")

    plan = plan_for(tmp_path, *python(READS_A_LINE))
    monkeypatch.setattr(scan, "open_memory", refuse)
    begun = time.monotonic()
    experiment = run(plan, checked_in())
    assert time.monotonic() - begun < 20
    assert "native access" in failed(experiment)
    text = as_text(experiment)
    assert "permission denied" in text
    assert "Permission denied" not in text, "the reason is given once"


def test_an_enclaved_program_that_never_takes_the_secret_is_inconclusive(tmp_path: Path) -> None:
    plan = replace(plan_for(tmp_path, *python(READS_A_LINE)), ready_timeout=1.5, grace=0.2)
    names = failed(run(plan, checked_in(*python("import time; time.sleep(60)"))))
    assert "enclaved fed" in names
    assert "positive control" not in names


def test_without_a_checkpoint_the_enclaved_samples_do_not_count(tmp_path: Path) -> None:
    sleeper = python("import sys; sys.stdin.readline(); sys.stdin.readline()")
    plan = plan_for(tmp_path, *python(READS_A_LINE))
    experiment = run(plan, lambda _program, _args, _options: list(sleeper))
    assert experiment.enclaved.samples.fed == 0


def test_an_enclave_that_cannot_start_is_inconclusive_with_its_words(tmp_path: Path) -> None:
    plan = plan_for(tmp_path, *python(READS_A_LINE))
    experiment = run(plan, command(*python("import sys; sys.exit(print('no memory', file=sys.stderr) or 120)")))
    assert "enclaved started" in failed(experiment)
    assert "exit code 120: no memory" in as_text(experiment)


def test_a_command_that_does_not_exist_is_inconclusive(tmp_path: Path) -> None:
    experiment = run(plan_for(tmp_path, *python(READS_A_LINE)), command("/nonexistent/enclave"))
    assert "enclaved started" in failed(experiment)


def test_other_output_is_inconclusive(tmp_path: Path, stand_in: str) -> None:
    assert "same output" in failed(run(plan_for(tmp_path, *python(READS_A_LINE)), command(stand_in)))


def test_other_exit_status_is_inconclusive(tmp_path: Path, stand_in: str) -> None:
    code = HASHES + "; raise SystemExit(3)"
    assert "same exit status" in failed(run(plan_for(tmp_path, *python(code)), command(stand_in)))


def test_a_program_that_is_over_at_once_is_inconclusive(tmp_path: Path) -> None:
    assert "positive control" in failed(run(plan_for(tmp_path, "/bin/true"), command("/bin/true")))


def test_a_pattern_that_never_comes_is_inconclusive(tmp_path: Path, stand_in: str) -> None:
    plan = plan_for(tmp_path, *python(HASHES))
    names = failed(
        run(
            replace(plan, readiness=OnOutput(pattern=re.compile(b"never")), ready_timeout=1.0),
            command(stand_in),
        )
    )
    assert {"native ready", "enclaved ready"} <= set(names)


SERVER = """
import socket, sys
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
while True:
    connection, _ = listener.accept()
    line = connection.recv(4096)
    if line:
        kept = line
        connection.sendall(b"+OK\\r\\n")
    connection.close()
"""


@pytest.fixture
def port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        return int(listener.getsockname()[1])


def test_a_secret_sent_to_a_port(tmp_path: Path, port: int) -> None:
    feed = FeedSend(host="127.0.0.1", port=port, template=b"SET k {secret}\r\n")
    plan = replace(plan_for(tmp_path, *python(SERVER, str(port)), feed=feed), grace=0.3)
    plan = replace(plan, readiness=OnPort(host="127.0.0.1", port=port))
    experiment = run(plan, checked_in())
    assert experiment.verdict.outcome is Outcome.LEAKED, as_text(experiment)
    assert experiment.native.fed.holds
    assert experiment.native.samples.hits > 0


def test_a_busy_port_is_not_taken_for_the_program(tmp_path: Path, port: int) -> None:
    feed = FeedSend(host="127.0.0.1", port=port, template=b"{secret}")
    with closing(socket.create_server(("127.0.0.1", port))):
        experiment = run(plan_for(tmp_path, *python(SERVER, str(port)), feed=feed), checked_in())
    assert "native started" in failed(experiment)
    assert "already serves" in as_text(experiment)


def test_the_feed_never_overwrites_a_file(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("keep")
    feed = FeedFile(path=tmp_path / "precious")
    with pytest.raises(UsageError, match="precious"):
        run(plan_for(tmp_path, *python(READS_A_LINE, "{file}"), feed=feed), checked_in())
    assert (tmp_path / "precious").read_text() == "keep"


@pytest.mark.parametrize(
    ("feed", "words"),
    [
        (FeedArgument(), ("/bin/cat",)),
        (FeedStdin(), ("/bin/cat", "{secret}")),
        (FeedStdin(), ("/bin/cat", "{file}")),
        (FeedStdin(template=b"nothing"), ("/bin/cat",)),
    ],
)
def test_a_plan_that_cannot_work_is_refused(tmp_path: Path, feed: Feed, words: tuple[str, ...]) -> None:
    with pytest.raises(UsageError):
        run(plan_for(tmp_path, *words, feed=feed), checked_in())


def test_no_secret_in_any_result(tmp_path: Path, fresh_secrets: list[Secret]) -> None:
    """Not even when the program puts it into file names, its name, and its complaints."""
    code = (
        "import os, sys\n"
        "s = sys.stdin.readline().strip()\n"
        "open('x-' + s, 'w').close(); os.mkdir('d-' + s.encode().hex())\n"
        "open('/proc/self/comm', 'w').write(s[:15])\n"
        "print('bad key', s, file=sys.stderr, flush=True)\n"
    )
    native, enclaved = python(code + "sys.stdin.readline()"), python(code + "sys.exit(125)")
    experiment = run(plan_for(tmp_path, *native), checked_in(*enclaved))
    shown = as_text(experiment) + json.dumps(as_json(experiment)) + repr(experiment)
    assert len(fresh_secrets) == 3
    for secret in fresh_secrets:
        windows = {secret.text[start : start + 8] for start in range(len(secret.text) - 7)}
        assert not [window for window in windows if window in shown]
        assert secret.value.hex() not in shown


def test_daemons_are_sampled_and_ended(tmp_path: Path) -> None:
    code = (
        "import os, sys, time\n"
        "s = sys.stdin.readline()\n"
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    if os.fork() == 0:\n"
        "        time.sleep(60)\n"
        "    os._exit(0)\n"
        "os.wait(); sys.stdin.readline()\n"
    )
    experiment = run(plan_for(tmp_path, *python(code)), checked_in())
    assert experiment.verdict.outcome is Outcome.LEAKED
    assert any("descendant" in place.process for place in experiment.verdict.leaks)
    assert any("outlived" in note for note in experiment.enclaved.notes)
