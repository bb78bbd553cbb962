"""`cloister run --broker`, all of it real: carrier, runtime and broker, for a program that knows nothing of them.

The program finds arguments, environment, directory and files as if it had been started with them. Whatever goes wrong,
it is not started, and the person reads why. That nobody else sees the secrets is test_no_trace_of_a_secret.py's.
"""

import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.services.carrier import yes_broker
from tests.services.serve_process import serving
from tests.system.arms import ROOT
from tests.system.attested import CLOISTER, Host, Program, attested_host, measured, run

from cloister.evidence.software import Admission, Guard, parse
from cloister.launch import _abi
from cloister.launch.runtime_file import runtime_path

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_runtime, pytest.mark.needs_program("cc")]

PATIENCE = 60
NAME = "team/app"
SECRET = "correct horse battery staple"
FILE = "/run/provisioned/db.conf"
SOURCE = f"""\
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/wait.h>
static void show(void) {{
    char line[200] = "(none)";
    FILE *file = fopen("{FILE}", "r");
    if (file) {{ if (!fgets(line, sizeof line, file)) strcpy(line, "(empty)"); fclose(file); }}
    printf("file %s\\n", line);
    fflush(stdout);
}}
int main(int argc, char **argv) {{
    char text[4096];
    for (int i = 0; i < argc; i++) printf("argument %s\\n", argv[i]);
    for (const char *const *name = (const char *const []){{"TOKEN", "OUTSIDE", "CLOISTER_ATTESTER", 0}}; *name; name++)
        printf("%s %s\\n", *name, getenv(*name) ? getenv(*name) : "(none)");
    printf("directory %s\\n", getcwd(text, sizeof text));
    show();
    while (fgets(text, sizeof text, stdin)) {{
        if (!strcmp(text, "show\\n")) show();
        if (!strcmp(text, "fork\\n")) {{ if (!fork()) {{ show(); _exit(0); }} wait(0); }}
        if (!strcmp(text, "kill\\n")) raise(9);
    }}
    return 7;
}}
"""
SESSION = """\
name: {name}
version: "1"
salt: "00112233445566778899aabbccddeeff"
{predecessor}services:
  - name: app
    command: ["app", "--token", "$$CLOISTER::token$$"]
    environment: {{ TOKEN: "$$CLOISTER::token$$" }}
    pwd: /usr
    injection_files: [{{ path: {file}, content: "password=$$CLOISTER::token$$" }}]
    attestation:
      - tee: software
        measurement: "{measurement}"
        anchors: [software]
        claims: {{ admission: strict, guard: armed }}
secrets:
  - {{ name: token, kind: ascii, value: "{value}" }}
"""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A host with one program and its session."""

    host: Host
    program: Program
    directory: Path

    def words(self, *more: str, **changes: Any) -> list[str]:
        """The command line; options that stand in `more` come last, so they are the ones that count."""
        command = self.host.command(changes.get("session", NAME), "app", changes.get("program", self.program))
        at = command.index("--")
        return [*command[:at], *more, *command[at:]]

    def run(self, *more: str, stdin: bytes = b"", **changes: Any) -> "subprocess.CompletedProcess[bytes]":
        environment = self.host.environment | {"OUTSIDE": "seen"} | changes.pop("environment", {})
        return subprocess.run(
            self.words(*more, **changes), input=stdin, env=environment, cwd=self.directory, capture_output=True,
            check=False, timeout=PATIENCE,
        )  # fmt: skip

    def start(self, *more: str) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            self.words(*more), env=self.host.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, cwd=self.directory,
        )  # fmt: skip


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    directory = tmp_path_factory.mktemp("provisioned")
    (directory / "app.c").write_text(SOURCE)
    run(["cc", "-O1", "-o", str(directory / "app"), str(directory / "app.c")])
    with attested_host(directory) as host:
        program = measured(directory / "app", directory)
        host.put(NAME, session_of(program))
        yield Stage(host=host, program=program, directory=directory)


def session_of(program: Program, *, name: str = NAME, value: str = SECRET, predecessor: str = "") -> str:
    before = f'predecessor: "{predecessor}"\n' if predecessor else ""
    return SESSION.format(name=name, measurement=program.measurement, file=FILE, value=value, predecessor=before)


def shown(output: bytes) -> dict[str, str]:
    lines = [line.split(" ", 1) for line in output.decode().splitlines()]
    return {name: value for name, value in lines if name != "argument"}


def wait_until(true: Any) -> None:
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.02)


def test_the_program_finds_everything_where_it_always_was(stage: Stage) -> None:
    done = stage.run()
    assert (done.returncode, done.stderr) == (7, b"")
    found = shown(done.stdout)
    arguments = [line[9:] for line in done.stdout.decode().splitlines() if line.startswith("argument ")]
    assert arguments == ["app", "--token", SECRET]
    assert found["TOKEN"] == SECRET
    assert found["file"] == f"password={SECRET}"
    assert found["directory"] == "/usr"
    attester = Path(found["CLOISTER_ATTESTER"])
    wait_until(lambda: not attester.parent.exists())
    assert not Path(FILE).exists()


def test_its_streams_status_and_end_are_its_own(stage: Stage) -> None:
    """The carrier holds no stream: a pipe ends with the program, and a shell's $(...) does not wait."""
    script = '"$@"; echo "status $?" >&2'
    words = ["sh", "-c", f'out=$({script}); echo "$out" | tail -n 2', "sh", *stage.words("--quiet")]
    done = subprocess.run(
        words, env=stage.host.environment, input=b"show\nfork\n", capture_output=True, check=False, timeout=PATIENCE
    )
    assert done.stderr == b"status 7\n"
    assert done.stdout.decode().splitlines() == [f"file password={SECRET}"] * 2
    assert stage.run(stdin=b"kill\n").returncode == -signal.SIGKILL


