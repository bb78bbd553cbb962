"""The page about the policy file names every key and claim; the examples parse, and allow nothing dangerous."""

import re
from pathlib import Path

import pytest

from cloister.appraise.known_claims import EVERYWHERE, KNOWN
from cloister.appraise.lint_policy import lint
from cloister.appraise.parse_policy import parse_policy
from cloister.appraise.parse_rules import KEYS
from cloister.appraise.policy import NEVER_TOLERABLE, TOLERABLE
from cloister.appraise.vector import TrustVector
from cloister.endorse.anchors import AnchorKind
from cloister.errors import PolicyError
from cloister.model import Tee

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "policy-file.md").read_text()
NAMED = set(re.findall(r"`([^`]+)`", PAGE))
EXAMPLES = sorted((ROOT / "examples" / "policies").glob("*.toml"))


def test_every_key_is_described() -> None:
    switches = {
        "unsafe_any_measurement",
        "unsafe_allow_debug",
        "unsafe_any_advisory",
        "unsafe_tolerated",
        "unsafe_unsigned",
    }
    tables = {"accept_anchors", "tolerated", "tolerated_advisories", "oldest", "on_failure", "files", "signers"}
    wanted = {*KEYS, *switches, *tables, *AnchorKind, *TOLERABLE, *TrustVector().values(), *EVERYWHERE}
    assert not wanted - NAMED
    assert not {f'"{word}"' for word in NEVER_TOLERABLE} - NAMED


@pytest.mark.parametrize("tee", Tee)
def test_every_section_and_claim_is_listed(tee: Tee) -> None:
    assert f"[{tee}]" in NAMED
    claims = PAGE[PAGE.index("## Claims") :]
    row = next(line for line in claims.splitlines() if line.startswith(f"| `{tee}` |"))
    assert set(re.findall(r"`([^`]+)`", row)) >= KNOWN[tee]


@pytest.mark.parametrize("table", ["", "[tcb]", "[reference_values]"])
def test_what_an_error_lists_is_on_the_page(table: str) -> None:
    """Messages about unknown keys list those that exist."""
    with pytest.raises(PolicyError) as caught:
        parse_policy(f"{table}\nnonsense = 1\n")
    listed = set(re.findall(r"[a-z_]+", str(caught.value).partition("; ")[2]))
    known = {word for word in listed if "_" in word}
    assert known
    assert known <= NAMED | {"reference_values"}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples_parse_and_are_not_dangerous(path: Path) -> None:
    policy = parse_policy(path.read_text(), name=path.name)
    assert not lint(policy)
    assert policy.sections


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 5
