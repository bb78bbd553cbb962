"""One entry of `attestation` -> a Rule, with the checks that need more than one key.

Default deny: a rule names the program, by its measurement or its signer; only a vendor's hardware vouches; debug and
test roots are refused; a signer's old versions are a choice that must be written down.
"""

from typing import Final

from cloister._yaml import wrong
from cloister.appraise.known_claims import EVERYWHERE, PROGRAM, is_known
from cloister.broker.session.grammar import Found
from cloister.broker.session.language import spelled
from cloister.broker.session.references import LOOKS_LIKE
from cloister.broker.session.session import Rule
from cloister.model import Tee

__all__ = ["MEASUREMENT_CLAIM", "SIGNER_CLAIM", "VERSION_CLAIM", "rule_of"]

MEASUREMENT_CLAIM: Final = {tee: next(iter(names)) for tee, names in PROGRAM.items() if len(names) == 1}
"""The claim that names the program, for each TEE that a session may demand."""
SIGNER_CLAIM: Final = {Tee.SGX: "mrsigner", Tee.SNP: "id_key_digest"}
VERSION_CLAIM: Final = {Tee.SGX: "isvsvn", Tee.SNP: "guest_svn"}

MEASUREMENT_SIZES: Final = {
    Tee.SOFTWARE: {32}, Tee.SGX: {32}, Tee.TDX: {48}, Tee.SNP: {48}, Tee.SEV: {32}, Tee.CCA: {32, 48, 64},
    Tee.KEYSTONE: {64},
}  # fmt: skip
"""Bytes. A measurement of another size can never match, and would refuse everything without a word."""
SIGNER_SIZES: Final = {Tee.SGX: 32, Tee.SNP: 48}
WITH_TCB_STATUS: Final = frozenset({Tee.SGX, Tee.TDX})
"""TEEs whose vendor publishes a standing of the platform."""
NOT_HARDWARE: Final = {
    Tee.SOFTWARE: ("software", "a software enclave is vouched for by its host's key"),
    Tee.CCA: ("owner", "no CCA root is known here: the owner of the devices says which keys are theirs"),
    Tee.KEYSTONE: ("owner", "no Keystone root is known here: the owner of the devices says which keys are theirs"),
}
"""TEEs for which no vendor's root exists, so that the default would refuse everything."""


def rule_of(found: Found) -> Rule:
    """The rule, or PolicyError."""
    tee = Tee(found.text("tee"))
    _check_program(found, tee)
    _check_platform(found, tee)
    _check_claims(found, tee)
    anchors = {one.text for one in found.words("anchors")} or {"hardware"}
    return Rule(
        tee=tee, place=found.place, places=found.places,
        measurements=frozenset(one.text.lower() for one in found.words("measurement")),
        signer=found.text("signer").lower(), product=found.whole("product"),
        minimum_security_version=found.whole("minimum_security_version"),
        tolerate=frozenset(one.text for one in found.words("tolerate")),
        ignore_advisories=frozenset(one.text for one in found.words("ignore_advisories")),
        claims=spelled(found.pairs("claims")),
        anchors=frozenset(anchors | ({"testing"} if found.flag("unsafe_accept_testing") else set())),
        unsafe_allow_debug=found.flag("unsafe_allow_debug"),
    )  # fmt: skip


def _check_program(found: Found, tee: Tee) -> None:
    """It says which program."""
    for one in found.words("measurement"):
        if len(one.text) // 2 not in MEASUREMENT_SIZES[tee]:
            sizes = " or ".join(str(2 * size) for size in sorted(MEASUREMENT_SIZES[tee]))
            raise wrong(
                one.place,
                f"a {MEASUREMENT_CLAIM[tee]} of {tee} has {sizes} hexadecimal digits, these are {len(one.text)}",
            )
    if "signer" not in found:
        if "measurement" not in found:
            raise wrong(found.place, "this lets any program in; name it with `measurement:` or `signer:`")
        if "product" in found:
            raise wrong(found.at("product"), "`product` has a meaning together with `signer` only; remove it")
    else:
        _check_signer(found, tee)
    if "minimum_security_version" in found and tee not in VERSION_CLAIM:
        raise wrong(found.at("minimum_security_version"), f"evidence of {tee} has no security version; remove it")


def _check_signer(found: Found, tee: Tee) -> None:
    if tee not in SIGNER_CLAIM:
        raise wrong(found.at("signer"), f"evidence of {tee} does not say who signed the program; use `measurement:`")
    if len(found.text("signer")) != 2 * SIGNER_SIZES[tee]:
        raise wrong(found.at("signer"), f"a {SIGNER_CLAIM[tee]} has {2 * SIGNER_SIZES[tee]} hexadecimal digits")
    if "minimum_security_version" not in found:
        raise wrong(
            found.at("signer"), "a signer's old versions with known holes would get secrets too; add "
            "`minimum_security_version:` (0 if all are good)"
        )  # fmt: skip
    if tee is Tee.SGX and "product" not in found:
        raise wrong(
            found.at("signer"), "every enclave of this signer would get secrets; add `product:` (ISVPRODID; many "
            "signers leave it 0)"
        )  # fmt: skip
    if tee is not Tee.SGX and "product" in found:
        raise wrong(found.at("product"), f"evidence of {tee} has no product number; remove it")


def _check_platform(found: Found, tee: Tee) -> None:
    """What it says about the platform can have an effect."""
    for key in ("tolerate", "ignore_advisories"):
        if key in found and tee not in WITH_TCB_STATUS:
            raise wrong(
                found.at(key), f"the vendor of {tee} publishes no TCB status and no advisories in evidence; remove it"
            )
    if "ignore_advisories" in found and "tolerate" not in found:
        raise wrong(
            found.at("ignore_advisories"), "advisories come with a TCB status that is not the best; add `tolerate:` too"
        )
    anchors = {one.text for one in found.words("anchors")} or {"hardware"}
    if tee in NOT_HARDWARE and not found.flag("unsafe_accept_testing") and anchors == {"hardware"}:
        needed, because = NOT_HARDWARE[tee]
        raise wrong(found.at("anchors"), f"{because}; add `anchors: [{needed}]` if that is enough for these secrets")


def _check_claims(found: Found, tee: Tee) -> None:
    """Other claims are of this TEE, and not said twice."""
    own = EVERYWHERE | PROGRAM[tee] | {SIGNER_CLAIM.get(tee, ""), VERSION_CLAIM.get(tee, "")}
    place = found.at("claims")
    for name, value in spelled(found.pairs("claims")).items():
        if name in own:
            raise wrong(place, f"the claim {name} has a key of its own in this entry, or may not be chosen; remove it")
        if not is_known(tee, name):
            raise wrong(place, f"evidence of {tee} has no claim {name}; docs/policy-file.md lists them")
        if isinstance(value, str) and LOOKS_LIKE.search(value):
            raise wrong(place, "the host sees what evidence claims: a secret has no place here")