def test_by_a_passport_too(stage: Stage) -> None:
    flow = stage.directory / "passport.jsonl"
    done = stage.run("--attest", "passport", "--verifier", stage.host.server.url, "--flow", str(flow))
    assert done.returncode == 7, done.stderr
    assert shown(done.stdout)["TOKEN"] == SECRET
    lines = [json.loads(line) for line in flow.read_text().splitlines()]
    towards = {(one["to"], one["kind"].partition("?")[0]) for one in lines if one["from"] == "carrier"}
    assert ("verifier", "POST /kbs/v0/attest") in towards
    assert ("broker", "POST /kbs/v0/attest") not in towards
    assert ("broker", f"GET /cloister/v1/provision/app/{NAME}") in towards
    assert SECRET not in flow.read_text()


def refused(stage: Stage, *more: str, **changes: Any) -> str:
    """What is said; the program was not started."""
    done = stage.run(*more, **changes)
    assert done.returncode == _abi.EXIT_NOT_PROVISIONED, done
    assert done.stdout == b""
    return done.stderr.decode()


def test_another_program_is_denied(stage: Stage) -> None:
    changed = stage.directory / "changed"
    changed.write_bytes(stage.program.path.read_bytes() + b"\0")
    changed.chmod(0o755)
    said = refused(stage, program=measured(changed, stage.directory))
    assert "denied: the broker says: " in said
    assert "The program is one that was named" in said


def test_a_program_that_changed_after_it_was_measured_is_not_started(stage: Stage) -> None:
    """The manifest says what it was; the evidence says what it is."""
    changed = stage.directory / "changes"
    changed.write_bytes(stage.program.path.read_bytes())
    changed.chmod(0o755)
    before = measured(changed, stage.directory)
    stage.host.put("team/changes", session_of(before, name="team/changes"))
    assert stage.run(program=before, session="team/changes").returncode == 7
    with changed.open("ab") as file:
        file.write(b"\0")
    assert "denied" in refused(stage, program=before, session="team/changes")


def test_a_session_that_does_not_exist(stage: Stage) -> None:
    assert "denied: the broker says: " in refused(stage, session="team/nothing")


def test_a_host_that_the_broker_does_not_know(stage: Stage, tmp_path: Path) -> None:
    said = refused(stage, "--host-key", str(tmp_path / "another.pem"))
    assert "not attested: the broker says: " in said


def test_without_its_guard_nothing_is_provisioned(stage: Stage) -> None:
    done = stage.run("--unsafe-no-guard")
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"--unsafe-no-guard excludes --broker" in done.stderr


def test_a_certificate_of_somebody_else(stage: Stage, tmp_path: Path) -> None:
    with serving(tmp_path) as another:
        said = refused(stage, "--ca", str(another.state / "tls.pem"))
    assert "undecided: the broker " in said
    assert "certificate is not accepted" in said


def test_a_broker_that_is_away(stage: Stage) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    said = refused(stage, "--broker", f"https://127.0.0.1:{port}")
    assert "undecided: the broker " in said
    assert "Connection refused" in said


