"""docs/python-api.md: its blocks run, and it describes every public name, argument and member."""

import inspect
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
from tests.forge.every import every, write_files

import cloister
from cloister import errors, verifier
from cloister.model import Tee
from cloister.verification.recipe import Check

PAGE = (Path(__file__).parents[1] / "docs" / "python-api.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
WORDS = set(re.findall(r"\w+", " ".join(re.findall(r"`([^`\n]+)`", PAGE))))
"""Every word that stands in a code span."""


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("samples")
    write_files(made)
    return made


@pytest.mark.parametrize("block", BLOCKS, ids=[f"block {number}" for number in range(1, len(BLOCKS) + 1)])
def test_block_runs(block: str, samples: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", block], cwd=samples, capture_output=True, text=True, check=False
    )
    assert (ran.returncode, ran.stderr) == (0, ""), block


@pytest.mark.parametrize("tee", sorted(every()))
def test_every_tee_has_an_example(tee: Tee) -> None:
    assert [block for block in BLOCKS if f"Tee.{tee.upper()}" in block]


def test_every_public_name_is_described() -> None:
    public = set(cloister.__all__) - {"__version__"} | set(verifier.__all__)
    assert public - WORDS == set()


@pytest.mark.parametrize("function", [cloister.verify, cloister.verify_many], ids=["verify", "verify_many"])
def test_every_argument_is_described(function: object) -> None:
    assert set(inspect.signature(function).parameters) - WORDS == set()  # type: ignore[arg-type] # a table of functions


@pytest.mark.parametrize("kind", [cloister.Verdict, cloister.Record, cloister.Answer, cloister.Allowances, Check])
def test_every_member_is_described(kind: type) -> None:
    members = {name for name, value in vars(kind).items() if isinstance(value, property)}
    assert members | {one.name for one in fields(kind)} <= WORDS


OF_RELEASES = {"NotAttested"}
"""Raised by who releases secrets, never by who verifies evidence."""


def test_every_error_that_can_escape_is_described() -> None:
    tree = [errors.ParseError, errors.PolicyError, errors.UsageError, errors.EndorsementUnavailable]
    refusals = [one for one in errors.VerificationError.__subclasses__() if one.__module__ == errors.__name__]
    kinds = {one.__name__ for one in (*tree, errors.VerificationError, *refusals)}
    assert kinds - WORDS - OF_RELEASES == set()
