"""`cloister measure`: one reference value for each kind of machine, in the words of a policy."""

import json
from pathlib import Path

import pytest
from tests.machines.build import LAB_PROGRAM, program
from tests.machines.running import Run, machine_for

from cloister import cli
from cloister.appraise.known_claims import PROGRAM
from cloister.emulate.catalogue import KINDS, kind_of
from cloister.errors import CannotEnclave, UsageError
from cloister.measure.image import Architecture, read_image
from cloister.measure.program import MEASURED, NOT_MEASURED, program_measurement


def lab(name: str) -> bytes:
    return program(LAB_PROGRAM, kind_of(name).architecture)


def measured(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = cli.main(["measure", *words])
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def test_every_machine_is_measured_or_says_why_not() -> None:
    assert set(KINDS) | {"native"} == set(MEASURED) | set(NOT_MEASURED)


@pytest.mark.parametrize("name", MEASURED)
def test_the_machine_arrives_at_what_was_computed(tmp_path: Path, name: str) -> None:
    image = read_image(lab(name))
    machine = machine_for(name, Run(), tmp_path)
    try:
        machine.launch(image)
        assert machine.measurement == program_measurement(name, image).digest
    finally:
        machine.close()


@pytest.mark.parametrize("name", MEASURED)
def test_the_claim_is_one_that_policies_know(name: str) -> None:
    found = program_measurement(name, read_image(lab(name)))
    assert found.claim in PROGRAM[found.tee]


def test_one_byte_of_the_program_changes_every_measurement() -> None:
    for name in MEASURED:
        data = bytearray(lab(name))
        before = program_measurement(name, read_image(bytes(data))).digest
        data[data.index(b"Enter a secret")] ^= 1
        assert program_measurement(name, read_image(bytes(data))).digest != before, name


@pytest.mark.parametrize("name", NOT_MEASURED)
def test_what_measures_nothing_says_so(name: str) -> None:
    with pytest.raises(UsageError, match="measure"):
        program_measurement(name, read_image(program(LAB_PROGRAM)))


def test_a_program_for_another_processor_is_refused() -> None:
    with pytest.raises(CannotEnclave, match="arm64"):
        program_measurement("cca", read_image(program(LAB_PROGRAM, Architecture.X86_64)))


def test_the_command_prints_what_policy_init_takes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "app"
    path.write_bytes(lab("tdx"))
    code, out, _ = measured(capsys, "--tee", "tdx", str(path))
    assert code == 0
    assert cli.main(["policy", "init", "--measurement", out.strip()]) == 0
    assert out.strip().partition("=")[2] in capsys.readouterr().out


def test_the_command_has_json_and_error_codes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "app"
    path.write_bytes(lab("sgx"))
    code, out, _ = measured(capsys, "--tee", "sgx", "--json", str(path))
    document = json.loads(out)
    assert (code, document["tee"], document["claim"], document["algorithm"]) == (0, "sgx", "mrenclave", "sha256")
    assert measured(capsys, "--tee", "sgx", str(tmp_path / "missing"))[0] == 127
    assert measured(capsys, "--tee", "sme", str(path))[0] == 2
    assert measured(capsys, "--tee", "cca", str(path))[0] == 121
