"""The TPM recipe, step by step: what passes, what is left unchecked and says so, and each refusal by its reason."""

from dataclasses import replace
from typing import Any

import pytest
from tests.forge.tpm import ATTESTATION_KEY, BOOT, NONCE, Measured, TpmForge, attest, event_log, extended
from tests.forge.x509 import NOW, YEAR, Authority, der_of, issue, revocation_list

from cloister._x509 import Certificate
from cloister.appraise.tpm import claims, measurements
from cloister.endorse.anchors import TrustAnchors
from cloister.endorse.store import Endorsements
from cloister.errors import (
    BindingInvalid,
    ChainInvalid,
    EndorsementUnavailable,
    NotFresh,
    Revoked,
    SignatureInvalid,
)
from cloister.evidence.tpm import TpmQuote, of_parts
from cloister.evidence.tpm_attest import TpmSignature
from cloister.model import Challenge, MeasurementKind, Tee, Unchecked
from cloister.verification import tpm
from cloister.verification.recipe import Allowances, Check, CheckState, VerifiedEvidence

RSA, PSS, ECC, SMALL = TpmForge(), TpmForge("rsapss"), TpmForge("ecdsa"), TpmForge(bits=1024)
SECOND = TpmForge()
NO_CRLS = Allowances(unsafe_skip_revocation=True)
KEY_USAGE, EXTENDED_KEY_USAGE = "2.5.29.15", "2.5.29.37"
SIGNS, ENCRYPTS = b"\x03\x02\x07\x80", b"\x03\x02\x05\x20"
AIK, EK, WEB_SERVER = (
    b"\x06\x05\x67\x81\x05\x08\x03",
    b"\x06\x05\x67\x81\x05\x08\x01",
    b"\x06\x08\x2b\x06\x01\x05\x05\x07\x03\x01",
)


def verify(quote: TpmQuote, forge: TpmForge = RSA, **changes: Any) -> VerifiedEvidence[TpmQuote]:
    settings: dict[str, Any] = {
        "anchors": forge.anchors, "endorsements": Endorsements(), "at": NOW, "challenge": Challenge(NONCE)
    }  # fmt: skip
    return tpm.verify(quote, **settings | changes)


def states(verified: VerifiedEvidence[TpmQuote]) -> dict[str, CheckState]:
    return {check.title: check.state for check in verified.checks}


@pytest.mark.parametrize("forge", [RSA, PSS, ECC], ids=["rsassa", "rsapss", "ecdsa"])
@pytest.mark.parametrize("hash_name", ["sha256", "sha384", "sha512"])
@pytest.mark.parametrize("banks", [("sha256",), ("sha1",), ("sha1", "sha256", "sha384")])
def test_a_genuine_quote(forge: TpmForge, hash_name: str, banks: tuple[str, ...]) -> None:
    area = forge.public_area()
    quote = forge.quote(key=area, signer=forge.qualified_signer(area), hash_name=hash_name, banks=banks)
    found = verify(quote, forge)
    assert found.tee is Tee.TPM
    assert found.evidence is quote
    unchecked = {title for title, state in states(found).items() if state is not CheckState.PASSED}
    assert unchecked == {"Certificates valid now", "Not revoked"}
    assert found.facts["ak"] == forge.spki
    assert found.facts["event_log_proven"] == tuple(f"{bank} pcr{index}" for bank in banks for index in range(10))


def test_every_step_says_where_it_comes_from_and_what_it_is_worth() -> None:
    assert [step.number for step in tpm.RECIPE.steps] == [f"TPM-{number}" for number in range(1, 10)]
    assert all(step.source and step.fix and step.cost for step in tpm.RECIPE.steps)


def test_what_did_not_come_along_is_named_as_unchecked() -> None:
    pcrs = {"sha256": extended()}
    message = attest(pcrs)
    bare = of_parts(message, RSA.sign(message), key=RSA.spki)
    found = states(verify(bare))
    assert [title for title, state in found.items() if state is CheckState.UNCHECKED] == [
        "Certificates valid now", "Not revoked", "Key attests only", "PCR values", "Event log"
    ]  # fmt: skip
    assert any(
        "nothing in it is proven" in line for line in verify(replace(bare, event_log=RSA.quote().event_log)).unchecked
    )
    assert "nobody asked" in " ".join(verify(bare, challenge=Unchecked("nobody asked")).unchecked)


