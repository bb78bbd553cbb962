"""Attacks on composites: hardware report, runtime data and vTPM quote of several machines in one envelope."""

import hashlib
from collections.abc import Callable
from typing import Any

import pytest
from tests.forge import amd, envelope
from tests.forge import tpm as forged_tpm
from tests.forge.every import NONCE
from tests.forge.x509 import NOW

import cloister
from cloister.appraise.parse_policy import parse_policy
from cloister.errors import CloisterError, NotFresh
from cloister.evidence.hcl import HclHeader, HclRequest
from cloister.evidence.tpm import TpmQuote
from cloister.model import Tee, Unchecked

TPM, ATTACKER = forged_tpm.TpmForge(), forged_tpm.TpmForge()
AMD = amd.platform()
EK = AMD.ek()
RUNTIME = forged_tpm.runtime_data(TPM)
COMPOSITE = parse_policy(
    'accept_anchors = ["testing"]\n'
    f'[snp]\nmeasurement = "{bytes(range(48)).hex()}"\n'
    f'[tpm]\npcr4 = "{forged_tpm.extended()[4].hex()}"\n'
)


def vouching(runtime: bytes, **changes: Any) -> bytes:
    """A genuine SNP report over runtime data, at VMPL 0."""
    said = hashlib.sha256(runtime).digest().ljust(64, b"\0")
    return amd.signed_report(EK, **{"report_data": said} | changes).serialize()


def hcl(report: bytes, runtime: bytes) -> bytes:
    """An HCL report around it."""
    size = HclRequest.SIZE + len(runtime)
    head = HclHeader(
        signature=b"HCLA", version=1, report_size=HclHeader.SIZE + len(report) + size, request_type=2, status=0
    )
    request = HclRequest(data_size=size, version=1, report_type=2, hash_type=1, runtime_data_size=len(runtime))
    return head.serialize() + report + request.serialize() + runtime


def azure(report: bytes, quote: TpmQuote, runtime: bytes = RUNTIME) -> bytes:
    """What an attester on Azure sends."""
    values = [value.hex() for bank in quote.pcrs for value in bank.values]
    signed = {"message": quote.attest.signed.hex(), "pcrs": values, "signature": quote.signature.serialize().hex()}
    return envelope.document({
        "version": 1, "tpm_quote": signed, "hcl_report": envelope.base64url(hcl(report, runtime)),
        "vcek": envelope.base64url(EK.certificate.encoded),
    })  # fmt: skip


def collection(*members: bytes) -> bytes:
    """Several containers in one wrapper."""
    return envelope.document({f"m{i}": ["application/x-any", envelope.base64url(one)] for i, one in enumerate(members)})


def composite(data: bytes, nonce: bytes | Unchecked = forged_tpm.NONCE, **settings: Any) -> cloister.Verdict:
    return cloister.verify(
        data, nonce=nonce, at=NOW, anchors=AMD.anchors, endorsements=AMD.endorsements(EK), policy=COMPOSITE, **settings
    )


QUOTE = TPM.quote(key=b"", log=b"")
GENUINE = azure(vouching(RUNTIME), QUOTE)


# ---------------------------------------------------------------- parts of several machines


def test_the_control_this_composite_is_affirmed() -> None:
    verdict = composite(GENUINE)
    assert verdict.status is cloister.Tier.AFFIRMING
    assert [one.tee for one in verdict.appraisals] == [Tee.SNP, Tee.TPM]


STALE = amd.signed_report(EK, nonce=b"yesterday").serialize()


@pytest.mark.parametrize("order", [(GENUINE, STALE), (STALE, GENUINE)], ids=["behind", "before"])
def test_a_recorded_report_does_not_ride_along_with_a_fresh_composite(order: tuple[bytes, bytes]) -> None:
    """The quote's nonce answers for the report that vouches for its key, not for every report in the envelope."""
    with pytest.raises(NotFresh):
        composite(collection(*order))


def test_two_composites_do_not_answer_for_each_other() -> None:
    own = forged_tpm.runtime_data(ATTACKER)
    other = azure(vouching(own), ATTACKER.quote(key=b"", log=b"", nonce=b"another"), own)
    for order in ((GENUINE, other), (other, GENUINE)):
        with pytest.raises(CloisterError):
            composite(collection(*order))


def test_the_same_composite_twice_is_one() -> None:
    assert len(composite(collection(GENUINE, GENUINE)).appraisals) == 2


MIXED: dict[str, Callable[[], bytes]] = {
    "the quote of another TPM": lambda: azure(vouching(RUNTIME), ATTACKER.quote(key=b"", log=b"")),
    "the report of another machine": lambda: azure(vouching(forged_tpm.runtime_data(ATTACKER)), QUOTE),
    "runtime data of another machine": lambda: azure(
        vouching(RUNTIME), ATTACKER.quote(key=b"", log=b""), forged_tpm.runtime_data(ATTACKER)
    ),
    "a report that the operating system asked for": lambda: azure(vouching(RUNTIME, vmpl=2), QUOTE),
    "an unsigned report": lambda: azure(
        amd.signed_report(None, report_data=hashlib.sha256(RUNTIME).digest() + bytes(32)).serialize(), QUOTE
    ),
    "an old quote": lambda: azure(vouching(RUNTIME), TPM.quote(key=b"", log=b"", nonce=b"yesterday")),
    "an altered quote": lambda: azure(vouching(RUNTIME), QUOTE).replace(
        QUOTE.attest.signed.hex().encode(), QUOTE.attest.signed.hex().encode()[:-1] + b"0"
    ),
}


@pytest.mark.parametrize("make", MIXED.values(), ids=MIXED)
def test_parts_that_do_not_belong_together(make: Callable[[], bytes]) -> None:
    with pytest.raises(CloisterError):
        composite(make())


def test_a_report_without_its_quote_still_has_to_answer() -> None:
    """Nothing is excused before there is a quote that answers: the report alone is asked for the nonce."""
    with pytest.raises(NotFresh):
        composite(hcl(vouching(RUNTIME), RUNTIME))


def test_a_quote_with_its_own_key_is_not_excused_from_the_hardware() -> None:
    """The attacker's TPM quote, complete with key, beside the victim's report: the runtime data name another key."""
    own = ATTACKER.quote().serialize()
    for order in ((hcl(vouching(RUNTIME), RUNTIME), own), (own, hcl(vouching(RUNTIME), RUNTIME))):
        with pytest.raises(CloisterError):
            composite(collection(*order))


def test_a_bad_part_is_not_hidden_behind_a_good_one() -> None:
    """The status is the worst of all parts, wherever it stands, and a part without a section is denied."""
    good = amd.signed_report(EK, nonce=NONCE).serialize()
    bad = amd.signed_report(EK, nonce=NONCE, measurement=b"\xff" * 48).serialize()
    assert composite(good, NONCE).status is cloister.Tier.AFFIRMING
    for order in ((good, bad), (bad, good)):
        assert composite(collection(*order), NONCE).status is cloister.Tier.CONTRAINDICATED
    only_snp = parse_policy(f'accept_anchors = ["testing"]\n[snp]\nmeasurement = "{bytes(range(48)).hex()}"\n')
    given: dict[str, Any] = {"anchors": AMD.anchors, "endorsements": AMD.endorsements(EK), "policy": only_snp}
    denied = cloister.verify(GENUINE, nonce=forged_tpm.NONCE, at=NOW, **given)
    assert denied.status is cloister.Tier.CONTRAINDICATED
