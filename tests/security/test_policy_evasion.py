"""Attacks on appraisal: forged reference values, claims that evade rules, policies that hide what they allow."""

from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from tests.forge.corim import manifest, measured, signed_manifest
from tests.forge.plain import plainly_verified

from cloister.appraise.appraisal import Claim
from cloister.appraise.corim_values import read_corim
from cloister.appraise.judge import judge
from cloister.appraise.parse_policy import parse_policy
from cloister.appraise.vector import Tier
from cloister.endorse.anchors import AnchorKind
from cloister.errors import PolicyError
from cloister.model import Tee
from cloister.verification.recipe import Tcb

AT = datetime(2025, 6, 1, tzinfo=UTC)
KEY, ATTACKER = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
GOOD = manifest([measured("mrenclave", digests=[[1, bytes(32)]])])


def test_no_flipped_bit_of_a_signed_manifest_is_believed() -> None:
    """Every byte: headers, payload, signature. Only the two that say `array of four` and `tag 18` are structure."""
    data = signed_manifest(GOOD, KEY)
    assert read_corim(data, name="x", keys=(KEY.public_key(),), at=AT)
    for place in range(len(data)):
        for bit in (0x01, 0x80):
            flipped = data[:place] + bytes([data[place] ^ bit]) + data[place + 1 :]
            with pytest.raises(PolicyError):
                read_corim(flipped, name="x", keys=(KEY.public_key(),), at=AT)


@pytest.mark.parametrize(
    "data",
    [
        GOOD,
        signed_manifest(GOOD, ATTACKER),
        signed_manifest(GOOD, KEY, kind="application/cbor"),
        signed_manifest(b"\xa0", KEY),
    ],
    ids=["unsigned", "another signer", "another content type", "another payload"],
)
def test_manifests_that_the_signer_did_not_make(data: bytes) -> None:
    with pytest.raises(PolicyError):
        read_corim(data, name="x", keys=(KEY.public_key(),), at=AT)


def test_believing_unsigned_manifests_does_not_believe_badly_signed_ones() -> None:
    for keys in ((), (KEY.public_key(),)):
        with pytest.raises(PolicyError):
            read_corim(signed_manifest(GOOD, ATTACKER), name="x", keys=keys, at=AT, unsafe_unsigned=True)


POLICY = parse_policy(
    '[sgx]\nmrenclave = "aa"\nisvsvn = { minimum = 3 }\ndebug = false\nmrsigner = { not = { equal = "ff" } }\n'
)
CLAIMS: dict[str, Claim] = {"mrenclave": "aa", "isvsvn": 3, "debug": False, "mrsigner": "bb"}
EVASIONS: dict[str, dict[str, Claim]] = {
    "number as text": {"isvsvn": "3"},
    "true as a number": {"isvsvn": True},
    "a list with the number": {"isvsvn": [3]},
    "no debug as text": {"debug": "false"},
    "no debug as 0": {"debug": 0},
    "a list with the measurement": {"mrenclave": ["aa"]},
    "the measurement with a space": {"mrenclave": "aa "},
    "the measurement with more behind": {"mrenclave": "aa00"},
    "a signer of another kind": {"mrsigner": 255},
}


@pytest.mark.parametrize("changes", EVASIONS.values(), ids=EVASIONS)
def test_claims_of_another_kind_evade_no_rule(changes: dict[str, Claim]) -> None:
    verified = plainly_verified(Tee.SGX)
    assert judge(verified, POLICY, claims=CLAIMS).status is Tier.AFFIRMING
    assert judge(verified, POLICY, claims=CLAIMS | changes).status > Tier.AFFIRMING


@pytest.mark.parametrize("missing", CLAIMS)
def test_leaving_a_claim_out_evades_no_rule(missing: str) -> None:
    claims = {name: value for name, value in CLAIMS.items() if name != missing}
    assert judge(plainly_verified(Tee.SGX), POLICY, claims=claims).status > Tier.AFFIRMING


def test_claims_cannot_pretend_to_be_the_verifier_s_own() -> None:
    """Status, advisories and anchor come from verification, whatever a claim of that name says."""
    claims: dict[str, Claim] = CLAIMS | {"tcb_status": "UpToDate", "anchor_kind": "hardware", "advisories": []}
    revoked = plainly_verified(Tee.SGX, tcb=Tcb(status="Revoked"))
    assert judge(revoked, POLICY, claims=claims).status is Tier.CONTRAINDICATED
    testing = plainly_verified(Tee.SGX, kind=AnchorKind.TESTING)
    assert judge(testing, POLICY, claims=claims).status is Tier.CONTRAINDICATED


@pytest.mark.parametrize(
    "text",
    [
        "[sgx]\nallow_debug = true\n",
        "allow_any_measurement = true\n",
        '[tcb]\ntolerated = ["Revoked"]\n',
        '[tcb]\ntolerated = ["*"]\n',
        "[reference_values]\nunsigned = true\n",
        '[sgx]\nmrenclave = { equal = "aa", on_failure = "affirming" }\n',
        '[sgx]\nmrenclave = { equal = "aa", on_failure = 2 }\n',
    ],
)
def test_nothing_is_weakened_without_the_word_unsafe(text: str) -> None:
    """Each either does not parse, or refuses evidence all the same."""
    verified = plainly_verified(Tee.SGX, tcb=Tcb(status="Revoked"))
    try:
        policy = parse_policy(text)
    except PolicyError:
        return
    assert judge(verified, policy, claims={**CLAIMS, "debug": True}).status is Tier.CONTRAINDICATED


def test_an_on_failure_warning_is_still_no_affirmation() -> None:
    policy = parse_policy('[sgx]\nmrenclave = { equal = "bb", on_failure = "warning" }\n')
    assert judge(plainly_verified(Tee.SGX), policy, claims=CLAIMS).status is Tier.WARNING
