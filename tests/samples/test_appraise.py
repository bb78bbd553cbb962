"""Real evidence appraised: the policy written from each sample affirms it, and nothing but a policy does."""

import functools
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.samples.test_dcap import endorsements, quote_in, row_name, rows, verify

from cloister.appraise.judge import claims_of, judge, judge_without_policy
from cloister.appraise.known_claims import is_known
from cloister.appraise.lint_policy import lint
from cloister.appraise.parse_policy import parse_policy
from cloister.appraise.policy import NEVER_TOLERABLE
from cloister.appraise.vector import Tier
from cloister.appraise.write_policy import policy_for_sample
from cloister.endorse.store import Endorsements
from cloister.verification.recipe import VerifiedEvidence

EVIDENCE = Path(__file__).parents[3] / "shared" / "evidence"


@functools.cache
def verified_row(name: str) -> VerifiedEvidence[Any]:
    row = next(one for one in rows() if row_name(one) == name)
    given: Endorsements = endorsements(row["collateral_file"])
    return verify(quote_in(EVIDENCE / row["quote_dir"]), given, int(row["clock_unix"]))


NAMES = [row_name(row) for row in rows()]


@pytest.mark.parametrize("name", NAMES)
def test_every_row_by_its_own_policy_and_by_none(name: str) -> None:
    verified = verified_row(name)
    claims = claims_of(verified)
    assert not [one for one in claims if not is_known(verified.tee, one)]
    text = policy_for_sample(verified.tee, claims, verified.tcb, verified.anchor.kind, source=name)
    policy = parse_policy(text)
    appraisal = judge(verified, policy)
    debug, dead = claims["debug"] is True, verified.tcb.status in NEVER_TOLERABLE
    assert appraisal.status is (Tier.WARNING if debug else Tier.AFFIRMING), appraisal.checks
    assert bool([one for one in lint(policy) if one.dangerous]) == (debug or dead)
    assert judge(verified, parse_policy("")).status is Tier.CONTRAINDICATED
    alone = judge_without_policy(verified)
    assert alone.status is (Tier.CONTRAINDICATED if debug or dead else Tier.WARNING)
    assert alone.vector.executables == 0


@pytest.mark.parametrize("name", NAMES)
def test_a_status_that_nobody_tolerates_is_never_affirmed(name: str) -> None:
    verified = verified_row(name)
    text = policy_for_sample(verified.tee, claims_of(verified), verified.tcb, verified.anchor.kind, source=name)
    strict = "\n".join(line for line in text.splitlines() if "tolerated" not in line)
    best = verified.tcb.status == "UpToDate" and claims_of(verified)["debug"] is False
    assert (judge(verified, parse_policy(strict)).status is Tier.AFFIRMING) is best


def test_no_sample_passes_another_program_s_policy() -> None:
    """One row per quote: the policies of all, on the evidence of all."""
    firsts = {quote_of(name): name for name in reversed(NAMES)}
    assert len(firsts) == 45
    found = {name: verified_row(name) for name in firsts.values()}
    texts = {
        name: policy_for_sample(one.tee, claims_of(one), one.tcb, one.anchor.kind, source=name)
        for name, one in found.items()
    }
    policies = {name: parse_policy(text) for name, text in texts.items()}
    program = {
        name: json.dumps([claims_of(one).get(key) for key in ("mrenclave", "mrtd")]) for name, one in found.items()
    }
    for name, one in found.items():
        claims = claims_of(one)
        for other, policy in policies.items():
            if program[name] != program[other]:
                assert judge(one, policy, claims=claims).status is Tier.CONTRAINDICATED


def quote_of(name: str) -> str:
    return name.split(" ", maxsplit=1)[0]


def test_the_corpus_is_complete() -> None:
    assert len(NAMES) == 177
    assert datetime.fromtimestamp(int(rows()[0]["clock_unix"]), UTC).year >= 2023
