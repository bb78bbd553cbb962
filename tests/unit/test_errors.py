"""The exception tree is what its docstring draws, and what the page on exit codes lists."""

import re
from pathlib import Path

import pytest

from cloister import errors
from cloister.errors import CloisterError

ROOT = Path(__file__).parents[2]
SHELL_MEANS = {0, 130, 137, 141}  # success, SIGINT, SIGKILL, SIGPIPE: an error may not look like these
DRAWN = re.compile(r"^(?P<bars> {4}[│ ]*(?:[├└]── )?)(?P<name>[A-Z]\w+) +(?P<code>\d+)", re.MULTILINE)
ONE_CODE: dict[type[CloisterError], type[CloisterError]] = {
    errors.ParseError: errors.UsageError,
    errors.PolicyError: errors.UsageError,
    errors.Undecided: errors.EndorsementUnavailable,
    **dict.fromkeys(errors.VerificationError.__subclasses__(), errors.VerificationError),
}
"""Errors that share the code of another: the input is wrong, or the evidence is not authentic."""

EVERY = [getattr(errors, name) for name in errors.__all__]


def test_every_public_name_is_an_exception() -> None:
    assert all(issubclass(error, CloisterError) for error in EVERY)


def test_the_docstring_draws_the_tree() -> None:
    drawn = {match["name"]: int(match["code"]) for match in DRAWN.finditer(errors.__doc__ or "")}
    assert drawn == {error.__name__: error.exit_code for error in EVERY}


def test_the_docstring_draws_each_error_under_its_parent() -> None:
    depth_of = {match["name"]: len(match["bars"]) // 4 - 1 for match in DRAWN.finditer(errors.__doc__ or "")}
    assert depth_of == {error.__name__: len(error.__mro__) - len(CloisterError.__mro__) for error in EVERY}


def test_exit_codes_are_unique_but_for_errors_that_mean_the_same_to_a_caller() -> None:
    codes = sorted(error.exit_code for error in EVERY if error not in ONE_CODE)
    assert sorted(set(codes)) == codes
    assert not set(codes) & SHELL_MEANS
    assert {(error.exit_code, parent.exit_code) for error, parent in ONE_CODE.items()} == {(2, 2), (5, 5), (6, 6)}


@pytest.mark.parametrize("error", EVERY, ids=lambda error: error.__name__)
def test_each_code_is_documented(error: type[CloisterError]) -> None:
    page = (ROOT / "docs" / "exit-codes.md").read_text()
    assert re.search(rf"^\| {error.exit_code} \| .*`{error.__name__}`", page, re.MULTILINE)


def test_launch_codes_agree_with_the_runtime() -> None:
    header = (ROOT / "runtime" / "include" / "cloister_abi.h").read_text()
    declared = {name: int(code) for name, code in re.findall(r"#define CLOISTER_EXIT_(\w+) (\d+)", header)}
    assert declared == {
        "USAGE": errors.UsageError.exit_code,
        "CANNOT_PROTECT": errors.CannotProtect.exit_code,
        "CANNOT_ENCLAVE": errors.CannotEnclave.exit_code,
        "INTERNAL": errors.LaunchError.exit_code,
        "NOT_PROVISIONED": 122,  # of the runtime alone: it prints the carrier's reason
        "NOT_EXECUTABLE": errors.NotExecutable.exit_code,
        "NOT_FOUND": errors.NotFound.exit_code,
    }
