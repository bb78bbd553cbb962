"""Real programs on a shielded console: pipes, a shell with job control, prompts without echo, an interpreter."""

import hashlib
import os
import random
import re
import signal
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from tests.system.attested import CLOISTER
from tests.system.consoles import TOOLS, Console, Machine, wait_until, waiting
from tests.system.process_tree import below, moments, read_process
from tests.system.terminal import Terminal

pytestmark = [pytest.mark.needs_runtime, pytest.mark.needs_root]
BASH = ["bash", "--norc", "--noprofile", "--noediting", "-i"]
PROMPT = rb"<>"


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    return Machine(home=tmp_path_factory.mktemp("host"))


def shell(machine: Machine) -> Path:
    return machine.manifest("bash", "-c", TOOLS)


def interpreter(machine: Machine) -> Path:
    return machine.manifest("python3", "-c", "import getpass, os, readline, sys, time")


def test_a_pipe_goes_through(machine: Machine, tmp_path: Path) -> None:
    with waiting(machine, tmp_path / "c", ["cat"], machine.manifest("cat")) as console:
        done = console.attach(b"one\ntwo\n")
        assert (done.returncode, done.stdout, done.stderr) == (0, b"one\ntwo\n", b"")
        assert console.run.wait(20) == 0
    assert not console.address.exists()


def test_much_goes_through_both_ways(machine: Machine, tmp_path: Path) -> None:
    data = random.Random(1).randbytes(12_345_678)  # noqa: S311 - a test's
    with waiting(machine, tmp_path / "c", ["cat"], machine.manifest("cat")) as console:
        done = console.attach(data)
    assert done.returncode == 0, done.stderr
    assert hashlib.sha256(done.stdout).digest() == hashlib.sha256(data).digest()


SHARED = r"""
read first; echo "shell $first"
(read second; echo "child $second")
head -c 3; echo
read rest; echo "shell $rest" >&2
cat | (read piped; echo "piped $piped"; cat)
exit 7
"""


def test_all_processes_share_the_streams(machine: Machine, tmp_path: Path) -> None:
    """Who reads a line takes no more than that line, whoever reads next; two outputs are two."""
    with waiting(machine, tmp_path / "c", ["bash", "-c", SHARED], shell(machine)) as console:
        done = console.attach(b"a\nb\n123d\ne\nf\ng\n")
    assert done.stdout == b"shell a\nchild b\n123\npiped e\nf\ng\n"
    assert (done.returncode, done.stderr) == (7, b"shell d\n")


def test_the_person_says_what_the_arguments_are(machine: Machine, tmp_path: Path) -> None:
    with waiting(machine, tmp_path / "c", ["bash"], shell(machine)) as console:
        done = console.attach(b"", command=["bash", "-c", 'echo "$0 $1 ${HOME-none}"', "mine", "too"])
    assert (done.returncode, done.stdout) == (0, b"mine too none\n"), "and of the host's environment it has nothing"


def test_a_death_by_signal_is_confirmed(machine: Machine, tmp_path: Path) -> None:
    with waiting(machine, tmp_path / "c", ["bash", "-c", "echo last words; kill -9 $$"], shell(machine)) as console:
        done = console.attach()
    assert (done.returncode, done.stdout) == (128 + signal.SIGKILL, b"last words\n")


def test_outputs_that_are_opened_again_are_the_console(machine: Machine, tmp_path: Path) -> None:
    line = "echo one > /dev/stdout; echo two > /proc/self/fd/2; cat < /dev/stdin"
    with waiting(machine, tmp_path / "c", ["bash", "-c", line], shell(machine)) as console:
        done = console.attach(b"three\n")
    assert (done.stdout, done.stderr) == (b"one\nthree\n", b"two\n")


READERS = """
import os, sys
children = []
for _ in range(4):
    child = os.fork()
    while not child:
        data = os.read(0, 977)
        if not data:
            os._exit(0)
        os.write(1, data)
    children.append(child)
sys.exit(any(os.waitpid(child, 0)[1] for child in children))
"""


@pytest.mark.needs_program("python3")
def test_processes_that_read_at_once_share_all_of_it(machine: Machine, tmp_path: Path) -> None:
    data = random.Random(2).randbytes(1_500_000)  # noqa: S311 - a test's
    words = ["python3", "-c", READERS]
    with waiting(machine, tmp_path / "c", words, interpreter(machine)) as console:
        done = console.attach(data)
    assert (done.returncode, done.stderr) == (0, b"")
    assert Counter(done.stdout) == Counter(data), "each byte once"


WRITERS = "for i in {1..8}; do (for j in {1..200}; do echo $i $j; done) & done; wait"


