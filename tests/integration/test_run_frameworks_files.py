"""`cloister run --tee sgx --with ... --manifest`: the framework's own file as it is, or another's, or why not."""

import argparse
import json
from pathlib import Path

import pytest
from tests.integration.test_run_frameworks import GRAMINE, Machine, machine, program, script_of

from cloister.cli._run_framework import DEFAULTS, NOT_HERE
from cloister.cli.run import build_parser

__all__ = ["machine", "program"]
pytestmark = pytest.mark.needs_program("cc")

OWN = """\
# written by hand
libos.entrypoint = "PROGRAM"
loader.argv = ["app", "x"]
sgx.remote_attestation = "dcap"
sgx.trusted_files = ["file:PROGRAM", "file:data"]
fs.mounts = [{ path = "PROGRAM", uri = "file:PROGRAM" }]
"""


def own_manifest(machine: Machine, text: str = OWN) -> Path:
    folder = machine.work / "project"
    folder.mkdir()
    (folder / "data").touch()
    (folder / "app.manifest").write_text(text.replace("PROGRAM", str(machine.program)))
    return folder / "app.manifest"


def test_gramines_own_manifest_is_used_byte_for_byte(machine: Machine) -> None:
    manifest = own_manifest(machine)
    before = manifest.read_bytes()
    done = machine.run("gramine", "--manifest", "project/app.manifest", "--", "app")
    assert (done.stdout, done.returncode) == ("1 x|-|-|-\n", 0), done.stderr
    assert manifest.read_bytes() == before == manifest.with_suffix(".manifest.sgx").read_bytes()
    assert machine.asked() == [[word.replace("/app.gramine/", "/project/") for word in command] for command in GRAMINE]
    assert {one["directory"] for one in machine.log()} == {str(manifest.parent)}  # where its relative paths begin


def test_a_quote_needs_aesmd(machine: Machine) -> None:
    own_manifest(machine)
    (machine.root / "var/run/aesmd/aesm.socket").unlink()
    done = machine.run("gramine", "--manifest", "project/app.manifest", "--", "app")
    assert done.returncode == 120
    assert "/var/run/aesmd/aesm.socket does not exist" in done.stderr


REFUSED = [
    (OWN, ("--", "other"), "is of"),
    (OWN, ("--", "app", "y"), "fixes the program's arguments"),
    (OWN + "sgx.debug = true\n", ("--", "app"), "debug enclave"),
    (OWN, ("--unsafe-debug", "--", "app"), "is used as it is"),
    (OWN.replace('loader.argv = ["app", "x"]\n', ""), ("--", "app", "y"), "says nothing of arguments"),
]


@pytest.mark.parametrize(("text", "words", "said"), REFUSED, ids=[said for _, _, said in REFUSED])
def test_what_is_not_meant_together(machine: Machine, text: str, words: tuple[str, ...], said: str) -> None:
    own_manifest(machine, text)
    done = machine.run("gramine", "--manifest", "project/app.manifest", *words)
    assert done.returncode == 2
    assert said in done.stderr
    assert machine.asked() == []


def test_a_debug_enclave_must_be_asked_for(machine: Machine) -> None:
    own_manifest(machine, OWN + "sgx.debug = true\n")
    assert machine.run("gramine", "--manifest", "project/app.manifest", "--unsafe-debug", "--", "app").returncode == 0
    script = script_with_debug(machine)
    assert '"debug": true' in script


def script_with_debug(machine: Machine) -> str:
    (machine.path / "log").unlink()
    return script_of(machine, "ego", "--unsafe-debug", "--", str(machine.program))


def test_arguments_of_the_host_are_passed_where_the_manifest_says_so(machine: Machine) -> None:
    text = OWN.replace('loader.argv = ["app", "x"]', "loader.insecure__use_cmdline_argv = true")
    own_manifest(machine, text)
    done = machine.run("gramine", "--manifest", "project/app.manifest", "--", "app", "y")
    assert done.stdout.startswith("1 y|")


def test_a_file_of_another_framework_is_converted(machine: Machine) -> None:
    folder = machine.work / "project"
    folder.mkdir()
    (folder / "ca.pem").write_text("certificate")
    (folder / "enclave.json").write_text(json.dumps({
        "exe": str(machine.program), "key": "private.pem", "debug": False, "heapSize": 512,
        "files": [{"source": str(machine.program)}, {"source": "ca.pem", "target": "/ca.pem"}],
    }))  # fmt: skip
    done = machine.run("occlum", "--sign-key", "../home/own.pem", "--manifest", "project/enclave.json", "--",
                       str(machine.program))  # fmt: skip
    assert done.returncode == 2  # EGo's key has no place in Occlum.json, and is said to be lost
    assert "key: only EGo's enclave.json has it" in done.stderr
    found = json.loads((folder / "enclave.json").read_text())
    del found["key"]
    (folder / "enclave.json").write_text(json.dumps(found))
    done = machine.run("occlum", "--sign-key", "../home/own.pem", "--manifest", "project/enclave.json", "--",
                       str(machine.program), "z")  # fmt: skip
    assert (done.stdout, done.returncode) == ("1 z|-|-|-\n", 0), done.stderr
    assert (machine.work / "app.occlum/image/ca.pem").read_text() == "certificate"


