"""The facade: every TEE through one function, in any container, one record or many."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.forge import ratls
from tests.forge.every import NONCE, Sample, every, of_sgx
from tests.forge.x509 import NOW

import cloister
from cloister.endorse.store import Endorsements
from cloister.envelope import Envelope, open_envelope
from cloister.errors import BindingInvalid, ChainInvalid, EndorsementUnavailable, NotFresh, ParseError, PolicyError
from cloister.model import Challenge, Tee, Unchecked
from cloister.verifier import Verifier
from cloister.verifier.crew import chunked
from cloister.verifier.many import Record

TEES = sorted(every())
POLICIES = {
    Tee.SGX: f'[sgx]\nmrenclave = "{bytes(range(32)).hex()}"\n',
    Tee.TDX: f'[tdx]\nmrtd = "{bytes(range(48)).hex()}"\n',
    Tee.SNP: f'[snp]\nmeasurement = "{bytes(range(48)).hex()}"\n',
}
ACCEPT = 'accept_anchors = ["testing"]\n'


def verify(sample: Sample, **changes: Any) -> cloister.Verdict:
    settings: dict[str, Any] = {
        "nonce": NONCE, "at": NOW, "anchors": sample.anchors, "endorsements": sample.endorsements,
    }  # fmt: skip
    return cloister.verify(changes.pop("evidence", sample.evidence), **settings | changes)


def policy(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


@pytest.mark.parametrize("tee", TEES)
def test_every_tee_verifies_and_is_not_affirmed_without_a_policy(tee: Tee) -> None:
    verdict = verify(every()[tee])
    assert verdict.tee is tee
    assert verdict.status is cloister.Tier.WARNING
    assert any("nobody said which program" in line for line in verdict.unchecked)
    assert verdict.claims["debug"] is False
    assert json.dumps(dict(verdict.claims))


@pytest.mark.parametrize("tee", TEES)
def test_the_hardware_anchors_refuse_all_of_them(tee: Tee) -> None:
    with pytest.raises((ChainInvalid, EndorsementUnavailable)):
        verify(every()[tee], anchors=cloister.TrustAnchors.hardware())


@pytest.mark.parametrize("tee", TEES)
def test_another_nonce_is_not_fresh(tee: Tee) -> None:
    with pytest.raises(NotFresh):
        verify(every()[tee], nonce=b"another nonce!!!")


@pytest.mark.parametrize("tee", sorted(POLICIES))
def test_a_policy_that_names_the_program_affirms(tee: Tee, tmp_path: Path) -> None:
    verdict = verify(every()[tee], policy=policy(tmp_path / "p.toml", ACCEPT + POLICIES[tee]))
    assert verdict.status is cloister.Tier.AFFIRMING
    assert verdict.checks[0].number == f"{tee.upper()}-1"
    assert verdict.checks[-1].number.startswith("POLICY-")


@pytest.mark.parametrize("tee", sorted(POLICIES))
def test_a_policy_for_hardware_only_does_not_affirm_a_test_root(tee: Tee, tmp_path: Path) -> None:
    verdict = verify(every()[tee], policy=policy(tmp_path / "p.toml", POLICIES[tee]))
    assert verdict.status is cloister.Tier.CONTRAINDICATED


@pytest.mark.parametrize("tee", TEES)
def test_an_empty_policy_denies(tee: Tee, tmp_path: Path) -> None:
    verdict = verify(every()[tee], policy=policy(tmp_path / "p.toml", ""))
    assert verdict.status is cloister.Tier.CONTRAINDICATED


def test_a_wrong_policy_is_named_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match=r"p\.toml:2"):
        verify(every()[Tee.SGX], policy=policy(tmp_path / "p.toml", '[sgx]\nmrenclave = ["no such form"\n'))
    with pytest.raises(PolicyError, match="cannot read"):
        verify(every()[Tee.SGX], policy=tmp_path / "absent.toml")


def test_a_verdict_is_no_truth_value() -> None:
    with pytest.raises(TypeError, match="neither true nor false"):
        bool(verify(every()[Tee.SGX]))


@pytest.mark.parametrize("wrap", [lambda data: data.hex().encode(), lambda data: data + bytes(100)])
def test_containers_are_opened(wrap: Any) -> None:
    sample = every()[Tee.SGX]
    verdict = verify(sample, evidence=wrap(sample.evidence))
    assert verdict.authentic.envelope.path[-1].startswith("Intel SGX quote")


def test_no_evidence_is_no_evidence() -> None:
    for data in (b"", b"hello", bytes(1000)):
        with pytest.raises(ParseError):
            cloister.verify(data, nonce=Unchecked("nothing"), endorsements=Endorsements())


# ---------------------------------------------------------------- bindings


def certificate(nonce: bytes | None = None) -> tuple[bytes, Sample]:
    """An RA-TLS certificate whose SGX evidence speaks of claims that name its key."""
    key = ratls.fresh_key()
    extension = ratls.dice_extension(lambda data: of_sgx(data).evidence, ratls.claims_for(key, nonce=nonce))
    return ratls.armoured(ratls.certificate(key, [extension]).encoded), every()[Tee.SGX]


def test_a_certificate_s_key_is_bound() -> None:
    data, sample = certificate()
    verdict = verify(sample, evidence=data, nonce=Unchecked("the handshake is fresh"))
    assert [one.number for one in verdict.authentic.bindings][:2] == ["BINDING-1", "BINDING-2"]


def test_the_nonce_in_the_claims_answers() -> None:
    data, sample = certificate(NONCE)
    verdict = verify(sample, evidence=data)
    assert verdict.authentic.bindings[-1].number == "CLAIMS-1"
    assert verdict.authentic.bindings[-1].state == "passed"
    with pytest.raises(NotFresh, match="claims do not contain the nonce"):
        verify(sample, evidence=data, nonce=b"another")


def test_evidence_without_the_nonce_in_its_claims_is_not_fresh() -> None:
    data, sample = certificate()
    with pytest.raises(NotFresh):
        verify(sample, evidence=data)


def test_a_binding_to_something_that_was_not_verified_is_refused() -> None:
    data, sample = certificate()
    opened = open_envelope(data)
    other = open_envelope(every()[Tee.TDX].evidence).parts
    verifier = Verifier(anchors=sample.anchors, endorsements=sample.endorsements | every()[Tee.TDX].endorsements)
    with pytest.raises(BindingInvalid, match="not verified"):
        verifier.authenticate(replace(opened, parts=other), at=NOW)


def test_an_empty_envelope_is_no_evidence() -> None:
    with pytest.raises(ParseError, match="no evidence"):
        Verifier().authenticate(Envelope(path=("nothing",)), at=NOW)


# ---------------------------------------------------------------- many


def records() -> list[Record]:
    sample = every()[Tee.SGX]
    flipped = sample.evidence[:100] + b"\xff" + sample.evidence[101:]
    return [
        Record(name="good", evidence=sample.evidence, nonce=NONCE),
        Record(name="flipped", evidence=flipped),
        Record(name="stale", evidence=sample.evidence, nonce=b"no"),
        Record(name="junk", evidence=b"junk"),
        Record(name="late", evidence=sample.evidence, at=NOW.replace(year=2099)),
        Record(name="absent", evidence=b"", unreadable="cannot be read"),
    ]


EXPECTED = [("good", 3), ("flipped", 5), ("stale", 5), ("junk", 2), ("late", 6), ("absent", 2)]


@pytest.mark.parametrize("processes", [1, 2])
def test_many_in_order_and_going_on_after_bad_ones(processes: int) -> None:
    sample = every()[Tee.SGX]
    found = list(cloister.verify_many(
        records() * 30, at=NOW, anchors=sample.anchors, endorsements=sample.endorsements, processes=processes,
    ))  # fmt: skip
    assert [(one.name, one.exit_code) for one in found] == EXPECTED * 30
    assert found[1].document["failed"] == "SGX-5"
    assert found[0].document["status"] == "warning"


def test_a_long_input_is_not_held_whole() -> None:
    """Records are taken from the source as they are needed."""
    taken = 0

    def source() -> Any:
        nonlocal taken
        for _ in range(10_000):
            taken += 1
            yield Record(name="junk", evidence=b"junk")

    answers = cloister.verify_many(source(), at=NOW, processes=1)
    next(answers)
    assert taken < 10
    assert sum(len(chunk) for chunk in chunked(source())) == 10_000


def test_the_verifier_alone() -> None:
    sample = every()[Tee.TDX]
    verifier = Verifier(anchors=sample.anchors, endorsements=sample.endorsements)
    found = verifier.verify(sample.evidence, at=NOW, challenge=Challenge(NONCE))
    assert [one.tee for one in found] == [Tee.TDX]


def test_collateral_is_believed_under_anchors_for_its_own_tee() -> None:
    sample = every()[Tee.TDX]
    only = cloister.TrustAnchors.testing(sample.root, tees=[Tee.TDX])
    assert verify(sample, anchors=only).tcb_status == "UpToDate"
    with pytest.raises(ChainInvalid):
        verify(sample, anchors=cloister.TrustAnchors.testing(sample.root, tees=[Tee.SGX]))