def test_processes_that_write_at_once_lose_nothing(machine: Machine, tmp_path: Path) -> None:
    with waiting(machine, tmp_path / "c", ["bash", "-c", WRITERS], shell(machine)) as console:
        done = console.attach()
    assert (done.returncode, done.stderr) == (0, b"")
    lines = [tuple(map(int, line.split())) for line in done.stdout.splitlines()]
    for writer in range(1, 9):
        assert [second for first, second in lines if first == writer] == list(range(1, 201))


KILLS = "for i in {1..20}; do yes & read -t 0.$((i % 5))5 x; kill -9 $!; wait $!; done 2> /dev/null; echo done >&2"


def test_a_writer_that_is_killed_leaves_no_gap(machine: Machine, tmp_path: Path) -> None:
    """Wherever it was, also between taking a number and sending its record."""
    with waiting(machine, tmp_path / "c", ["bash", "-c", KILLS], shell(machine)) as console:
        read, write = os.pipe()  # which nobody writes to: `read` waits
        with os.fdopen(read, "rb") as given, (tmp_path / "out").open("wb") as out:
            words, environment = console.words(), machine.environment
            done = subprocess.run(
                words, stdin=given, stdout=out, stderr=subprocess.PIPE, env=environment, check=False, timeout=60
            )
        os.close(write)
    assert (done.returncode, done.stderr) == (0, b"done\n")
    assert set((tmp_path / "out").read_bytes()) == set(b"y\n")


def test_nobody_reads_any_more(machine: Machine, tmp_path: Path) -> None:
    """The person has gone: as with a pipe, the program ends by SIGPIPE."""
    with waiting(machine, tmp_path / "c", ["bash", "-c", "yes"], shell(machine)) as console:
        words = [*console.words(), "--"][:-1]
        read, write = os.pipe()
        attached = os.posix_spawnp(words[0], words, machine.environment, file_actions=[(os.POSIX_SPAWN_DUP2, write, 1)])
        os.close(write)
        assert os.read(read, 4) == b"y\ny\n"
        os.close(read)
        os.waitpid(attached, 0)
        assert console.run.wait(30) in {-signal.SIGPIPE, 128 + signal.SIGPIPE}


SHIELD = """
[shield]
unsafe_open_network = true
[[shield.files]]
path = "/vault"
kind = "memory"
""" + "".join(
    f'[[shield.files]]\npath = "{path}"\nkind = "plain"\nunsafe_plain = true\n'
    for path in ("/usr", "/lib", "/lib64", "/etc", "/root")
)


def test_files_are_shielded_besides(machine: Machine, tmp_path: Path) -> None:
    """The person's policy: a program keeps a file that the host never has, and writes nowhere else."""
    policy = tmp_path / "shield.toml"
    policy.write_text(SHIELD)
    with waiting(machine, tmp_path / "c", BASH, shell(machine)) as console:
        options = console.words()[len(CLOISTER) + 1 : -1]
        with console.terminal(*options, "--shield", str(policy), env={"PS1": "<>"}) as terminal:
            terminal.expect(PROMPT)
            assert order(terminal, b"echo kept > /vault/file; cat /vault/file") == b"kept\r\n"
            assert b"Permission denied" in order(terminal, f"echo > {tmp_path}/elsewhere".encode())
            assert order(terminal, b"echo back > /dev/tty") == b"back\r\n"
            terminal.type(b"exit 3\n")
            assert terminal.wait() == 3
    assert not Path("/vault").exists()
    assert not (tmp_path / "elsewhere").exists()


def order(terminal: Terminal, line: bytes) -> bytes:
    """Type a line; what stands between it and the next prompt."""
    terminal.type(line + b"\n")
    return terminal.expect(re.escape(line) + rb"\r\n(.*?)" + PROMPT)[1]


def interactive(console: Console) -> Terminal:
    terminal = console.terminal(env={"PS1": "<>"})
    terminal.expect(PROMPT)
    return terminal


def until_it_does_not_echo(terminal: Terminal) -> None:
    for _ in moments(20):
        terminal.read(0.05)
        if not terminal.echoes():
            return
    raise AssertionError(f"it still echoes; on the screen: {terminal.seen[-2000:]!r}")


def session_of_a_person(terminal: Terminal) -> None:
    assert order(terminal, b"echo $((6 * 7))") == b"42\r\n"
    assert re.fullmatch(rb"24 80\r\n/dev/pts/\d+\r\n", order(terminal, b"stty size; tty"))
    assert order(terminal, b"seq 3 | cat > /dev/tty") == b"1\r\n2\r\n3\r\n"
    terminal.type(b"read line; echo [$line]\n")
    terminal.expect(rb"\[\$line\]\r\n")
    terminal.type(b"ab\x7fc\n")  # the person's terminal edits the line
    terminal.expect(rb"\[ac\]\r\n<>")
    terminal.type(b"stty -echo; read hidden; stty echo; echo [$hidden]\n")
    terminal.expect(rb"\[\$hidden\]\r\n")
    until_it_does_not_echo(terminal)
    terminal.type(b"s3cret\n")
    assert b"s3cret" not in terminal.expect(rb"(.*?)\[s3cret\]\r\n<>")[1], "it was not shown as it was typed"
    terminal.type(b"cat\n")
    terminal.expect(rb"cat\r\n")
    terminal.type(b"through\n")
    terminal.expect(rb"through\r\nthrough\r\n")
    terminal.type(b"\x04")
    terminal.expect(PROMPT)


