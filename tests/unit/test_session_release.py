"""Who gets what: released, denied, not attested, undecided; and the reason, with file and line."""

from datetime import timedelta
from typing import Any

import pytest
from tests.forge.results import LATER, NONCE, NOW
from tests.forge.sessions import (
    ATTESTED_KEY,
    MEASUREMENT,
    OTHER,
    SIGNER,
    accepted,
    attested,
    document,
    public_pem,
    session,
    submodule,
    token,
    trusting,
)

from cloister.appraise.vector import Tier, TrustVector
from cloister.broker.release import Accepted, Decision, ReleaseOutcome, ReleasePolicy
from cloister.broker.release_checks import CheckOutcome
from cloister.errors import Denied, NotAttested, ParseError, Undecided
from cloister.model import Challenge, Tee, Unchecked
from cloister.result.attestation import AttestationResult, Submodule
from cloister.result.signing import SigningKey
from cloister.verification.recipe import Tcb

STRANGER = SigningKey.generate()


def policy(*rules: dict[str, Any], **changes: Any) -> ReleasePolicy:
    data = document(**changes)
    if rules:
        data["services"][0]["attestation"] = list(rules)
    return ReleasePolicy(session(data), trusting())


def decide(*rules: dict[str, Any], result: AttestationResult | None = None, **changes: Any) -> Decision:
    one = policy(*rules)
    return one.decide(accepted(one, attested(**changes) if result is None else result), at=NOW)


def rule(**more: Any) -> dict[str, Any]:
    return {"tee": "sgx", "measurement": MEASUREMENT} | more


def test_the_right_program_gets_its_secrets() -> None:
    decision = decide()
    assert decision.outcome is ReleaseOutcome.RELEASE
    assert decision.services == ("web",)
    assert decision.secrets == ("pin", "token")
    assert decision.recipient == ATTESTED_KEY
    assert {one.outcome for one in decision.checks} == {CheckOutcome.PASSED}
    with pytest.raises(TypeError):
        assert decision


DENIED: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    (rule(), {"claims": {"mrenclave": OTHER}}, f"expected {MEASUREMENT}, found {OTHER}"),
    (rule(), {"claims": {"mrenclave": None}}, "found not said"),
    (rule(), {"claims": {"mrenclave": int(MEASUREMENT, 16)}}, "mrenclave"),
    (rule(), {"claims": {"debug": True}}, "It is not debug: expected false, found true"),
    (rule(), {"claims": {"debug": None}}, "It is not debug: expected false, found not said"),
    (rule(), {"claims": {"debug": 0}}, "It is not debug"),
    (rule(), {"basis": {"anchor_kind": "testing"}}, "expected hardware, found testing"),
    (rule(), {"basis": {"anchor_kind": "software"}}, "expected hardware, found software"),
    (rule(), {"basis": {"tcb": Tcb(status="OutOfDate")}}, "expected UpToDate, found OutOfDate"),
    (rule(), {"basis": {"tcb": Tcb(status="Revoked")}}, "found Revoked"),
    (rule(tolerate=["OutOfDate"]), {"basis": {"tcb": Tcb(status="SWHardeningNeeded")}}, "found SWHardeningNeeded"),
    (
        rule(tolerate=["OutOfDate"]),
        {"basis": {"tcb": Tcb(status="OutOfDate", advisories=("INTEL-SA-1",))}},
        "found OutOfDate, INTEL-SA-1",
    ),
    (rule(), {"status": Tier.WARNING, "vector": TrustVector(executables=32)}, "found warning; executables: only known"),
    (rule(), {"status": Tier.CONTRAINDICATED, "vector": TrustVector(hardware=96)}, "contraindicated"),
    (rule(), {"status": Tier.CONTRAINDICATED}, "found contraindicated"),
    (rule(), {"status": Tier.WARNING}, "found warning"),
    (rule(), {"status": Tier.WARNING, "vector": TrustVector(executables=33)}, "unknown code"),
    (rule(), {"status": Tier.WARNING, "vector": TrustVector(hardware=32)}, "known vulnerabilities"),
    (rule(), {"status": Tier.NONE, "vector": TrustVector(file_system=1)}, "does not understand"),
    (rule(signer=SIGNER, product=7, minimum_security_version=4), {}, "at least 4, found 3"),
    (rule(signer=SIGNER, product=8, minimum_security_version=3), {}, "expected 8, found 7"),
    (rule(signer=OTHER, product=7, minimum_security_version=3), {}, f"found {SIGNER}"),
    (rule(signer=SIGNER, product=7, minimum_security_version=3), {"claims": {"isvsvn": True}}, "3, found true"),
    (rule(signer=SIGNER, product=1, minimum_security_version=0), {"claims": {"isvprodid": True}}, "1, found true"),
    (rule(minimum_security_version=1), {"claims": {"isvsvn": True}}, "at least 1, found true"),
    (rule(), {"status": Tier.WARNING, "vector": TrustVector(executables=32, file_system=-1)}, "found warning"),
    (rule(claims={"configid": "00" * 63 + "01"}), {}, "The claim configid"),
    ({"tee": "snp", "measurement": "ab" * 48}, {}, "It is the TEE demanded: expected snp, found sgx"),
    (rule(), {"basis": {"tee": Tee.TDX}}, "expected sgx, found tdx"),
]  # fmt: skip


