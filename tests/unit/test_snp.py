"""SNP reports: what is read, what is refused, and for which reason; what the recipe refuses, one fault per case."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from tests.forge.amd import CHIPS, NOW, TCBS, Ek, platform, signed_report

from cloister.appraise.snp import claims, measurements
from cloister.endorse.anchors import AnchorKind
from cloister.endorse.store import Endorsements
from cloister.errors import (
    BindingInvalid,
    ChainInvalid,
    CloisterError,
    EndorsementUnavailable,
    NotFresh,
    ParseError,
    Revoked,
    SignatureInvalid,
    VerificationError,
)
from cloister.evidence import snp as evidence
from cloister.evidence.sev_keys import EcSignature
from cloister.evidence.snp import Product, Report, ReportV2, ReportV5, SigningKey, TurinTcb, tcb_of
from cloister.model import Challenge, MeasurementKind, Unchecked
from cloister.verification import snp
from cloister.verification.recipe import Allowances, CheckState, VerifiedEvidence

MILAN = platform()
VCEK = MILAN.ek()
VLEK = MILAN.ek(SigningKey.VLEK, key="vlek")
NONCE = b"a nonce of the relying party"
UNASKED = Unchecked("no nonce in this test")
HIGHER = bytes([4, 0, 0, 0, 0, 0, 25, 219])
"""Milan's TCB with a higher SNP level."""


def verify(report: Report, *eks: Ek, given: Endorsements | None = None, **changes: Any) -> VerifiedEvidence[Report]:
    settings: dict[str, Any] = {"anchors": MILAN.anchors, "at": NOW, "challenge": Challenge(NONCE)} | changes
    return snp.verify(evidence.parse(report.serialize()), endorsements=given or MILAN.endorsements(*eks), **settings)


def made(ek: Ek | None = VCEK, **fields: Any) -> Report:
    return signed_report(ek, **{"nonce": NONCE} | fields)


# ---------------------------------------------------------------- good ones


@pytest.mark.parametrize("product", list(Product))
@pytest.mark.parametrize("version", [2, 3, 4, 5])
def test_reports_of_every_version_and_product_verify(version: int, product: Product) -> None:
    stand = platform(product)
    report = signed_report(stand.ek(), product=product, version=version, nonce=NONCE)
    found = snp.verify(
        evidence.parse(report.serialize()), anchors=stand.anchors, endorsements=stand.endorsements(stand.ek()), at=NOW,
        challenge=Challenge(NONCE),
    )  # fmt: skip
    assert found.unchecked == ()
    assert found.facts["product"] is product
    assert found.anchor.kind is AnchorKind.TESTING
    assert found.tcb.status == ""
    assert [check.state for check in found.checks] == [CheckState.PASSED] * 12


def test_reports_signed_with_a_providers_key_verify() -> None:
    found = verify(made(VLEK, vlek=True), VLEK)
    assert found.unchecked == (
        "Endorsement key of this chip: a VLEK is the key of a provider (CN=cloud.example), not of one chip",
    )


def test_a_hidden_chip_is_listed_as_not_checked() -> None:
    found = verify(made(chip_id=bytes(64)), VCEK)
    assert found.unchecked == ("Endorsement key of this chip: the host hides the chip's identifier (MASK_CHIP_ID)",)


def test_of_several_certificates_for_hidden_chips_the_one_that_signed_is_found() -> None:
    others = [MILAN.ek(key=f"other {i}", hw_id=bytes([i]) * 64) for i in range(3)]
    verify(made(chip_id=bytes(64)), *others, VCEK)


def test_of_several_certificates_of_one_key_a_valid_one_is_taken() -> None:
    """AMD's service issues one with new dates whenever it is asked."""
    old = MILAN.ek(end=NOW - timedelta(days=1))
    impostor = platform(world="elsewhere").ek()
    for eks in ((old, VCEK), (VCEK, old), (impostor, VCEK), (impostor, old, VCEK)):
        verify(made(), *eks)


def test_a_store_full_of_other_platforms_does_not_matter() -> None:
    genoa = platform(Product.GENOA)
    others = [MILAN.ek(key="other", hw_id=bytes([i]) * 64) for i in range(20)]
    given = MILAN.endorsements(*others, MILAN.ek(tcb=HIGHER), VLEK, VCEK) | genoa.endorsements(genoa.ek())
    verify(made(), given=given)


def test_the_explanation_names_what_was_compared() -> None:
    checks = {check.title: check for check in verify(made(), VCEK).checks}
    assert checks["Endorsement key for this TCB"].expected == TCBS[Product.MILAN].hex()
    assert checks["Endorsement key of this chip"].actual == CHIPS[Product.MILAN].hex()
    assert [check.number for check in checks.values()] == [f"SNP-{i}" for i in range(1, 13)]
    assert all(step.fix and step.cost and step.source for step in snp.RECIPE.steps)