def test_a_key_that_came_another_way() -> None:
    quote = RSA.quote(key=b"")
    given = Endorsements(keys=(ECC.spki, RSA.spki))
    assert verify(quote, endorsements=given).facts["ak"] == RSA.spki
    for keys in ((), (ECC.spki,)):
        with pytest.raises(EndorsementUnavailable, match="without its attestation key, and 0 pinned"):
            verify(quote, endorsements=Endorsements(keys=keys))
    with pytest.raises(EndorsementUnavailable, match="2 pinned"):
        verify(quote, endorsements=given, anchors=RSA.anchors | ECC.anchors)


def test_a_key_that_nobody_vouches_for() -> None:
    with pytest.raises(ChainInvalid, match="neither pinned nor certified") as caught:
        verify(RSA.quote(), anchors=ECC.anchors)
    checks = [check for check in caught.value.checks if isinstance(check, Check)]
    assert [check.number for check in checks if check.state is CheckState.FAILED] == ["TPM-2"]


ROOT = Authority("TPM maker's root")
ISSUER = Authority("TPM maker's CA", ROOT)
CERTIFIED = TrustAnchors.testing(ROOT.certificate.spki, tees=[Tee.TPM])
CRLS = (revocation_list(ROOT), revocation_list(ISSUER))


def certificate(*extensions: tuple[str, bytes, bool], **changes: Any) -> Certificate:
    return issue("AK", ECC.ec.public_key(), ISSUER, extensions=extensions, **changes)


def certified(leaf: Certificate, **changes: Any) -> VerifiedEvidence[TpmQuote]:
    given = Endorsements(certificates=(ROOT.certificate, leaf, ISSUER.certificate), crls=changes.pop("crls", CRLS))
    return verify(ECC.quote(), ECC, **{"anchors": CERTIFIED, "endorsements": given} | changes)


@pytest.mark.parametrize("purpose", [AIK, EK])
def test_a_certified_key(purpose: bytes) -> None:
    found = certified(
        certificate((KEY_USAGE, SIGNS, True), (EXTENDED_KEY_USAGE, der_of(0x30, WEB_SERVER, purpose), False))
    )
    assert states(found)["Not revoked"] is CheckState.PASSED
    assert found.facts["ak_certificate"] == "AK"
    assert found.anchor.name == "testing root"
    assert claims(found)["ak_certificate"] == "AK"


def test_a_second_certificate_may_be_the_one_that_counts() -> None:
    wrong = issue("AK", ECC.ec.public_key(), Authority("somebody"))
    given = Endorsements(certificates=(wrong, certificate(), ISSUER.certificate, ROOT.certificate), crls=CRLS)
    assert verify(ECC.quote(), ECC, anchors=CERTIFIED, endorsements=given).facts["ak_certificate"] == "AK"


BAD_CERTIFICATES = {
    "a CA's": (certificate(ca=True), "is a CA's"),
    "for encryption": (certificate((KEY_USAGE, ENCRYPTS, True)), "not for a key that signs"),
    "for a web server": (
        certificate((EXTENDED_KEY_USAGE, der_of(0x30, WEB_SERVER), False)),
        "not for an attestation key",
    ),
    "of another root": (issue("AK", ECC.ec.public_key(), Authority("somebody")), "issuer of 'AK' is not at hand"),
    "of another key": (issue("AK", RSA.ec.public_key(), ISSUER), "neither pinned nor certified"),
}


@pytest.mark.parametrize(("leaf", "reason"), BAD_CERTIFICATES.values(), ids=BAD_CERTIFICATES)
def test_certificates_that_vouch_for_nothing(leaf: Certificate, reason: str) -> None:
    with pytest.raises(ChainInvalid, match=reason):
        certified(leaf)


def test_certificates_out_of_date() -> None:
    with pytest.raises(EndorsementUnavailable, match="'AK' has expired"):
        certified(certificate(end=NOW - YEAR / 2))
    with pytest.raises(EndorsementUnavailable, match="'AK' is not valid yet"):
        certified(certificate(start=NOW + YEAR))


