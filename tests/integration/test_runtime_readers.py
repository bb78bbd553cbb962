"""Some of what `python -m tests.fuzz.runtime` tries, the same each time: the runtime's C readers under sanitizers."""

import random
from pathlib import Path

import pytest
from tests.fuzz.runtime import INPUTS, asked, asked_one_by_one, inputs, readers

pytestmark = pytest.mark.needs_program("cc")


@pytest.fixture(scope="module")
def program() -> Path:
    return readers()


@pytest.mark.parametrize("kind", sorted(set(INPUTS) - {"b", "c", "r", "x"}))
def test_whole_inputs_are_taken(program: Path, kind: str) -> None:
    """Or all of the rest would say nothing. The others have inputs that must be refused."""
    assert "refused" not in asked(program, [(kind, data) for data in INPUTS[kind]])


def test_changed_inputs_are_judged_as_others_judge_them(program: Path) -> None:
    assert asked_one_by_one(program, [*inputs(random.Random(7), 3000)]) is None  # noqa: S311 - repeatable is what it must be
