"""`cloister run --tee sgx --with`: the commands that are started, by doubles of the tools and of the SGX device."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.services.framework_tools import NAMES, install

pytestmark = pytest.mark.needs_program("cc")

SECONDS = 60
STARTED = (
    "import sys; from pathlib import Path; from cloister.launch.frameworks import needs; from cloister.cli import main"
)
HERE = f"{STARTED}; needs.ROOT = Path(sys.argv[1]); sys.exit(main(sys.argv[2:]))"
PROGRAM = """
#include <stdio.h>
#include <stdlib.h>
__attribute__((section(".oeinfo"), used)) static char place[2048] = {1};
int main(int argc, char **argv) {
    const char *id = getenv("SCONE_CONFIG_ID"), *mode = getenv("SCONE_MODE"), *simulated = getenv("OE_SIMULATION");
    printf("%d %s|%s|%s|%s\\n", argc - 1, argc > 1 ? argv[argc - 1] : "-", id ? id : "-", mode ? mode : "-",
           simulated ? simulated : "-");
    return argc > 2 ? 7 : 0;
}
"""
FLAGS = "flags\t\t: fpu sgx sgx_lc\n"


@dataclass
class Machine:
    """A machine with SGX: its devices and its tools, all doubles, and an empty directory to work in."""

    path: Path
    program: Path
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def root(self) -> Path:
        return self.path / "root"

    @property
    def work(self) -> Path:
        return self.path / "project"

    @property
    def key(self) -> Path:
        return self.path / "home/.config/gramine/enclave-key.pem"

    def run(self, framework: str, *words: str) -> "subprocess.CompletedProcess[str]":
        return self.cloister("--tee", "sgx", "--with", framework, *words)

    def cloister(self, *words: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-c", HERE, self.root, "run", *words], cwd=self.work, capture_output=True, text=True,
            timeout=SECONDS, check=False, env=self.variables,
        )  # fmt: skip

    @property
    def variables(self) -> dict[str, str]:
        given = {"PATH": f"{self.path / 'tools'}:{os.environ['PATH']}", "HOME": str(self.path / "home")}
        log = {"FRAMEWORK_LOG": str(self.path / "log"), "PYTHONPATH": os.pathsep.join(sys.path)}
        return {**given, **log, **self.environment}

    def asked(self) -> list[list[str]]:
        """The commands that were started, with this machine's paths left out."""
        return [[word.replace(str(self.path), "") for word in one["words"]] for one in self.log()]

    def log(self) -> list[dict[str, Any]]:
        log = self.path / "log"
        return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A program that EGo's and SCONE's commands take."""
    folder = tmp_path_factory.mktemp("program")
    (folder / "app.c").write_text(PROGRAM)
    subprocess.run(["cc", "-o", folder / "app", folder / "app.c"], check=True, timeout=SECONDS)
    return folder / "app"


@pytest.fixture
def machine(tmp_path: Path, program: Path) -> Machine:
    install(tmp_path / "tools")
    for name, text in {
        "root/dev/sgx_enclave": "", "root/var/run/aesmd/aesm.socket": "", "root/proc/cpuinfo": FLAGS,
        "root/proc/mounts": "udev /dev devtmpfs rw,nosuid 0 0\n", "home/.config/gramine/enclave-key.pem": "key",
        "home/.cas/config.json": "{}", "home/own.pem": "key", "project/note": "",
    }.items():  # fmt: skip
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return Machine(tmp_path, program)


def script_of(machine: Machine, framework: str, *words: str) -> str:
    shown = machine.run(framework, "--dry-run", *words)
    assert shown.returncode == 0, shown.stderr
    assert shown.stderr == ""
    assert machine.asked() == []
    return shown.stdout


GRAMINE = [
    ["gramine-sgx-sign", "--manifest", "/project/app.gramine/app.manifest", "--output",
     "/project/app.gramine/app.manifest.sgx", "--sigfile", "/project/app.gramine/app.sig", "--key",
     "/home/.config/gramine/enclave-key.pem"],
    ["gramine-sgx", "/project/app.gramine/app"],
]  # fmt: skip
COPY = ["copy_bom", "-f", "/project/app.occlum/bom.yaml", "--root", "/project/app.occlum/image", "--include-dir"]
EXPECTED: dict[str, tuple[tuple[str, ...], list[list[str]], str]] = {
    "gramine": ((), GRAMINE, "-|-|-"),
    "ego": ((), [["ego", "sign", "enclave.json"], ["ego", "run", "/project/app.ego/app", "a", "b c"]], "-|-|-"),
    "occlum": (
        ("--sign-key", "../home/own.pem"),
        [["occlum", "init"], [*COPY, "/opt/occlum/etc/template"],
         ["occlum", "build", "--sgx-mode", "HW", "--sign-key", "/home/own.pem"],
         ["occlum", "run", "PROGRAM", "a", "b c"]],
        "-|-|-",
    ),
    "scone": ((), [], "-|hw|-"),
}  # fmt: skip


@pytest.mark.parametrize("framework", EXPECTED)
def test_a_program_is_signed_and_run(machine: Machine, framework: str) -> None:
    options, expected, said = EXPECTED[framework]
    done = machine.run(framework, *options, "--", str(machine.program), "a", "b c")
    assert (done.stdout, done.returncode) == (f"2 b c|{said}\n", 7), done.stderr
    assert machine.asked() == [[str(machine.program) if w == "PROGRAM" else w for w in one] for one in expected]


@pytest.mark.parametrize("framework", EXPECTED)
def test_what_is_shown_does_the_same(machine: Machine, framework: str) -> None:
    words = (*EXPECTED[framework][0], "--", str(machine.program), "a", "b c")
    script = script_of(machine, framework, *words)
    assert not (machine.work / f"app.{framework}").exists()
    by_shell = subprocess.run(
        ["sh", "-e", "-c", script], cwd=machine.work, capture_output=True, text=True, timeout=SECONDS, check=False,
        env=machine.variables,
    )  # fmt: skip
    assert by_shell.stdout.splitlines()[-1] == f"2 b c|{EXPECTED[framework][2]}"
    assert by_shell.returncode == 7
    first = machine.log()
    (machine.path / "log").unlink(missing_ok=True)
    assert machine.run(framework, *words).returncode == 7
    again = [one for one in machine.log() if one["words"] != ["occlum", "init"]]
    assert again == [one for one in first if one["words"] != ["occlum", "init"]]


SIMULATED = {
    "gramine": ("-|-|-", [["gramine-direct", "/project/app.gramine/app"]]),
    "ego": ("-|-|1", [["ego", "sign", "enclave.json"], ["ego", "run", "/project/app.ego/app"]]),
    "occlum": ("-|-|-", [["occlum", "init"], [*COPY, "/opt/occlum/etc/template"],
                         ["occlum", "build", "--sgx-mode", "SIM"], ["occlum", "run", "PROGRAM"]]),
    "scone": ("-|sim|-", []),
}  # fmt: skip


@pytest.mark.parametrize("framework", SIMULATED)
def test_without_sgx_it_is_said_that_nothing_is_protected(machine: Machine, framework: str) -> None:
    (machine.root / "dev/sgx_enclave").unlink()
    machine.key.unlink()
    said, expected = SIMULATED[framework]
    done = machine.run(framework, "--unsafe-simulation", "--quiet", "--", str(machine.program))
    assert (done.stdout, done.returncode) == (f"0 -|{said}\n", 0), done.stderr
    assert "nothing is protected" in done.stderr
    assert machine.asked() == [[str(machine.program) if w == "PROGRAM" else w for w in one] for one in expected]


def test_everything_that_is_missing_is_said_and_nothing_is_done(machine: Machine) -> None:
    (machine.root / "dev/sgx_enclave").unlink()
    (machine.root / "proc/cpuinfo").write_text("flags\t\t: fpu\n")
    machine.key.unlink()
    (machine.path / "tools/gramine-sgx").unlink()
    done = machine.run("gramine", "--", "/bin/cat")
    assert done.returncode == 120
    for word in ("gramine-sgx is not on PATH", "no key to sign with", "/dev/sgx_enclave does not exist", "has no SGX"):
        assert word in done.stderr
    assert "gramine-sgx-sign is not" not in done.stderr
    assert machine.asked() == []
    assert [one.name for one in machine.work.iterdir()] == ["note"]


CPU = "root/proc/cpuinfo"
LACKING = [
    ("ego", {"root/dev/sgx_enclave": None, CPU: "flags\t: sgx\n"}, "launch control"),
    ("ego", {"root/dev/sgx_enclave": None}, "Linux must be 5.11"),
    ("ego", {"root/dev/sgx_enclave": None, CPU: None}, "has no SGX"),
    ("ego", {"root/proc/mounts": "udev /dev devtmpfs rw,nosuid,noexec 0 0\n"}, "mounted noexec"),
    ("ego", {"tools/ego": None}, "ego is not on PATH"),
    ("occlum", {"root/var/run/aesmd/aesm.socket": None}, "aesmd"),
    ("occlum", {"tools/copy_bom": None}, "copy_bom is not on PATH"),
    ("occlum", {}, "key of Intel's samples"),
]


@pytest.mark.parametrize(("framework", "changes", "said"), LACKING, ids=lambda one: str(one)[:40])
def test_each_thing_that_may_be_missing(
    machine: Machine, framework: str, changes: dict[str, str | None], said: str
) -> None:
    for name, text in changes.items():
        if text is None:
            (machine.path / name).unlink()
        else:
            (machine.path / name).write_text(text)
    done = machine.run(framework, "--", str(machine.program))
    assert done.returncode == 120
    assert said in done.stderr
    assert machine.asked() == []


@pytest.mark.parametrize("device", ["dev/sgx/enclave", "dev/isgx"])
def test_the_devices_of_older_drivers_will_do(machine: Machine, device: str) -> None:
    (machine.root / "dev/sgx_enclave").unlink()
    (machine.root / device).parent.mkdir(exist_ok=True)
    (machine.root / device).touch()
    assert machine.run("ego", "--", str(machine.program)).returncode == 0


@pytest.mark.parametrize(("framework", "said"), [("ego", "no section .oeinfo"), ("scone", "no program of SCONE's")])
def test_a_program_of_another_kind(machine: Machine, framework: str, said: str) -> None:
    done = machine.run(framework, "--", "/bin/cat")
    assert done.returncode == 120
    assert said in done.stderr


@pytest.mark.parametrize("tool", ["gramine-sgx-sign", "sign", "init", "copy_bom", "build"])
def test_a_tool_that_fails_starts_nothing(machine: Machine, tool: str) -> None:
    framework = {"gramine-sgx-sign": "gramine", "sign": "ego"}.get(tool, "occlum")
    machine.environment = {"FRAMEWORK_FAILS": tool}
    done = machine.run(framework, *EXPECTED[framework][0], "--", str(machine.program))
    assert done.returncode == 125
    assert "ended with exit code 3; nothing was started" in done.stderr
    assert done.stdout == ""  # a tool's words are no output of the program
    assert "told to" in done.stderr
    assert {one["words"][0] for one in machine.log()} <= set(NAMES)
    assert machine.asked()[-1][:2] in (["gramine-sgx-sign", "--manifest"], ["ego", "sign"], ["occlum", tool], COPY[:2])


def test_signing_leaves_the_users_program_as_it_is(machine: Machine) -> None:
    before = machine.program.read_bytes()
    assert machine.run("ego", "--sign-key", "../home/own.pem", "--", str(machine.program)).returncode == 0
    assert machine.program.read_bytes() == before
    assert json.loads((machine.work / "app.ego/enclave.json").read_text())["key"] == "../../home/own.pem"
    assert not (machine.work / "app.ego/private.pem").exists()