def test_revocation() -> None:
    leaf = certificate()
    with pytest.raises(Revoked):
        certified(leaf, crls=(CRLS[0], revocation_list(ISSUER, leaf)))
    with pytest.raises(EndorsementUnavailable, match="not at hand"):
        certified(leaf, crls=())
    found = certified(leaf, crls=(), allow=NO_CRLS)
    assert any("unsafe_skip_revocation" in line for line in found.unchecked)


@pytest.mark.parametrize("attributes", [ATTESTATION_KEY & ~(1 << 16), ATTESTATION_KEY | 1 << 17, ATTESTATION_KEY & ~2])
def test_a_key_that_does_more_than_attest(attributes: int) -> None:
    with pytest.raises(BindingInvalid, match="not an attestation key"):
        verify(RSA.quote(key=RSA.public_area(attributes=attributes)))


def test_attributes_count_only_if_the_quote_names_them() -> None:
    area = RSA.public_area()
    proven = verify(RSA.quote(key=area, signer=RSA.qualified_signer(area)))
    word = verify(RSA.quote(key=area))
    assert states(proven)["Key attests only"] is CheckState.PASSED
    assert states(word)["Key attests only"] is CheckState.UNCHECKED


BAD_SIGNATURES: dict[str, tuple[TpmQuote, TpmForge, str]] = {
    "by another key": (replace(RSA.quote(), signature=SECOND.quote().signature), RSA, "does not verify"),
    "of the other padding": (replace(RSA.quote(), signature=PSS.quote().signature), RSA, "does not verify"),
    "with SHA-1": (RSA.quote(hash_name="sha1"), RSA, "signed with sha1: refused"),
    "with a key of 1024 bits": (SMALL.quote(), SMALL, "less than 2048 bits"),
    "of another scheme": (replace(RSA.quote(), signature=ECC.quote().signature), RSA, "needs an EC key"),
    "with an EC key": (replace(ECC.quote(), signature=RSA.quote().signature), ECC, "needs an RSA key"),
    "longer than any curve": (
        replace(ECC.quote(), signature=TpmSignature(scheme="ecdsa", digest="sha256", parts=(bytes(67), bytes(67)))),
        ECC,
        "longer than any curve",
    ),
}


@pytest.mark.parametrize(("quote", "forge", "reason"), BAD_SIGNATURES.values(), ids=BAD_SIGNATURES)
def test_signatures_that_do_not_count(quote: TpmQuote, forge: TpmForge, reason: str) -> None:
    with pytest.raises(SignatureInvalid, match=reason):
        verify(quote, forge)


def test_both_salts_that_tpms_use() -> None:
    message = attest({"sha256": extended()})
    for salt in (32, 256 - 32 - 2):
        verify(of_parts(message, PSS.sign(message, salt=salt), key=PSS.spki), PSS)
    with pytest.raises(SignatureInvalid):
        verify(of_parts(message, PSS.sign(message, salt=20), key=PSS.spki), PSS)


def test_a_bare_signature_is_rsassa_with_sha256() -> None:
    message = attest({"sha256": extended()})
    bare = of_parts(message, RSA.sign(message)[6:], key=RSA.spki)
    assert bare.signature.bare
    verify(bare)


@pytest.mark.parametrize("nonce", [NONCE + b"\0", NONCE[:-1], b"another nonce of 26 bytes!", NONCE.ljust(64, b"\0")])
def test_the_extra_data_is_the_nonce_and_nothing_else(nonce: bytes) -> None:
    with pytest.raises(NotFresh, match="extraData is not the nonce"):
        verify(RSA.quote(), challenge=Challenge(nonce))
    with pytest.raises(NotFresh):
        verify(RSA.quote(nonce=nonce))


def test_an_empty_extra_data_answers_nothing() -> None:
    with pytest.raises(NotFresh):
        verify(RSA.quote(nonce=b""))


def with_values(**banks: dict[int, bytes]) -> TpmQuote:
    quote = RSA.quote()
    return of_parts(quote.attest.signed, quote.signature.serialize(), key=RSA.spki, pcrs=banks)