def test_a_broker_that_never_answers_is_given_up_by_the_person(stage: Stage) -> None:
    """Ctrl-C, while the runtime waits: everything ends, and nothing is left."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        process = stage.start("--broker", f"https://127.0.0.1:{silent.getsockname()[1]}")
        connection, _ = silent.accept()
        with connection:
            process.send_signal(signal.SIGINT)
            assert process.wait(PATIENCE) in {-signal.SIGINT, 130}
            assert process.stdout is not None
            assert process.stdout.read() == b""
            end(process)


def test_a_broker_that_lies(stage: Stage) -> None:
    """It says yes to everything, and seals nothing to this key: the runtime opens nothing else."""
    with yes_broker() as url:
        said = refused(stage, "--broker", url)
    assert "is not what the broker encrypted to this enclave" in said


def test_files_follow_the_session_while_the_program_runs(stage: Stage) -> None:
    """Rotated: the next open has the new content. Arguments and variables are the start's."""
    name = "team/rotates"
    stage.host.put(name, session_of(stage.program, name=name))
    process = subprocess.Popen(
        stage.words(session=name), env=stage.host.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        assert f"file password={SECRET}" in [process.stdout.readline().decode().strip() for _ in range(8)]
        with stage.host.client as client:
            held = client.get("/admin/v1/sessions").json()["sessions"]
        (sha256,) = (one["sha256"] for one in held if one["name"] == name)
        stage.host.put(name, session_of(stage.program, name=name, value="rotated", predecessor=sha256))
        wait_until(lambda: show(process) == "file password=rotated")  # it asks once a second at most
    finally:
        end(process)


def test_the_carrier_killed_does_not_harm_the_program(stage: Stage) -> None:
    process = stage.start()
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        lines = [process.stdout.readline().decode() for _ in range(8)]
        path = next(line.split()[1] for line in lines if line.startswith("CLOISTER_ATTESTER"))
        (carrier,) = holders(path)
        os.kill(carrier, signal.SIGTERM)
        wait_until(lambda: not Path(path).parent.exists())
        assert show(process) == f"file password={SECRET}"
        process.stdin.close()
        assert process.wait(PATIENCE) == 7
    finally:
        end(process)


def show(process: "subprocess.Popen[bytes]") -> str:
    """What the program reads in its file now."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(b"show\n")
    process.stdin.flush()
    return process.stdout.readline().decode().strip()


def end(process: "subprocess.Popen[bytes]") -> None:
    """Whatever state it is in."""
    if process.poll() is None:
        process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            stream.close()


def holders(path: str) -> list[int]:
    """The processes that hold the socket with this path."""
    rows = [line.split() for line in Path("/proc/net/unix").read_text().splitlines() if line.endswith(f" {path}")]
    wanted = {f"socket:[{row[6]}]" for row in rows}
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                if any(os.readlink(link) in wanted for link in (entry / "fd").iterdir()):
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


PYTHON = """\
import sys
sys.path.insert(0, {source!r})
import cloister.attest
print(cloister.attest.evidence(b"chosen by the program").hex())
"""


@pytest.mark.slow
def test_a_python_program_inside_asks_for_evidence_of_itself(stage: Stage) -> None:
    """Interpreter, modules and script are measured, by a run that shows what it loads."""
    script = stage.directory / "asks.py"
    script.write_text(PYTHON.format(source=str(ROOT / "src")))
    interpreter = Path(sys.executable).resolve()
    manifest = stage.directory / "python.toml"
    learning = ["measure", "--learn-files", "--write-manifest", str(manifest), "--json", "--"]
    words = [*learning, str(interpreter), "-I", "-B", str(script)]
    learned = subprocess.run([*CLOISTER, *words], env=stage.host.environment, capture_output=True, check=False)
    lines = [line for line in learned.stdout.decode().splitlines() if line.startswith("{")]
    program = Program(path=interpreter, measurement=json.loads(lines[-1])["digest"], manifest=manifest)
    session = session_of(program, name="team/python").replace(
        '["app", "--token", "$$CLOISTER::token$$"]', f'["{interpreter}", "-I", "-B", "{script}"]'
    )
    stage.host.put("team/python", session)
    done = stage.run(program=program, session="team/python")
    assert done.returncode == 0, done.stderr.decode()
    found = parse(bytes.fromhex(done.stdout.decode().splitlines()[-1]))
    assert found.report_data == b"chosen by the program".ljust(64, b"\0")
    assert found.measurement.hex() == program.measurement
    assert (found.guard, found.admission) == (Guard.ARMED, Admission.STRICT)
    assert found.runtime == hashlib.sha256(Path(runtime_path()).read_bytes()).digest()
