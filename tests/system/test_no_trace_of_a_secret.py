"""No byte of a secret that a broker released can be read by the host's administrator, at any moment, anywhere.

The program gets its secrets as argument, variable and file. The sampler looks at every process of its tree (carrier,
runtime, guards, program, child) from before the start to after the end; the broker's machine is not part of the tree.
"""

import secrets
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.system.arms import ENVIRONMENT
from tests.system.attested import Host, Program, attested_host, measured
from tests.system.procfs_sampler import Sampled, build, forms_of, sample

from cloister.launch import _abi

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_runtime, pytest.mark.needs_program("cc")]

PROGRAMS = Path(__file__).parent / "programs"
FILE = "/run/cloister-test/injected.secret"
BASH, SLEEP = Path("/bin/bash"), Path("/usr/bin/sleep")
KINDS = ("static", "dynamic", "script")
MODES = ("run", "crash")
LOOKS, LOOKS_ON_AVERAGE = 100, 200
"""How often the processes of one start are looked at, at least; each time at all that can be read of one process."""
GUARD = "cloister-guard"
FNV_START, FNV_PRIME = 0xCBF29CE484222325, 0x100000001B3

SESSION = """\
name: test/{kind}
version: "1"
salt: "00112233445566778899aabbccddeeff"
services:
{services}secrets:
{secrets}"""
SERVICE = """\
  - name: {mode}
    command: [{path}, "{mode}", "$$SCONE::argument$$", "{file}"]
    environment: {{ SECRET: "$$SCONE::variable$$", PATH: /usr/bin:/bin, LC_ALL: C.UTF-8 }}
    injection_files:
      - path: {file}
        content: "$$SCONE::file$$"
    attestation:
      - tee: software
        measurement: "{measurement}"
        anchors: [software]
        claims: {{ admission: strict, guard: armed }}
"""