def session_of_job_control(terminal: Terminal) -> None:
    terminal.type(b"sleep 100\n")
    terminal.expect(rb"sleep 100\r\n")
    for _ in moments(0.5):
        pass
    terminal.type(b"\x1a")
    terminal.expect(rb"\[1\]\+  Stopped +sleep 100\r\n")
    terminal.expect(PROMPT)
    assert b"sleep 100 &" in order(terminal, b"bg")
    terminal.type(b"fg\n")
    terminal.expect(rb"sleep 100\r\n")
    for _ in moments(0.5):
        pass
    terminal.type(b"\x03")
    terminal.expect(PROMPT)
    assert order(terminal, b"echo status $?") == b"status 130\r\n"
    terminal.type(b"cat &\n")  # a reader in the background is stopped
    terminal.expect(PROMPT)
    wait_until(lambda: b"Stopped" in order(terminal, b"jobs"))
    order(terminal, b"kill -9 %%; wait")


def test_a_shell_at_a_terminal(machine: Machine, tmp_path: Path) -> None:
    with waiting(machine, tmp_path / "c", BASH, shell(machine)) as console, interactive(console) as terminal:
        session_of_a_person(terminal)
        session_of_job_control(terminal)
        terminal.resize(columns=100, lines=30)
        wait_until(lambda: order(terminal, b"stty size") == b"30 100\r\n")
        terminal.type(b"exit 5\n")
        assert terminal.wait() == 5
        assert console.run.wait(20) == 5


def test_line_editing_with_readline(machine: Machine, tmp_path: Path) -> None:
    words = ["bash", "--norc", "--noprofile", "-i"]
    with waiting(machine, tmp_path / "c", words, shell(machine)) as console, interactive(console) as terminal:
        terminal.type(b"echo fir\x01\x0b")  # to the beginning, cut to the end
        terminal.type(b"printf '[%s]\\n' second\r")
        terminal.expect(rb"\r\[second\]\r\n")
        terminal.expect(PROMPT)
        terminal.type(b"\x1b[A\r")  # once more
        terminal.expect(rb"\r\[second\]\r\n")
        terminal.expect(PROMPT)
        terminal.type(b"\x04")
        assert terminal.wait() == 0


@pytest.mark.needs_program("python3")
def test_an_interpreter(machine: Machine, tmp_path: Path) -> None:
    manifest = interpreter(machine)
    with (
        waiting(machine, tmp_path / "c", ["python3", "-q"], manifest) as console,
        console.terminal(env={"PYTHONDONTWRITEBYTECODE": "1"}) as terminal,
    ):
        terminal.expect(rb">>> ")
        terminal.type(b"import getpass; len(getpass.getpass('word: '))\r")
        terminal.expect(rb"word: $")
        until_it_does_not_echo(terminal)
        terminal.type(b"FUNFOO\r")
        assert b"FUNFOO" not in terminal.expect(rb"(.*?)\r\n6\r\n>>> ")[1]
        terminal.type(b"import time; time.sleep(100)\r")
        terminal.expect(rb"sleep\(100\)\r\n")
        for _ in moments(0.5):
            pass
        terminal.type(b"\x03")
        terminal.expect(rb"KeyboardInterrupt")
        terminal.expect(rb">>> ")
        terminal.type(b"\x04")
        assert terminal.wait() == 130  # as natively, after an interrupt


def test_closing_the_window_hangs_up(machine: Machine, tmp_path: Path) -> None:
    with waiting(machine, tmp_path / "c", BASH, shell(machine)) as console:
        with interactive(console) as terminal:
            terminal.type(b"sleep 1000\n")
            wait_until(lambda: any(one.name == "sleep" for one in map(read_process, below(console.run.pid)) if one))
            tree = below(console.run.pid)
            terminal.hang_up()
        assert console.run.wait(20) != 0
        wait_until(lambda: all((found := read_process(pid)) is None or found.is_dead for pid in tree))


def test_the_terminal_is_left_as_it_was(machine: Machine, tmp_path: Path) -> None:
    words = ["bash", "-c", "stty raw -echo; kill -9 $$"]
    with waiting(machine, tmp_path / "c", words, shell(machine)) as console, console.terminal() as terminal:
        assert terminal.wait() == 128 + signal.SIGKILL
        assert terminal.echoes()