@pytest.mark.parametrize(("wanted", "found", "says"), DENIED, ids=[says[:40] for _, _, says in DENIED])
def test_denied(wanted: dict[str, Any], found: dict[str, Any], says: str) -> None:
    decision = decide(wanted, **found)
    assert decision.outcome is ReleaseOutcome.DENIED
    assert says in decision.reason
    assert (decision.secrets, decision.recipient) == ((), b"")
    failed = [one for one in decision.checks if one.outcome is CheckOutcome.FAILED]
    assert all(one.set_by for one in failed)


ALLOWED: list[tuple[dict[str, Any], dict[str, Any]]] = [
    (rule(signer=SIGNER.upper(), product=7, minimum_security_version=3), {}),
    ({"tee": "sgx", "signer": SIGNER, "product": 7, "minimum_security_version": 0}, {"claims": {"mrenclave": OTHER}}),
    (rule(measurement=[OTHER, MEASUREMENT.upper()]), {}),
    (rule(claims={"configid": "00" * 64}), {}),
    (rule(tolerate=["OutOfDate"]), {"basis": {"tcb": Tcb(status="OutOfDate")}}),
    (
        rule(tolerate=["OutOfDate"], ignore_advisories=["INTEL-SA-1"]),
        {
            "basis": {"tcb": Tcb(status="OutOfDate", advisories=("INTEL-SA-1",))},
            "status": Tier.WARNING,
            "vector": TrustVector(hardware=32),
        },
    ),
    (
        rule(unsafe_allow_debug=True),
        {"claims": {"debug": True}, "status": Tier.WARNING, "vector": TrustVector(configuration=32)},
    ),
    (rule(unsafe_accept_testing=True), {"basis": {"anchor_kind": "testing"}}),
    # The verifier had no policy of its own: the session names the program.
    (rule(), {"status": Tier.WARNING, "policies": ()}),
    (rule(), {"status": Tier.WARNING, "policies": (), "vector": TrustVector(executables=33)}),
]


@pytest.mark.parametrize(("wanted", "found"), ALLOWED, ids=[str(number) for number in range(len(ALLOWED))])
def test_allowed(wanted: dict[str, Any], found: dict[str, Any]) -> None:
    assert decide(wanted, **found).outcome is ReleaseOutcome.RELEASE


@pytest.mark.parametrize(
    "found",
    [
        {"status": Tier.NONE},
        {"status": Tier.NONE, "vector": TrustVector(hardware=-1)},
        {"basis": {"tcb": Tcb()}},
    ],
    ids=["no conclusion", "the verifier failed", "no TCB statement"],
)
def test_undecided_is_not_denied(found: dict[str, Any]) -> None:
    decision = decide(**found)
    assert decision.outcome is ReleaseOutcome.UNDECIDED
    one = policy()
    with pytest.raises(Undecided) as caught:
        one.release(accepted(one, attested(**found)), ["token"], at=NOW)
    assert (caught.value.status, caught.value.exit_code) == (503, 6)


def test_what_is_denied_anyway_is_not_undecided() -> None:
    assert decide(status=Tier.NONE, claims={"mrenclave": OTHER}).outcome is ReleaseOutcome.DENIED


def test_alternatives_one_is_enough() -> None:
    assert decide(rule(measurement=OTHER), rule()).outcome is ReleaseOutcome.RELEASE
    assert decide(rule(measurement=OTHER), rule(minimum_security_version=9)).outcome is ReleaseOutcome.DENIED