BAD_VALUES = {
    "another value": ({"sha256": extended() | {7: bytes(32)}}, "not those that were signed"),
    "one too few": (
        {"sha256": {index: value for index, value in extended().items() if index != 3}},
        "not those that the quote selects",
    ),
    "one too many": ({"sha256": extended() | {24: bytes(32)}}, "not those that the quote selects"),
    "another bank": ({"sha384": extended(bank="sha384")}, "not those that the quote selects"),
    "a bank too many": ({"sha256": extended(), "sha1": {0: bytes(20)}}, "not those that the quote selects"),
}


@pytest.mark.parametrize(("banks", "reason"), BAD_VALUES.values(), ids=BAD_VALUES)
def test_values_that_were_not_signed(banks: dict[str, dict[int, bytes]], reason: str) -> None:
    with pytest.raises(BindingInvalid, match=reason):
        verify(with_values(**banks))


def test_values_of_two_pcrs_exchanged() -> None:
    values = extended()
    with pytest.raises(BindingInvalid, match="not those that were signed"):
        verify(with_values(sha256=values | {8: values[9], 9: values[8]}))


BAD_LOGS = {
    "an event more": (event_log((*BOOT, Measured(4, 5, b"x")), banks=("sha256",)), r"pcr4 "),
    "another kernel": (event_log((*BOOT[:-1], Measured(9, 0x0D, b"another kernel")), banks=("sha256",)), r"pcr9 "),
    "two events exchanged": (event_log((*BOOT[1:], BOOT[0]), banks=("sha256",)), r"pcr0 "),
    "a firmware register left out": (event_log(BOOT[:8] + BOOT[9:], banks=("sha256",)), r"pcr7 "),
    "another locality": (event_log((Measured(0, 3, b"StartupLocality\0\3"), *BOOT), banks=("sha256",)), r"pcr0 "),
}  # fmt: skip


@pytest.mark.parametrize(("log", "reason"), BAD_LOGS.values(), ids=BAD_LOGS)
def test_logs_that_do_not_give_the_values(log: bytes, reason: str) -> None:
    with pytest.raises(BindingInvalid, match=f"does not give the value of sha256 {reason}"):
        verify(RSA.quote(log=log))


def test_a_log_in_another_bank_proves_nothing_and_says_so() -> None:
    found = verify(RSA.quote(log=event_log(banks=("sha384",))))
    assert any("nothing in sha256" in line for line in found.unchecked)
    assert "events" not in claims(found)


def test_a_log_in_one_of_two_banks_proves_that_one() -> None:
    found = verify(RSA.quote(banks=("sha1", "sha256"), log=event_log(banks=("sha256",))))
    assert states(found)["Event log"] is CheckState.PASSED
    assert all(str(name).startswith("sha256") for name in claims(found)["event_log_proven"])  # type: ignore[union-attr]


def test_claims_and_measurements() -> None:
    quote = RSA.quote(banks=("sha1", "sha256"))
    made = claims(verify(quote))
    values, old = extended(), extended(bank="sha1")
    assert (made["pcr_bank"], made["pcr_banks"]) == ("sha256", ["sha1", "sha256"])
    assert all(made[f"pcr{index}"] == values[index].hex() for index in range(24))
    assert all(made[f"sha1_pcr{index}"] == old[index].hex() for index in range(24))
    assert (made["debug"], made["safe"], made["extra_data"], made["ak"]) == (False, True, NONCE.hex(), RSA.spki.hex())
    assert (made["signature_scheme"], made["signature_hash"]) == ("rsassa", "sha256")
    found = measurements(quote)
    assert len(found) == 48
    assert {one.kind for one in found} == {MeasurementKind.RUNTIME}
    assert (found[0].name, str(found[0].digest)) == ("pcr0", f"sha1:{old[0].hex()}")
    assert (found[24].name, str(found[24].digest)) == ("pcr0", f"sha256:{values[0].hex()}")


def test_events_show_only_what_was_measured() -> None:
    shown = claims(verify(RSA.quote()))["events"]
    assert isinstance(shown, list)
    texts = [(one[0], one[1], one[3]) for one in shown if isinstance(one, list)]
    assert ("pcr0", "EV_S_CRTM_VERSION", "firmware 1") in texts
    assert ("pcr8", "EV_IPL", "linux /vmlinuz") in texts  # the label "grub_cmd: " was not measured
    assert ("pcr9", "EV_IPL", "") in texts  # the name of the file was not measured
