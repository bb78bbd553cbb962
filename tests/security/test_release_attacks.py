"""Attacks on releasing: attesters, keys, verifiers and results that are not what the session names."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from tests.forge.results import LATER, NONCE, NOW
from tests.forge.sessions import (
    ATTESTED_KEY,
    MEASUREMENT,
    OTHER,
    accepted,
    attested,
    public_pem,
    session,
    submodule,
    token,
    trusting,
)

from cloister.appraise.vector import Tier, TrustVector
from cloister.broker.release import ReleaseOutcome, ReleasePolicy
from cloister.errors import Denied, NotAttested
from cloister.model import Challenge, Unchecked
from cloister.result.algorithms import Algorithm
from cloister.result.signing import SigningKey
from cloister.verification.recipe import Tcb

ALICE, MALLORY = (SigningKey.generate(Algorithm.EDDSA) for _ in range(2))


def outcome(policy: ReleasePolicy | None = None, **changes: Any) -> ReleaseOutcome:
    chosen = policy or ReleasePolicy(session(), trusting())
    return chosen.decide(accepted(chosen, attested(**changes)), at=NOW).outcome


def test_the_control_this_program_gets_its_secrets() -> None:
    assert outcome() is ReleaseOutcome.RELEASE


@pytest.mark.parametrize(
    "attester",
    [
        {"claims": {"mrenclave": OTHER}},
        {"claims": {"mrenclave": OTHER, "measurement": MEASUREMENT, "MRENCLAVE": MEASUREMENT}},
        {"claims": {"mrenclave": [MEASUREMENT]}},
        {"claims": {"mrenclave": MEASUREMENT + "00"}},
        {"claims": {"mrenclave": ""}},
        {"claims": {"debug": True}},
        {"claims": {"debug": "false"}},
        {"claims": {"debug": []}},
        {"basis": {"anchor_kind": "testing"}},
        {"basis": {"anchor_kind": "software"}},
        {"basis": {"anchor_kind": ""}},
        {"basis": {"tcb": Tcb(status="OutOfDate")}},
        {"basis": {"tcb": Tcb(status="Revoked")}},
        {"basis": {"tcb": Tcb(status="uptodate")}},
        {"status": Tier.WARNING},
        {"status": Tier.CONTRAINDICATED},
        {"status": Tier.CONTRAINDICATED, "vector": TrustVector(executables=96), "policies": ()},
        {"evidence": {"tdx": {"mrenclave": MEASUREMENT, "debug": False}}},
        {"evidence": {"sgx": "mrenclave"}},
        {"evidence": {}},
        {"basis": None},
    ],
    ids=str,
)
def test_an_attester_that_is_not_the_one_named_is_denied(attester: dict[str, Any]) -> None:
    if attester.get("basis", 1) is None:
        bare = replace(submodule(), basis=None)
        policy = ReleasePolicy(session(), trusting())
        result = replace(attested(), submodules={"cpu0": bare})
        assert policy.decide(accepted(policy, result), at=NOW).outcome is ReleaseOutcome.DENIED
    else:
        assert outcome(**attester) is ReleaseOutcome.DENIED


def test_the_victim_s_measurement_beside_the_attacker_s_key() -> None:
    """Secrets go to the key of the submodule that was let in, never to another one's."""
    mallory = submodule(claims={"mrenclave": OTHER}, attested_key=MALLORY.spki)
    policy = ReleasePolicy(session(), trusting())
    decision = policy.decide(accepted(policy, attested(others={"cpu1": mallory})), at=NOW)
    assert (decision.outcome, decision.recipient) == (ReleaseOutcome.RELEASE, ATTESTED_KEY)
    without = attested(attested_key=b"", others={"cpu1": mallory})
    assert policy.decide(accepted(policy, without), at=NOW).outcome is ReleaseOutcome.NOT_ATTESTED


def test_a_result_of_a_verifier_that_nobody_trusts() -> None:
    policy = ReleasePolicy(session(), trusting())
    with pytest.raises(NotAttested):
        policy.accept(token(attested(), MALLORY), at=NOW, nonce=Challenge(NONCE), max_age=Unchecked("a test"))


def test_a_broker_s_verifier_that_the_owner_does_not_trust() -> None:
    narrow = session(verifiers=[{"name": "own", "key": public_pem(ALICE)}])
    policy = ReleasePolicy(narrow, [*trusting(), *trusting(ALICE)])
    with pytest.raises(NotAttested):
        accepted(policy)


def test_an_old_result_sent_again() -> None:
    policy = ReleasePolicy(session(), trusting())
    kept = accepted(policy)
    with pytest.raises(NotAttested):
        policy.accept(token(attested()), at=NOW, nonce=Challenge(b"y" * 32), max_age=Unchecked("a test"))
    with pytest.raises(NotAttested):
        policy.release(kept, ["token"], at=LATER + timedelta(seconds=1))


def test_a_denial_does_not_tell_which_secrets_exist() -> None:
    policy = ReleasePolicy(session(), trusting())
    given = accepted(policy)
    said = []
    for name in ("unshared", "xxshared"):
        with pytest.raises(Denied) as caught:
            policy.release(given, [name], at=NOW)
        said.append(str(caught.value).replace(name, "?"))
    assert said[0] == said[1]
