"""The how-to pages: their ```console blocks are run, and must end and print as the page shows.

All blocks of a page run in one shell, in a directory that is empty, or as `PREPARED` says. `$ ` starts a command and
`> ` continues it. A command must succeed, unless `$ echo $?` comes next. What it prints must be what is shown: numbers
and addresses may differ, a line `...` stands for any lines, and `...` inside a line for any text.
"""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.forge.every import write_files
from tests.forge.launch_files import write_launch_files

from cloister.launch.runtime_file import runtime_path
from cloister.observe.trace.tracefs import why_unavailable

ROOT = Path(__file__).parents[1]
HOW_TO = ROOT / "docs" / "how-to"
BLOCK = re.compile(r"^```console\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)
VARIES = re.compile(
    r"(?P<gap>\.\.\.)|(?P<address>\b(0x)?[0-9a-f]{8,}\b)"
    r"|(?P<number>\d+([.,]\d+)*( (bytes|B|[KMGT]i?B)\b)?)|(?P<space> +)"
)
PATTERNS = {"gap": ".*", "address": "[0-9a-fx]+", "number": r"[\d,.e-]+( (bytes|B|[KMGT]i?B))?", "space": " +"}
EXIT_STATUS = "echo $?"
ROOT_RUNTIME = (pytest.mark.needs_root, pytest.mark.needs_runtime)
PYTHON = pytest.mark.needs_program("python3")

NO_GUEST = pytest.mark.skipif(Path("/sys/kernel/config/tsm/report").exists(), reason="this is a confidential guest")
COMPILERS = pytest.mark.needs_program("cc", "aarch64-linux-gnu-gcc", "riscv64-linux-gnu-gcc")

PAGES: dict[str, tuple[pytest.MarkDecorator, ...]] = {
    "attest-a-confidential-guest": (NO_GUEST,),
    "attest-an-emulated-program": (pytest.mark.needs_program("cc"),),
    "attach-a-console": ROOT_RUNTIME,
    "attack-a-machine": (COMPILERS, pytest.mark.needs_program("jq")),
    "attack-your-own-program": (*ROOT_RUNTIME, PYTHON, pytest.mark.needs_program("gdb")),
    "attestation-results": (),
    "attested-tls": (pytest.mark.needs_program("cc"),),
    "be-the-administrator": (pytest.mark.needs_runtime, pytest.mark.needs_program("cc")),
    "collateral": (pytest.mark.needs_program("openssl"),),
    "coming-from-confidential-containers": (),
    "coming-from-confidential-vms": (pytest.mark.needs_program("cc", "jq"),),
    "coming-from-ego": (pytest.mark.needs_runtime,),
    "coming-from-gramine": ROOT_RUNTIME,
    "coming-from-occlum": (pytest.mark.needs_runtime,),
    "coming-from-scone": (),
    "coming-from-the-sgx-sdk-or-open-enclave": (pytest.mark.needs_program("openssl"),),
    "check-the-machine": (pytest.mark.needs_runtime,),
    "compute-together": (*ROOT_RUNTIME, pytest.mark.needs_program("cc")),
    "do-the-attacks-by-hand": (pytest.mark.needs_program("cc"),),
    "do-the-exercise": (*ROOT_RUNTIME, pytest.mark.needs_program("cc")),
    "dump-memory": (*ROOT_RUNTIME, PYTHON),
    "explain-a-failure": (),
    "keep-files-in-a-volume": (),
    "keep-the-brokers-keys": (pytest.mark.needs_program("openssl"),),
    "launch-step-by-step": (pytest.mark.needs_program("cc"),),
    "measure-offline": (),
    "prove-it": (*ROOT_RUNTIME, PYTHON),
    "prove-through-shields": (*ROOT_RUNTIME, PYTHON, pytest.mark.needs_program("openssl")),
    "read-the-results-in-a-script": (*ROOT_RUNTIME, PYTHON),
    "release-secrets-to-a-program": (*ROOT_RUNTIME, pytest.mark.needs_program("cc")),
    "run-a-confidential-guest": (NO_GUEST,),
    "run-a-program": (*ROOT_RUNTIME, PYTHON),
    "run-in-a-container": ROOT_RUNTIME,
    "run-in-an-emulated-tee": (pytest.mark.needs_runtime, COMPILERS),
    "seal-data": (pytest.mark.needs_program("openssl"),),
    "search-a-dump": (*ROOT_RUNTIME, PYTHON),
    "serve": (pytest.mark.needs_program("cc"),),
    "shield-files": (pytest.mark.needs_runtime, pytest.mark.needs_program("sqlite3")),
    "shield-the-network": (pytest.mark.needs_runtime, PYTHON, pytest.mark.needs_program("openssl", "curl")),
    "sign-what-is-launched": (pytest.mark.needs_program("openssl"),),
    "trace-system-calls": (*ROOT_RUNTIME, PYTHON),
    "verify-evidence": (pytest.mark.needs_program("jq"),),
    "verify-the-audit-log": (),
    "write-a-policy": (),
    "write-a-shield-policy": (pytest.mark.needs_runtime,),
    "write-a-session": (pytest.mark.needs_program("openssl"),),
}


def copy_example(directory: Path) -> None:
    """The programs of the page about attested TLS."""
    shutil.copytree(ROOT / "examples" / "attested_tls", directory, dirs_exist_ok=True)


def copy_client(directory: Path) -> None:
    """The client of the page about releasing secrets."""
    shutil.copy(ROOT / "examples" / "broker" / "kbs_client.py", directory)


def copy_hospitals(directory: Path) -> None:
    """The programs of the page about computing together."""
    shutil.copytree(ROOT / "examples" / "two_hospitals", directory, dirs_exist_ok=True)


PREPARED: dict[str, Callable[[Path], None]] = {
    "attested-tls": copy_example,
    "coming-from-confidential-containers": write_launch_files,
    "coming-from-confidential-vms": write_launch_files,
    "coming-from-the-sgx-sdk-or-open-enclave": write_launch_files,
    "compute-together": copy_hospitals,
    "explain-a-failure": write_files,
    "measure-offline": write_launch_files,
    "serve": copy_client,
    "sign-what-is-launched": write_launch_files,
    "verify-evidence": write_files,
}
"""What a page finds in its directory: example programs; forged evidence of every TEE, its roots and its collateral."""

USER_PAGE = "run-as-an-ordinary-user"  # needs a user and sudo: see the last test


@dataclass(kw_only=True)
class Step:
    """One command of a page and what the page shows below it."""

    command: str
    shown: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a command really did."""

    status: int
    printed: str


def steps(page: str) -> list[Step]:
    """The commands of a page, in order."""
    found: list[Step] = []
    for block in BLOCK.finditer((HOW_TO / f"{page}.md").read_text()):
        for line in block["code"].splitlines():
            if line.startswith("$ "):
                found.append(Step(command=line[2:]))
            elif line.startswith(">") and not found[-1].shown:
                found[-1].command += "\n" + line[2:]
            else:
                found[-1].shown.append(line)
    return found


def script(page: list[Step], results: Path) -> Iterator[str]:
    """The page as one shell script, each command with its output in a file of its own."""
    yield "status=0"
    for number, step in enumerate(page):
        yield f"(exit $status)\n{{ {step.command}\n}} >{results}/{number}.out 2>&1\n"
        yield f"status=$?\necho $status >{results}/{number}.status"


def nothing(directory: Path) -> None:
    """What most pages begin with."""
    assert directory.is_dir()


def run_page(page: list[Step], directory: Path, prepare: Callable[[Path], None] = nothing) -> list[Outcome]:
    """Run all commands of a page; whatever they left running is ended."""
    work, results = directory / "work", directory / "results"
    work.mkdir()
    results.mkdir()
    prepare(work)
    shell = subprocess.Popen(
        ["bash", "-c", "\n".join(script(page, results))],
        stdin=subprocess.DEVNULL,
        cwd=work,
        env=environment(directory),
        start_new_session=True,
    )
    try:
        shell.wait(100)
    finally:
        with contextlib.suppress(ProcessLookupError):  # nothing was left running
            os.killpg(shell.pid, signal.SIGKILL)
        shell.wait()
    return [outcome(results, number) for number in range(len(page))]


def outcome(results: Path, number: int) -> Outcome:
    """What was recorded of one command."""
    status = results / f"{number}.status"
    assert status.exists(), f"the page's script did not come to command {number}"
    printed = (results / f"{number}.out").read_text(errors="replace")
    return Outcome(status=int(status.read_text()), printed=printed)


def environment(directory: Path) -> dict[str, str]:
    """What a user has who installed this source tree: its `cloister` in PATH, and its modules in Python."""
    place = directory / "bin"
    place.mkdir()
    cloister = place / "cloister"
    cloister.write_text(f"#!{sys.executable}\nimport sys\nfrom cloister.cli import main\nsys.exit(main())\n")
    cloister.chmod(0o755)
    path = f"{place}:{Path(sys.executable).parent}:{os.environ['PATH']}:/usr/sbin:/sbin"
    return {"PATH": path, "PYTHONPATH": str(ROOT / "src"), "HOME": str(directory / "work"), "LANG": "C.UTF-8"}


def pattern(line: str) -> re.Pattern[str]:
    """What a shown line may look like in another run."""
    parts, at = [], 0
    for found in VARIES.finditer(line):
        parts += [re.escape(line[at : found.start()]), PATTERNS[str(found.lastgroup)]]
        at = found.end()
    return re.compile("".join(parts) + re.escape(line[at:]))


def differs(shown: list[str], printed: list[str]) -> str:
    """The first shown line that was not printed, or what was printed and is not shown; empty if they agree."""
    at, gap = 0, False
    for line in shown:
        if line.strip() == "...":
            gap = True
            continue
        here = [
            n
            for n in range(at, len(printed) if gap else min(at + 1, len(printed)))
            if pattern(line).fullmatch(printed[n])
        ]
        if not here:
            return f"shown, not printed: {line}"
        at, gap = here[0] + 1, False
    return "" if gap or at == len(printed) else f"printed, not shown: {printed[at]}"


def expected_status(page: list[Step], number: int) -> int:
    """What the page says of a command's exit status: what `echo $?` shows next, else success."""
    following = page[number + 1] if number + 1 < len(page) else None
    return int(following.shown[0]) if following and following.command == EXIT_STATUS else 0


def test_every_page_is_run() -> None:
    assert {*PAGES, USER_PAGE} == {path.stem for path in HOW_TO.glob("*.md")}


@pytest.mark.parametrize(
    ("shown", "printed", "agrees"),
    [
        (["read  7.4 MB"], ["read 11 KB"], True),
        (["a", "...", "d"], ["a", "b", "c", "d"], True),
        (["at 0x56271ca5b580 ..."], ["at 0x1 in file"], True),
        (["a", "...", "d"], ["a", "b"], False),
        (["a"], ["a", "b"], False),
        (["a", "b"], ["a"], False),
        (["verdict not found"], ["verdict found"], False),
        ([], ["an error"], False),
    ],
)
def test_the_comparison_itself(shown: list[str], printed: list[str], agrees: bool) -> None:  # noqa: FBT001 - a table
    assert bool(differs(shown, printed)) is not agrees


@pytest.mark.parametrize("name", [pytest.param(name, marks=marks) for name, marks in PAGES.items()])
def test_page_shows_what_happens(name: str, tmp_path: Path) -> None:
    page = steps(name)
    assert page, "a how-to has at least one ```console block"
    if name == "trace-system-calls" and why_unavailable():
        pytest.skip(why_unavailable())
    outcomes = run_page(page, tmp_path, PREPARED.get(name, nothing))
    for number, (step, real) in enumerate(zip(page, outcomes, strict=True)):
        assert real.status == expected_status(page, number), f"$ {step.command}\n{real.printed}"
        difference = differs(step.shown, real.printed.splitlines())
        if difference:
            pytest.fail(f"{difference}\n$ {step.command}\n{real.printed}", pytrace=False)


@pytest.mark.needs_root
@pytest.mark.needs_runtime
@pytest.mark.needs_program("setpriv", "prlimit")
def test_an_ordinary_user_is_refused_as_the_page_shows() -> None:
    """The page's other half, the capability, is tests/security/test_runtime_ordinary_user.py's."""
    with tempfile.TemporaryDirectory() as name:  # pytest's own directories are closed to other users
        runtime = shutil.copy(runtime_path(), name)
        Path(name).chmod(0o755)
        user = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]
        command = ["prlimit", "--memlock=8388608:8388608", "--", *user, runtime, "--", "/bin/echo", "echo", "hello"]
        refused = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert (refused.returncode, refused.stdout) == (120, "")
    assert refused.stderr in (HOW_TO / f"{USER_PAGE}.md").read_text(), "the page shows another refusal"