# ---------------------------------------------------------------- formats

LONG_SIGNATURE: dict[str, Any] = {"r": bytes(72), "s": bytes(72), "reserved_90": b"\1".ljust(368, b"\0")}
FORMATS: dict[str, tuple[dict[str, Any], str]] = {
    "a policy without the bit that must be one": ({"policy": 0x10000}, "policy at byte 8: bit 17 must be 1"),
    "a policy with a bit that is not defined": ({"policy": 0x30000 | 1 << 26}, "policy at byte 8: reserved bits"),
    "a signer with a bit that is not defined": ({"signer_info": 1 << 5}, "signer_info at byte 72: reserved bits"),
    "a signing key that is not defined": ({"signer_info": 2 << 2}, "signer_info at byte 72: names a signing key"),
    "a family that is not known": ({"cpuid_fam_id": 0x1B}, "cpuid_fam_id at byte 392: family 0x1b"),
    "a model that is not known": ({"cpuid_mod_id": 0x20}, "model 0x20 is no product"),
    "a reserved byte in a TCB": ({"current_tcb": bytes([4, 0, 1, 0, 0, 0, 24, 219])}, "reserved_2 at byte 58"),
    "a reserved byte in the launch TCB": ({"launch_tcb": bytes([4, 0, 0, 0, 0, 1, 24, 219])}, "reserved_2 at byte 498"),
    "bytes behind the signature": (
        {"signature": EcSignature(**LONG_SIGNATURE)}, "reserved_90 at byte 816",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("fields", "reason"), FORMATS.values(), ids=FORMATS)
def test_refused_as_malformed(fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(ParseError, match=reason.replace("(", r"\(")):
        evidence.parse(made(**fields).serialize())


@pytest.mark.parametrize("offset", [0x4C, 0x18B, 0x19F, 0x1EB, 0x1EF, 0x1F8, 0x29F, 0x330, 0x49F])
def test_reserved_bytes_must_be_zero(offset: int) -> None:
    data = bytearray(made().serialize())
    data[offset] = 1
    with pytest.raises(ParseError, match="reserved bytes must be zero") as caught:
        evidence.parse(bytes(data))
    assert caught.value.offset <= offset < caught.value.offset + 368
    assert caught.value.field == f"reserved_{caught.value.offset - (0x2A0 if offset > 0x2A0 else 0):x}"


@pytest.mark.parametrize("version", [0, 1, 6, 7, 0xFFFFFFFF])
def test_other_versions_are_not_guessed_at(version: int) -> None:
    data = version.to_bytes(4, "little") + made().serialize()[4:]
    with pytest.raises(ParseError, match="version at byte 0"):
        evidence.parse(data)
    assert not evidence.looks_like(data)


@pytest.mark.parametrize("length", [0, 1, 0x2A0, 1183, 1185, 4096])
def test_other_lengths_are_refused(length: int) -> None:
    data = made().serialize().ljust(length, b"\0")[:length]
    with pytest.raises(ParseError, match="a report has exactly 1184"):
        evidence.parse(data)
    assert not evidence.looks_like(data)


def test_offsets_in_errors_are_those_in_the_whole_input() -> None:
    with pytest.raises(ParseError) as caught:
        evidence.parse(made(policy=0).serialize(), base=1000)
    assert caught.value.offset == 1008


def test_turin_has_its_own_tcb_layout_and_short_chip_identifiers() -> None:
    report = signed_report(platform(Product.TURIN).ek(), product=Product.TURIN, version=2)
    assert report.products == (Product.TURIN,)
    tcb = tcb_of(report.reported_tcb, Product.TURIN)
    assert isinstance(tcb, TurinTcb)
    assert (tcb.fmc, tcb.bootloader, tcb.tee, tcb.snp, tcb.microcode) == (1, 2, 1, 4, 80)


def test_version_2_does_not_say_whether_it_is_milan_or_genoa() -> None:
    assert made(version=2).products == (Product.MILAN, Product.GENOA)
    with pytest.raises(EndorsementUnavailable, match=r"/vcek/v1/Milan/.* or https://.*/vcek/v1/Genoa/"):
        verify(made(version=2))


# ---------------------------------------------------------------- what the recipe refuses

TO_REFUSE: dict[str, tuple[type[CloisterError], str, Callable[[], object]]] = {
    "an unsigned report": (
        SignatureInvalid, "not signed: its host wanted it so", lambda: verify(made(None, signer_info=7 << 2), VCEK),
    ),
    "a report whose signature the host masked": (
        SignatureInvalid, "not signed: its host wanted it so", lambda: verify(made(None, signer_info=2), VCEK),
    ),
    "a signature algorithm that is not defined": (
        SignatureInvalid, "algorithm that is not defined", lambda: verify(made(signature_algo=0), VCEK),
    ),
    "no certificate of the key": (
        EndorsementUnavailable, "no VCEK certificate of Milan is at hand; AMD has it at https://kdsintf.amd.com/vcek/",
        lambda: verify(made()),
    ),
    "only a provider's certificate for a chip's report": (
        EndorsementUnavailable, "no VCEK certificate of Milan is at hand", lambda: verify(made(), VLEK),
    ),
    "only a chip's certificate for a provider's report": (
        EndorsementUnavailable, "no VLEK certificate of Milan is at hand", lambda: verify(made(VLEK, vlek=True), VCEK),
    ),
    "only a certificate for another TCB": (
        EndorsementUnavailable, "for another TCB; AMD has the one needed at",
        lambda: verify(made(), MILAN.ek(tcb=HIGHER)),
    ),
    "only a certificate for another chip": (
        EndorsementUnavailable, "for another chip; AMD has the one needed at",
        lambda: verify(made(), MILAN.ek(hw_id=bytes(range(64)))),
    ),
    "a certificate for another product": (
        EndorsementUnavailable, "no VCEK certificate of Milan", lambda: verify(made(), MILAN.ek(product_name="Genoa")),
    ),
    "no authority's certificate": (
        EndorsementUnavailable, "the certificate of SEV-Milan is not at hand; AMD has it at https://kdsintf",
        lambda: verify(made(), given=Endorsements(certificates=(VCEK.certificate, MILAN.ark.certificate))),
    ),
    "no root's certificate": (
        ChainInvalid, "the issuer of 'SEV-Milan' is not at hand",
        lambda: verify(made(), given=Endorsements(certificates=(VCEK.certificate, MILAN.ask.certificate))),
    ),
    "a certificate by another authority of the same name": (
        ChainInvalid, "does not verify under 'SEV-Milan'", lambda: verify(made(), platform(world="elsewhere").ek()),
    ),
    "a chip's certificate by the authority for providers": (
        ChainInvalid, "another authority than the one for such keys",
        lambda: verify(made(), MILAN.ek(issuer=MILAN.asvk)),
    ),
    "a provider's certificate by the authority for chips": (
        ChainInvalid, "another authority than the one for such keys",
        lambda: verify(made(VLEK, vlek=True), MILAN.ek(SigningKey.VLEK, key="vlek", issuer=MILAN.ask)),
    ),
    "a certificate by the root itself": (
        ChainInvalid, "another authority than the one for such keys",
        lambda: verify(made(), MILAN.ek(issuer=MILAN.ark)),
    ),
    "a signature by another key": (
        SignatureInvalid, "signature over the report does not verify",
        lambda: verify(made(MILAN.ek(key="other")), VCEK),
    ),
    "a signature of zeros": (SignatureInvalid, "does not verify", lambda: verify(made(None), VCEK)),
    "a report that the host asked for": (
        BindingInvalid, "the host asked for this report", lambda: verify(made(vmpl=0xFFFFFFFF), VCEK),
    ),
    "a reported TCB above the current one": (
        BindingInvalid, "REPORTED_TCB is above CURRENT_TCB",
        lambda: verify(made(MILAN.ek(tcb=HIGHER), reported_tcb=HIGHER), MILAN.ek(tcb=HIGHER)),
    ),
    "a committed TCB above the current one": (
        BindingInvalid, "COMMITTED_TCB is above CURRENT_TCB", lambda: verify(made(committed_tcb=HIGHER), VCEK),
    ),
    "a guest that may be debugged": (
        VerificationError, "this guest may be debugged", lambda: verify(made(policy=0xB0000), VCEK),
    ),
    "another nonce": (
        NotFresh, "REPORT_DATA does not contain the nonce",
        lambda: verify(made(), VCEK, challenge=Challenge(b"another")),
    ),
    "an expired certificate": (
        EndorsementUnavailable, "'SEV-VCEK' has expired",
        lambda: verify(made(), MILAN.ek(end=NOW - timedelta(seconds=1))),
    ),
    "a certificate of the future": (
        EndorsementUnavailable, "'SEV-VCEK' is not valid yet",
        lambda: verify(made(), MILAN.ek(start=NOW + timedelta(seconds=1))),
    ),
    "a revoked authority": (
        Revoked, "'SEV-Milan' has been revoked by 'ARK-Milan'",
        lambda: verify(made(), given=MILAN.endorsements(VCEK, crls=(MILAN.crl(MILAN.ask.certificate.serial),))),
    ),
    "no revocation list": (
        EndorsementUnavailable, "revocation list of 'ARK-Milan' is not at hand; AMD has it at https://kdsintf.amd.com",
        lambda: verify(made(), given=MILAN.endorsements(VCEK, crls=())),
    ),
    "an expired revocation list": (
        EndorsementUnavailable, "expired",
        lambda: verify(made(), given=MILAN.endorsements(VCEK, crls=(MILAN.crl(at=NOW - timedelta(days=60)),))),
    ),
    "a revocation list that the root did not sign": (
        EndorsementUnavailable, "is not at hand",
        lambda: verify(made(), given=MILAN.endorsements(VCEK, crls=(MILAN.crl(signer=MILAN.asvk),))),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("kind", "reason", "attempt"), TO_REFUSE.values(), ids=TO_REFUSE)
def test_refused(kind: type[CloisterError], reason: str, attempt: Callable[[], object]) -> None:
    with pytest.raises(kind) as caught:
        attempt()
    assert type(caught.value) is kind
    assert reason in str(caught.value)


def test_a_failure_shows_what_was_done_and_what_was_not() -> None:
    with pytest.raises(VerificationError) as caught:
        verify(made(policy=0xB0000), VCEK)
    states = [check.state for check in caught.value.checks]  # type: ignore[attr-defined]
    assert states == [CheckState.PASSED] * 8 + [CheckState.FAILED] + [CheckState.NOT_REACHED] * 3


def test_debugging_can_be_allowed_knowingly() -> None:
    found = verify(made(policy=0xB0000), VCEK, allow=Allowances(unsafe_allow_debug=True))
    assert found.unchecked == (
        "Production guest: this guest may be debugged; the caller allows it (unsafe_allow_debug)",
    )
    assert claims(found)["debug"] is True


def test_missing_lists_can_be_allowed_knowingly_but_not_revoked_authorities() -> None:
    skip = Allowances(unsafe_skip_revocation=True)
    found = verify(made(), given=MILAN.endorsements(VCEK, crls=()), allow=skip)
    assert len(found.unchecked) == 1
    with pytest.raises(Revoked):
        verify(made(), given=MILAN.endorsements(VCEK, crls=(MILAN.crl(MILAN.ask.certificate.serial),)), allow=skip)


def test_a_lower_reported_tcb_is_allowed() -> None:
    """Operators report the lowest of a fleet."""
    verify(made(current_tcb=HIGHER), VCEK)
    verify(made(current_tcb=HIGHER, committed_tcb=HIGHER), VCEK)
    verify(made(launch_tcb=HIGHER), VCEK)


# ---------------------------------------------------------------- claims


def test_claims_have_every_field_and_bit() -> None:
    report = made(
        version=5, policy=0x30000 | 1 << 18 | 0x0137, platform_info=0x25 | 1 << 6 | 1 << 40, signer_info=1,
        author_key_digest=bytes(range(48)), id_key_digest=b"\1" * 48,
    )  # fmt: skip
    said = claims(verify(report, VCEK))
    assert (said["policy_smt"], said["policy_migrate_ma"], said["policy_debug"], said["debug"]) == (
        True,
        True,
        False,
        False,
    )
    assert (said["policy_abi"], said["current_version"]) == ("1.55", "1.55.29")
    assert (said["platform_ecc_en"], said["platform_alias_check_complete"], said["platform_tsme_en"]) == (
        True,
        True,
        False,
    )
    assert said["platform_info_unknown"] == [6, 40]
    assert (said["reported_tcb_snp"], said["reported_tcb_microcode"], said["reported_tcb"]) == (
        24,
        219,
        "04000000000018db",
    )
    assert (said["product"], said["signing_key"], said["csp_id"]) == ("Milan", "vcek", "")
    assert (said["launch_mit_vector"], said["current_mit_vector"], said["cpuid_fam_id"]) == (1, 3, 0x19)
    assert said["report_data"] == NONCE.ljust(64, b"\0").hex()
    assert not [name for name in said if name.startswith("reserved")]
    assert [(one.name, one.kind) for one in measurements(report)] == [
        ("measurement", MeasurementKind.LAUNCH),
        ("id_key_digest", MeasurementKind.SIGNER),
        ("author_key_digest", MeasurementKind.SIGNER),
    ]


def test_without_an_id_block_there_is_no_signer() -> None:
    assert [one.name for one in measurements(made())] == ["measurement"]


def test_claims_of_earlier_versions_do_not_have_what_these_lack() -> None:
    said = claims(verify(made(version=2), VCEK))
    assert not {"cpuid_fam_id", "launch_mit_vector"} & said.keys()
    assert isinstance(made(version=2), ReportV2)
    assert isinstance(made(version=5), ReportV5)


def test_verified_evidence_cannot_be_made_by_hand() -> None:
    found = verify(made(), VCEK)
    with pytest.raises(TypeError, match="is made by cloister"):
        replace(found, _token=None)