def fnv(text: str) -> int:
    """The hash that the programs print: FNV-1a, 64 bits."""
    found = FNV_START
    for byte in text.encode():
        found = (found ^ byte) * FNV_PRIME % 2**64
    return found


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A host with the programs, their sessions and their secrets."""

    host: Host
    sampler: Path
    script: Path
    programs: dict[str, Program]
    secrets: dict[str, str]

    @property
    def needles(self) -> dict[str, bytes]:
        named = {name: forms_of(value.encode()) for name, value in self.secrets.items()}
        return {f"{name}:{form}": value for name, forms in named.items() for form, value in forms.items()}

    @property
    def expected(self) -> set[str]:
        """The lines that a program prints that has its secrets."""
        hashes = {name: f"{fnv(value):016x}" for name, value in self.secrets.items()}
        return {f"{who}{name} {found}" for who in ("", "child's ") for name, found in hashes.items()}

    def start(self, kind: str, mode: str, place: Path, *, trace_pause: int = 3000) -> Sampled:
        """One start, looked at all the time."""
        place.mkdir(exist_ok=True)
        return sample(
            self.sampler, self.host.command(f"test/{kind}", mode, self.programs[kind]), self.needles, place=place,
            directories=[self.host.home, Path("/dev/shm")], environment=self.host.environment, trace_pause=trace_pause,
        )  # fmt: skip


def compiled(name: str, place: Path, *flags: str) -> Path:
    target = place / name
    subprocess.run(["cc", "-O1", *flags, "-o", target, PROGRAMS / "secret_user.c"], check=True)
    return target


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    place = tmp_path_factory.mktemp("stage")
    script = place / "script"
    script.write_bytes((PROGRAMS / "secret_user.sh").read_bytes())
    paths = {"static": compiled("static", place, "-static"), "dynamic": compiled("dynamic", place)}
    programs = {kind: measured(path, place) for kind, path in paths.items()}
    programs["script"] = measured(BASH, place, script, SLEEP)
    values = {name: secrets.token_urlsafe(30) for name in ("argument", "variable", "file")}
    with attested_host(place) as host:
        made = Stage(host=host, sampler=build(place), script=script, programs=programs, secrets=values)
        for kind in KINDS:
            host.put(f"test/{kind}", session(made, kind))
        yield made


def session(stage: Stage, kind: str) -> str:
    program = stage.programs[kind]
    given = "".join(f'  - {{ name: {name}, kind: ascii, value: "{value}" }}\n' for name, value in stage.secrets.items())
    words = [program.path, stage.script] if kind == "script" else [program.path]
    path = ", ".join(f'"{word}"' for word in words)
    services = "".join(
        SERVICE.format(mode=mode, path=path, file=FILE, measurement=program.measurement) for mode in (*MODES, "leak")
    )
    return SESSION.format(kind=kind, services=services, secrets=given)


def check(stage: Stage, found: Sampled, mode: str) -> None:
    """The program did all that it does, it was looked at often enough, and nothing was found."""
    assert found.hits == []
    assert found.status == (-signal.SIGABRT if mode == "crash" else 0), found.errors
    assert set(found.output.splitlines()) == stage.expected, found.errors
    assert found.total("looks") >= LOOKS, found.counts
    assert found.counts[GUARD]["looks"] > 0
    assert not any(found.counts[name]["attached"] for name in (*KINDS, "bash", "sleep") if name in found.counts)
    assert found.total("bytes refused") > 0, "no secret memory was there when it was looked at"


def started(stage: Stage, times: int, place: Path) -> Counter[str]:
    """Start the programs by turns until so many have run. A start into which a debugger came is refused: once more."""
    tally: Counter[str] = Counter()
    turns = [(kind, mode) for mode in MODES for kind in KINDS]
    while tally["run"] < times:
        kind, mode = turns[tally["run"] % len(turns)]
        found = stage.start(kind, mode, place)
        tally["hits"] += len(found.hits)
        if found.status == _abi.EXIT_CANNOT_PROTECT and found.total("attached"):
            assert found.hits == []
            tally["refused"] += 1
            assert tally["refused"] <= times, found.errors
            continue
        check(stage, found, mode)
        tally["run"] += 1
        for what in ("looks", "memories", "bytes read", "bytes refused", "attached", "attach refused", "sockets"):
            tally[what] += found.total(what)
    assert tally["looks"] >= times * LOOKS_ON_AVERAGE, tally
    assert tally["memories"] >= times * LOOKS_ON_AVERAGE // 4, tally
    return tally


@pytest.mark.slow
def test_no_byte_is_found_in_ten_starts(stage: Stage, tmp_path: Path) -> None:
    tally = started(stage, 10, tmp_path / "place")
    assert tally["attach refused"] > 0
    assert tally["sockets"] > 0


@pytest.mark.long
@pytest.mark.timeout(900)
def test_no_byte_is_found_in_a_hundred_starts(stage: Stage, tmp_path: Path) -> None:
    tally = started(stage, 100, tmp_path / "place")
    print(tally)  # noqa: T201 - `pytest -s` shows how much was looked at
    assert tally["attached"] > 0
    assert tally["attach refused"] > 100


def test_the_broker_logs_no_secret(stage: Stage, tmp_path: Path) -> None:
    stage.start("dynamic", "run", tmp_path, trace_pause=0)
    said = stage.host.server.said() + (stage.host.server.state / "audit.log").read_text()
    assert not any(value in said for value in stage.secrets.values())


@pytest.mark.parametrize("mode", MODES)
def test_control_natively_everything_is_found(stage: Stage, tmp_path: Path, mode: str) -> None:
    """The same program, natively, with its secrets as native programs get them."""
    place, file = tmp_path / "place", tmp_path / "place" / "secret"
    place.mkdir()
    file.write_text(stage.secrets["file"])
    program = stage.programs["dynamic"].path
    command: list[str | Path] = [
        "env",
        f"SECRET={stage.secrets['variable']}",
        program,
        mode,
        stage.secrets["argument"],
        file,
    ]
    found = sample(stage.sampler, command, stage.needles, place=place, environment=ENVIRONMENT, trace_pause=500)
    assert set(found.output.splitlines()) == stage.expected
    seen = {(hit.process, hit.kind, hit.needle) for hit in found.hits}
    for kind in ("environ", "memory"):
        assert ("dynamic", kind, "variable:raw") in seen
    for kind in ("cmdline", "memory"):
        assert ("dynamic", kind, "argument:raw") in seen
    assert ("dynamic", "memory", "file:raw") in seen
    assert ("", "file", "file:raw") in seen
    if mode == "crash":
        assert any(hit.kind == "file" and Path(hit.detail).name.startswith("core") for hit in found.hits)


@pytest.mark.parametrize("kind", ["static", "dynamic"])
def test_control_what_the_program_lets_out_is_found(stage: Stage, tmp_path: Path, kind: str) -> None:
    """The same start of a program that writes its secret to a file: there, and nowhere else."""
    found = stage.start(kind, "leak", tmp_path, trace_pause=0)
    assert found.status == 0, found.errors
    assert {(hit.kind, hit.needle) for hit in found.hits} <= {("file", "argument:raw"), ("open file", "argument:raw")}
    assert "file" in found.kinds