def test_no_service_no_secret() -> None:
    data = document(services=[])
    del data["services"]
    one = ReleasePolicy(session(data), trusting())
    decision = one.decide(accepted(one), at=NOW)
    assert (decision.outcome, decision.reason) == (ReleaseOutcome.DENIED, "the session has no such service")


def test_a_program_gets_what_its_services_get() -> None:
    data = document()
    data["services"].append({"name": "job", "attestation": [rule()], "secrets": ["unshared"]})
    data["services"].append({"name": "other", "attestation": [rule(measurement=OTHER)], "secrets": ["unshared"]})
    one = ReleasePolicy(session(data), trusting())
    given = accepted(one)
    assert one.decide(given, at=NOW).services == ("web", "job")
    assert one.decide(given, at=NOW).secrets == ("pin", "token", "unshared")
    assert one.decide(given, at=NOW, service="web").secrets == ("pin", "token")
    assert one.decide(given, at=NOW, service="other").outcome is ReleaseOutcome.DENIED
    assert one.decide(given, at=NOW, service="nowhere").outcome is ReleaseOutcome.DENIED
    assert one.decide(given, at=NOW, service="").outcome is ReleaseOutcome.DENIED


def test_releasing() -> None:
    one = policy()
    assert one.release(accepted(one), ["token"], at=NOW).recipient == ATTESTED_KEY
    with pytest.raises(Denied, match="web may not get: unshared") as caught:
        one.release(accepted(one), ["token", "unshared"], at=NOW)
    assert (caught.value.status, caught.value.exit_code) == (403, 4)
    with pytest.raises(Denied, match="web may not get: nowhere"):
        one.release(accepted(one), ["nowhere"], at=NOW)


def test_a_denial_carries_its_checks() -> None:
    one = policy()
    with pytest.raises(Denied) as caught:
        one.release(accepted(one, attested(claims={"mrenclave": OTHER})), ["token"], at=NOW)
    assert any("FAILED" in repr(check) for check in caught.value.checks)


def test_the_explanation_names_file_and_line() -> None:
    lines = list(decide(claims={"mrenclave": OTHER}).explanation())
    assert lines[0] == (
        f"denied: not web (session.yaml:9): The program is one that was named (mrenclave): expected {MEASUREMENT}, "
        f"found {OTHER}"
    )
    at = lines.index("  failed: The program is one that was named (mrenclave)")
    assert lines[at + 1 : at + 5] == [
        f"      expected  {MEASUREMENT}",
        f"      found     {OTHER}",
        "      set by    session.yaml:11",
        "      to fix    run the program that was named, or name this one in an update of the session",
    ]


# ------------------------------------------------------------------------------------------------- attestation


def test_without_an_attested_key_nothing_is_released() -> None:
    decision = decide(attested_key=b"")
    assert decision.outcome is ReleaseOutcome.NOT_ATTESTED
    assert "no single key" in decision.reason


def not_attested(*, result: bytes | None = None, one: ReleasePolicy | None = None, **how: Any) -> str:
    chosen = one or policy()
    given: dict[str, Any] = {"at": NOW, "nonce": Challenge(NONCE), "max_age": Unchecked("a test")} | how
    with pytest.raises(NotAttested) as caught:
        chosen.accept(token(attested()) if result is None else result, **given)
    assert (caught.value.status, caught.value.exit_code) == (401, 5)
    return str(caught.value)


def test_not_attested() -> None:
    assert "has expired" in not_attested(at=LATER)
    assert "not valid yet" in not_attested(at=NOW - timedelta(hours=1))
    assert "more than" in not_attested(at=NOW + timedelta(minutes=2), max_age=timedelta(minutes=1))
    assert "another nonce" in not_attested(nonce=Challenge(b"x" * 32))
    assert "does not verify" in not_attested(result=token(attested(), STRANGER))
    assert "no verifier's key" in not_attested(one=ReleasePolicy(session(), []))
    assert "never expires" in not_attested(result=token(attested(expires_at=None)))


def test_malformed_is_neither() -> None:
    with pytest.raises(ParseError):
        policy().accept(b"ey.", at=NOW, nonce=Challenge(NONCE), max_age=Unchecked("a test"))