def test_nothing_is_dropped_on_the_way_to_a_run(machine: Machine) -> None:
    own_manifest(machine, OWN + 'fs.root = { type = "encrypted", uri = "file:secret", key_name = "k" }\n')
    done = machine.run("ego", "--manifest", "project/app.manifest", "--", str(machine.program))
    assert done.returncode == 2
    assert "cannot be said in EGo's enclave.json" in done.stderr
    assert "mounts./" in done.stderr
    assert machine.asked() == []


def test_paths_of_an_enclave_json_are_seen_from_where_it_is_made(machine: Machine) -> None:
    manifest = machine.work / "app.toml"
    (machine.work / "data").write_text("x")
    digest = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"
    manifest.write_text(
        f'program = "{machine.program}"\nsha256 = "{digest}"\n\n[files]\n"{machine.work}/data" = "{digest}"\n'
    )
    done = machine.run("ego", "--manifest", "app.toml", "--quiet", "--", str(machine.program))
    assert done.returncode == 0, done.stderr
    files = json.loads((machine.work / "app.ego/enclave.json").read_text())["files"]
    assert files == [{"source": "../data", "target": f"{machine.work}/data"}]


SESSION = """\
name: team
version: "0.3"
services:
  - name: web
    command: APP x
    attestation:
      - mrenclave: ["0000000000000000000000000000000000000000000000000000000000000000"]
"""


def test_a_session_goes_to_the_cas_that_was_attested(machine: Machine) -> None:
    (machine.work / "session.yml").write_text(SESSION.replace("APP", str(machine.program)))
    machine.environment = {"SCONE_CAS_ADDR": "cas.example"}
    done = machine.run("scone", "--manifest", "session.yml", "--", str(machine.program), "x")
    assert done.stdout == "0 -|team/web|hw|-\n", done.stderr  # what its arguments are says the CAS
    assert machine.asked() == [["scone", "session", "create", "/project/session.yml"]]


def test_without_a_cas_no_session_is_sent(machine: Machine) -> None:
    (machine.work / "session.yml").write_text(SESSION.replace("APP", str(machine.program)))
    (machine.path / "home/.cas/config.json").unlink()
    done = machine.run("scone", "--manifest", "session.yml", "--", str(machine.program))
    assert done.returncode == 120
    assert "SCONE_CAS_ADDR is not set" in done.stderr
    assert "no CAS was attested" in done.stderr
    assert machine.asked() == []


def test_a_session_that_is_there_already_is_used(machine: Machine) -> None:
    machine.environment = {"SCONE_CAS_ADDR": "cas.example", "SCONE_CONFIG_ID": "other/one"}
    done = machine.run("scone", "--", str(machine.program))
    assert done.stdout == "0 -|other/one|hw|-\n"
    assert machine.asked() == []


@pytest.mark.parametrize(
    "words",
    [
        ("--with", "gramine", "cat"),
        ("--tee", "sev", "--with", "gramine", "cat"),
        ("--tee", "sgx", "--with", "other", "cat"),
        ("--tee", "sgx", "--with", "ego", "--broker", "https://b", "cat"),
        ("--tee", "sgx", "--with", "ego", "--unsafe-outside", "cat"),
        ("--tee", "sgx", "--with", "ego", "--sign-key", "none", "cat"),
        ("--tee", "sgx", "--with", "ego", "--start-fd", "0", "cat"),
        ("--tee", "sgx", "--with", "ego", "--memory", "512", "cat"),
        ("--tee", "sgx", "--with", "ego", "--console", "127.0.0.1:0", "cat"),
        ("--tee", "sgx", "--with", "ego", "--service", "web", "cat"),
        ("--sign-key", "x", "cat"),
        ("--unsafe-simulation", "cat"),
        ("--dry-run", "cat"),
    ],
    ids=" ".join,
)
def test_options_that_mean_nothing_together(machine: Machine, words: tuple[str, ...]) -> None:
    done = machine.cloister(*words)
    assert done.returncode == 2, done.stdout
    assert machine.asked() == []


USED = {"help", "tee", "framework", "manifest", "service", "sign_key", "folder", "dry_run", "unsafe_simulation",
        "unsafe_debug", "quiet", "command"}  # fmt: skip


def test_every_option_of_run_is_used_or_refused() -> None:
    """One that was added and forgotten here would seem to be obeyed: a shield, a broker."""
    parser = argparse.ArgumentParser()
    build_parser(parser)
    made = {action.dest for action in parser._actions}  # argparse has no other way to ask
    assert made == {*USED, *NOT_HERE}
    assert {name: parser.get_default(name) for name in DEFAULTS} == DEFAULTS
