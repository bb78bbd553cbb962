"""docs/verify-output.md describes every member that `cloister verify --json` and `--batch` can print."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from tests.forge.every import NONCE, every
from tests.forge.x509 import NOW

import cloister
from cloister.cli._batch_records import MEMBERS
from cloister.model import Tee, Unchecked
from cloister.verification.recipe import CheckState
from cloister.verifier import documents
from cloister.verifier.many import Record, crashed

PAGE = (Path(__file__).parents[1] / "docs" / "verify-output.md").read_text()
PROSE = re.sub(r"^```.*?^```$", "", PAGE, flags=re.MULTILINE | re.DOTALL)
NAMED = set(re.findall(r"`([^`\n]+)`", PROSE))
DATA = frozenset({"claims", "trust_vector"})
"""Members whose own members are data; the page about policies describes them."""

CASES: dict[str, dict[str, Any]] = {
    "verdict": {},
    "stale": {"nonce": b"another"},
    "undecided": {"at": NOW.replace(year=2099)},
    "broken": {"evidence": b"\x03\0broken"},
    "empty": {"evidence": b""},
    "unreadable": {"evidence": b"", "unreadable": "it cannot be read"},
}


def document(tee: Tee, **changes: Any) -> dict[str, Any]:
    """What `--batch` prints of a record, with the member that the command line adds."""
    sample = every()[tee]
    record = Record(**{"name": "x", "evidence": sample.evidence, "nonce": NONCE} | changes)
    answers = cloister.verify_many(
        [record], at=NOW, anchors=sample.anchors, endorsements=sample.endorsements, processes=1
    )
    return {"file": "x"} | next(iter(answers)).document


def members(value: object) -> set[str]:
    """Every member of a document, at any depth, except of those that are data."""
    if isinstance(value, list):
        return {name for one in value for name in members(one)}
    if not isinstance(value, dict):
        return set()
    inside = (members(one) for name, one in value.items() if name not in DATA)
    return set(value).union(*inside)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("tee", sorted(every()))
def test_every_member_is_described(tee: Tee, case: str) -> None:
    found = document(tee, **CASES[case])
    assert members(found) - NAMED == set()
    assert f"`{found['status']}`" in PAGE
    assert json.dumps(found)


def test_every_status_state_and_kind_is_described() -> None:
    crash = crashed(Record(name="x", evidence=b""), "why").document
    assert members(crash) - NAMED == set()
    statuses = {str(tier) for tier in cloister.Tier if tier is not cloister.Tier.NONE}
    failures = {documents.NOT_AUTHENTIC, documents.UNDECIDED, documents.MALFORMED, documents.CRASHED}
    assert (statuses | failures | {str(one) for one in CheckState} | set(MEMBERS)) - NAMED == set()


def test_parts_have_what_the_page_says() -> None:
    row = next(line for line in PAGE.splitlines() if line.startswith("| `parts`"))
    verdict = cloister.verify(
        every()[Tee.CCA].evidence, nonce=Unchecked("a test"), at=NOW, anchors=every()[Tee.CCA].anchors,
        endorsements=every()[Tee.CCA].endorsements,
    )  # fmt: skip
    doubled = cloister.Verdict(authentic=verdict.authentic, appraisals=verdict.appraisals * 2)
    (part,) = documents.verdict_document(doubled)["parts"]
    assert set(part) == set(re.findall(r"`(\w+)`", row)) - {"parts"}


def test_the_examples_have_members_in_the_order_in_which_they_are_printed() -> None:
    blocks = re.findall(r"^```json\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    verdict, failure = (list(json.loads(block)) for block in blocks)
    assert verdict == list(document(Tee.SGX))
    assert failure == list(document(Tee.SGX, nonce=b"another"))