def test_a_result_that_expires_after_it_was_accepted() -> None:
    one = policy()
    given = accepted(one)
    assert given.until == LATER
    assert one.decide(given, at=LATER - timedelta(seconds=1)).outcome is ReleaseOutcome.RELEASE
    decision = one.decide(given, at=LATER)
    assert decision.outcome is ReleaseOutcome.NOT_ATTESTED
    with pytest.raises(NotAttested, match="valid now"):
        one.release(given, ["token"], at=LATER)


def test_the_maximum_age_counts_later_too() -> None:
    one = policy()
    given = accepted(one, max_age=timedelta(seconds=30))
    assert one.decide(given, at=NOW + timedelta(seconds=31)).outcome is ReleaseOutcome.NOT_ATTESTED


def test_a_session_may_trust_fewer_verifiers_than_the_broker() -> None:
    narrow = document(verifiers=[{"name": "v", "key": public_pem(STRANGER)}])
    both = [*trusting(), *trusting(STRANGER)]
    one = ReleasePolicy(session(narrow), both)
    assert "does not verify" in not_attested(one=one)
    result = token(attested(), STRANGER)
    assert one.accept(result, at=NOW, nonce=Challenge(NONCE), max_age=Unchecked("a test")).until == LATER
    assert "no verifier's key" in not_attested(one=ReleasePolicy(session(narrow), trusting()), result=result)


def test_accepted_by_another_policy_does_not_count_here() -> None:
    wide = ReleasePolicy(session(), [*trusting(), *trusting(STRANGER)])
    given = wide.accept(token(attested(), STRANGER), at=NOW, nonce=Challenge(NONCE), max_age=Unchecked("a test"))
    assert policy().decide(given, at=NOW).outcome is ReleaseOutcome.NOT_ATTESTED


def test_accepted_is_not_made_by_hand() -> None:
    with pytest.raises(TypeError):
        Accepted(result=attested(), verifier="", until=LATER)


def test_other_results_have_no_basis() -> None:
    without = Submodule(status=Tier.AFFIRMING, attested_key=ATTESTED_KEY, evidence={"sgx": {"mrenclave": MEASUREMENT}})
    result = AttestationResult.of(
        {"cpu0": without}, verifier=attested().verifier, issued_at=NOW, expires_at=LATER, nonce=NONCE
    )
    decision = decide(result=result)
    assert decision.outcome is ReleaseOutcome.DENIED
    assert "no result of a Cloister verifier" in decision.reason


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (Tier.AFFIRMING, ReleaseOutcome.RELEASE),
        (Tier.NONE, ReleaseOutcome.UNDECIDED),
        (Tier.WARNING, ReleaseOutcome.DENIED),
        (Tier.CONTRAINDICATED, ReleaseOutcome.DENIED),
    ],
)
def test_every_other_submodule_must_be_affirmed(status: Tier, outcome: ReleaseOutcome) -> None:
    other = submodule(status=status, vector=TrustVector(), claims={"mrenclave": OTHER})
    assert decide(others={"gpu0": other}).outcome is outcome


def test_two_attested_keys_are_one_too_many() -> None:
    other = submodule(attested_key=STRANGER.spki)
    assert decide(others={"cpu1": other}).outcome is ReleaseOutcome.NOT_ATTESTED


@pytest.mark.parametrize(
    ("tee", "claim", "size", "more"),
    [
        (Tee.SOFTWARE, "measurement", 32, {"anchors": ["software"]}),
        (Tee.TDX, "mrtd", 48, {}),
        (Tee.SNP, "measurement", 48, {"minimum_security_version": 2}),
        (Tee.SEV, "launch_digest", 32, {}),
        (Tee.CCA, "rim", 32, {"anchors": ["owner"]}),
        (Tee.KEYSTONE, "enclave_hash", 64, {"anchors": ["owner"]}),
    ],
)
def test_every_tee(tee: Tee, claim: str, size: int, more: dict[str, Any]) -> None:
    anchor = more.get("anchors", ["hardware"])[0]
    status = Tcb(status="UpToDate" if tee is Tee.TDX else "")
    claims = {claim: "ab" * size, "guest_svn": 2}
    wanted = {"tee": str(tee), "measurement": "ab" * size} | more
    found: dict[str, Any] = {"tee": tee, "basis": {"anchor_kind": anchor, "tcb": status}}
    assert decide(wanted, claims=claims, **found).outcome is ReleaseOutcome.RELEASE
    assert decide(wanted, claims=claims | {claim: "cd" * size}, **found).outcome is ReleaseOutcome.DENIED
