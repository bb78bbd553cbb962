"""Everyday programs, each in a small piece of real work: the same output, errors and status in both arms."""

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.system.arms import ARMS, ENVIRONMENT, Arm, command
from tests.system.conversation import Conversation, Outcome
from tests.system.session import commands_of_a_session

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_runtime, pytest.mark.slow]

WORK = Path(__file__).parent / "programs" / "breadth"
COMPILED = {
    "HOME": "/tmp",
    "GOCACHE": "/tmp/cloister-go-cache",
    "GO111MODULE": "off",
    "GOFLAGS": "",
    "CGO_ENABLED": "0",
}


@dataclass(frozen=True, kw_only=True)
class Work:
    """What runs, what it ends with, and which programs that takes."""

    name: str
    argv: tuple[str, ...]
    needs: tuple[str, ...]
    status: int = 0


def shell(name: str, *needs: str) -> Work:
    return Work(name=name, argv=("bash", str(WORK / f"{name}_work.sh")), needs=("bash", *needs))


TABLE = (
    Work(name="node", argv=("node", str(WORK / "node_work.js")), needs=("node",), status=7),
    Work(name="perl", argv=("perl", str(WORK / "perl_work.pl")), needs=("perl",)),
    Work(name="ruby", argv=("ruby", "-W0", str(WORK / "ruby_work.rb")), needs=("ruby",)),
    Work(
        name="sqlite-writers", argv=("/usr/bin/python3", str(WORK / "sqlite_writers.py")), needs=("/usr/bin/python3",)
    ),
    shell("git", "git", "tar"),
    shell("gcc", "gcc", "g++", "make", "ar"),
    shell("files", "rsync", "tar", "flock"),
    shell("tls", "openssl", "curl", "/usr/bin/python3"),
)


def outcome(arm: Arm, argv: tuple[str, ...], directory: Path) -> Outcome:
    place = directory / arm
    place.mkdir()
    with Conversation(command(arm, argv), cwd=place) as talk:
        return talk.finish(b"", seconds=90)


def compare(argv: tuple[str, ...], directory: Path, status: int) -> Outcome:
    native, enclaved = (outcome(arm, argv, directory) for arm in ARMS)
    assert native.status == status, native
    assert native.stdout, "the control printed nothing"
    assert enclaved == native
    return native


@pytest.mark.parametrize(
    "work", [pytest.param(one, id=one.name, marks=pytest.mark.needs_program(*one.needs)) for one in TABLE]
)
def test_same_result(work: Work, tmp_path: Path) -> None:
    compare(work.argv, tmp_path, work.status)


@pytest.fixture(scope="module")
def java_classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("classes")
    subprocess.run(["javac", "-d", place, WORK / "JavaWork.java"], check=True, timeout=100, env=ENVIRONMENT)
    return place


@pytest.mark.needs_program("java", "javac")
@pytest.mark.parametrize("collector", ["Serial", "Parallel", "G1"])
def test_java(java_classes: Path, collector: str, tmp_path: Path) -> None:
    compare(("java", f"-XX:+Use{collector}GC", "-Xmx256m", "-cp", str(java_classes), "JavaWork"), tmp_path, 3)


@pytest.mark.needs_program("java", "javac")
@pytest.mark.xfail(strict=True, reason="ZGC wants its heap at addresses that it suggests (LIMITATIONS.md)")
def test_java_zgc(java_classes: Path, tmp_path: Path) -> None:
    compare(("java", "-XX:+UseZGC", "-Xmx256m", "-cp", str(java_classes), "JavaWork"), tmp_path, 3)


@pytest.fixture(scope="module", params=["linked statically", "with libc"])
def go_program(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    target = tmp_path_factory.mktemp("go") / "go_work"
    environment = {**ENVIRONMENT, **COMPILED, "CGO_ENABLED": str(int(request.param == "with libc"))}
    subprocess.run(["go", "build", "-o", target, WORK / "go_work.go"], check=True, timeout=110, env=environment)
    yield target
    target.unlink()


@pytest.mark.needs_program("go")
def test_go(go_program: Path, tmp_path: Path) -> None:
    compare((str(go_program),), tmp_path, 4)


@pytest.mark.needs_program("bash", "perl")
@pytest.mark.parametrize("count", [60, pytest.param(1500, marks=[pytest.mark.long, pytest.mark.timeout(900)])])
def test_shell_session(count: int, tmp_path: Path) -> None:
    """Commands as somebody types them: pipes, job control, traps, here-documents, limits, signals."""
    script = tmp_path / "session.sh"
    script.write_text(commands_of_a_session(count))
    native, enclaved = (outcome(arm, ("bash", str(script)), tmp_path) for arm in ARMS)
    assert native.status == 0
    assert native.stdout.count(b"\n") >= count
    assert enclaved.stdout.splitlines() == native.stdout.splitlines()
    assert enclaved.status == native.status
