"""`cloister attest`, then exactly the command that it prints: for every emulated machine that makes evidence."""

import json
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.forge.emulated_sev import quick_keystore
from tests.machines.build import program

from cloister.cli import main
from cloister.emulate.catalogue import kind_of
from cloister.measure.image import Architecture
from cloister.measure.program import MEASURED

NONCE = "6e6f6e63652d31"
NO_DEBUG = {"keystone"}
"""Whose architecture has no debug mode."""

SOURCES = {"app": "int main(void) { return 0; }\n", "other": "int main(void) { return 1; }\n"}


@dataclass
class Attested:
    """What `cloister attest` wrote and printed. `verify` is its command, as a list without `cloister`."""

    machine: str
    directory: Path
    evidence: Path
    verify: list[str]
    printed: str


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Programs for each instruction set, and keys."""
    found = tmp_path_factory.mktemp("attest")
    quick_keystore(found)
    for name, source in SOURCES.items():
        (found / f"{name}.c").write_text(source)
    return found


def binary(directory: Path, name: str, architecture: Architecture) -> Path:
    """A compiled program's file."""
    path = directory / f"{name}-{architecture}"
    if not path.exists():
        path.write_bytes(program(directory / f"{name}.c", architecture))
    return path


@pytest.fixture(params=list(MEASURED))
def machine(request: pytest.FixtureRequest) -> str:
    """Every machine that measures, and so attests."""
    return str(request.param)


def attest(
    machine: str, directory: Path, capsys: pytest.CaptureFixture[str], *more: str, nonce: str = NONCE
) -> Attested:
    """Run `cloister attest` on the program."""
    evidence = directory / f"{machine}.evidence"
    path = binary(directory, "app", kind_of(machine).architecture)
    words = ["attest", "--tee", machine, "--keys", str(directory / "store"), "-o", str(evidence), *more]
    assert main([*words, *(["--nonce", nonce] if nonce else []), str(path)]) == 0
    printed = capsys.readouterr().err
    command = next(line for line in printed.splitlines() if line.startswith("cloister verify"))
    return Attested(machine, directory, evidence, shlex.split(command)[1:], printed)


def with_word(words: list[str], option: str, value: str) -> list[str]:
    """The same command with another value behind an option."""
    changed = list(words)
    changed[changed.index(option) + 1] = value
    return changed


def policy_for(attested: Attested, name: str, capsys: pytest.CaptureFixture[str]) -> Path:
    """What `cloister measure` and `cloister policy init` make for a program, changed to believe emulated roots."""
    path = binary(attested.directory, name, kind_of(attested.machine).architecture)
    assert main(["measure", "--tee", attested.machine, str(path)]) == 0
    measurement = capsys.readouterr().out.strip()
    policy = attested.directory / f"{attested.machine}-{name}.toml"
    assert main(["policy", "init", "--measurement", measurement, "-o", str(policy), "--force"]) == 0
    assert main([*attested.verify, "--policy", str(policy)]) == 4  # a policy for hardware believes no emulated root
    assert "testing" in capsys.readouterr().err
    policy.write_text(
        re.sub(r"^accept_anchors = .*$", 'accept_anchors = ["testing"]', policy.read_text(), flags=re.MULTILINE)
    )
    return policy


def test_the_printed_command_accepts_the_evidence(
    machine: str, directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    attested = attest(machine, directory, capsys)
    assert "Emulated roots prove nothing" in attested.printed
    assert 'accept_anchors = ["testing"]' in attested.printed
    assert main(attested.verify) == 3, capsys.readouterr()
    assert "nobody said which program should run" in capsys.readouterr().err


def test_without_a_nonce_the_printed_command_still_works(
    machine: str, directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    attested = attest(machine, directory, capsys, nonce="")
    assert main(attested.verify) == 3, capsys.readouterr()


def test_another_nonce_is_refused(machine: str, directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    attested = attest(machine, directory, capsys)
    assert main(with_word(attested.verify, "--nonce", "00" + NONCE)) == 5
    assert "does not contain the nonce" in " ".join(capsys.readouterr().err.split())


def test_nobody_believes_emulated_roots_unless_told_to(
    machine: str, directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    verify = attest(machine, directory, capsys).verify
    at = verify.index("--unsafe-trust-root")
    assert main([*verify[:at], *verify[at + 2 :]]) == 5


def test_a_policy_tells_programs_apart(machine: str, directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    attested = attest(machine, directory, capsys)
    for name, expected in (("app", 0), ("other", 4)):
        policy = policy_for(attested, name, capsys)
        assert main([*attested.verify, "--policy", str(policy)]) == expected, capsys.readouterr()


def test_debug_machines_are_refused_unless_allowed(
    machine: str, directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if machine in NO_DEBUG:
        path = binary(directory, "app", kind_of(machine).architecture)
        evidence = directory / "none.evidence"
        words = ["attest", "--tee", machine, "--keys", str(directory / "store"), "--unsafe-debug"]
        assert main([*words, "-o", str(evidence), str(path)]) == 2
        assert not evidence.exists()
        return
    verify = attest(machine, directory, capsys, "--unsafe-debug").verify
    assert main(verify) == 4, capsys.readouterr()  # authentic, and its host reads all of it
    assert "debug" in capsys.readouterr().err
    verify.remove("--unsafe-allow-debug")
    assert main(verify) == 5
    assert "debug" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["native", "sme", "trustzone"])
def test_machines_without_attestation_say_so(name: str, directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = binary(directory, "app", kind_of(name).architecture)
    words = ["attest", "--tee", name, "--keys", str(directory / "store"), "-o", str(directory / "none"), str(path)]
    assert main(words) == 2
    assert "evidence" in capsys.readouterr().err
    assert not (directory / "none").exists()


def test_json_names_all_files(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = binary(directory, "app", Architecture.X86_64)
    words = ["attest", "--tee", "tdx", "--keys", str(directory / "store"), "-o", str(directory / "j"), "--json"]
    assert main([*words, str(path)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert all(Path(name).is_file() for name in [found["evidence"], found["roots"], *found["collateral"]])
    assert main(["measure", "--tee", "tdx", "--json", str(path)]) == 0
    assert found["measurement"].endswith(json.loads(capsys.readouterr().out)["digest"])
