"""Intel's signed statements, verified once and remembered: TCB info, QE identity, and the chains that sign them."""

import functools
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from cloister import _crypto
from cloister._x509 import Certificate, Crl
from cloister.endorse.anchors import TrustAnchors
from cloister.endorse.intel import IntelCollateral, QeIdentity, TcbInfo
from cloister.endorse.store import Endorsements
from cloister.errors import ChainInvalid, EndorsementUnavailable, SignatureInvalid
from cloister.model import Tee
from cloister.verification.chains import Chain, build_chain

__all__ = ["Statements", "current_statements", "statements_of"]

QE_IDS: Final = {Tee.SGX: "QE", Tee.TDX: "TD_QE"}
TCB_SIGNER: Final = "TCB Signing"
"""The common name of the certificate that signs statements contains it (PCK Certificate and CRL Profile, section 4)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Statements:
    """Collateral whose signatures hold. `start` and `end` bound the time in which all but the lists is valid."""

    tcb: TcbInfo
    qe: QeIdentity
    crls: tuple[Crl, ...]
    signers: tuple[Chain, ...]
    start: datetime
    end: datetime
    source: str

    @functools.cached_property
    def named(self) -> str:
        """How explanations call it."""
        return f"Intel TCB info of {self.tcb.issued:%Y-%m-%d}, tcbEvaluationDataNumber {self.tcb.evaluation}"


@functools.lru_cache(maxsize=256)
def statements_of(collateral: IntelCollateral, anchors: TrustAnchors) -> Statements:
    """Verify the signatures over a bundle's statements; SignatureInvalid or ChainInvalid if they do not hold."""
    tcb, qe = collateral.tcb, collateral.qe
    tcb_chain = _chain_of(collateral.tcb_info_chain, anchors, tcb.tee, "TCB info")
    _check_signature(tcb_chain, collateral.tcb_info, collateral.tcb_info_signature, "TCB info")
    qe_chain = _chain_of(collateral.qe_identity_chain, anchors, tcb.tee, "QE identity")
    _check_signature(qe_chain, collateral.qe_identity, collateral.qe_identity_signature, "QE identity")
    signers = tuple({tcb_chain, qe_chain})
    return Statements(
        tcb=tcb, qe=qe, crls=collateral.crls, signers=signers, source=collateral.source,
        start=max(tcb.issued, qe.issued, *(one.window[0] for one in signers)),
        end=min(tcb.next_update, qe.next_update, *(one.window[1] for one in signers)),
    )  # fmt: skip


def _chain_of(chain: tuple[Certificate, ...], anchors: TrustAnchors, tee: Tee, what: str) -> Chain:
    """From the certificate that may sign statements to an anchor for this TEE."""
    signers = [one for one in chain if not one.is_ca]
    if len(signers) != 1:
        raise ChainInvalid(f"{what}: its chain has {len(signers)} signing certificates; one is needed")
    if TCB_SIGNER not in signers[0].name:
        raise ChainInvalid(f"{what}: {signers[0].name!r} may not sign it", expected=TCB_SIGNER, actual=signers[0].name)
    return build_chain(signers[0], chain, anchors, tee)


def _check_signature(chain: Chain, text: bytes, signature: bytes, what: str) -> None:
    _crypto.verify_ecdsa_raw(_crypto.load_spki(chain[0].spki), signature, text, "sha256", what=f"{what}: its signature")


@functools.lru_cache(maxsize=1024)
def _for_platform(
    endorsements: Endorsements, anchors: TrustAnchors, tee: Tee, fmspc: bytes
) -> tuple[tuple[Statements, ...], str]:
    """All statements about a platform family, best first, and why others could not be used."""
    usable, refused = [], ""
    for collateral in endorsements.intel:
        if collateral.tcb.fmspc != fmspc or collateral.tcb.tee is not tee or collateral.qe.id != QE_IDS[tee]:
            continue
        try:
            usable.append(statements_of(collateral, anchors))
        except (SignatureInvalid, ChainInvalid) as error:
            refused = f"; {collateral.source or 'one at hand'} was refused: {error}"
    usable.sort(key=lambda one: (one.tcb.evaluation, one.tcb.issued), reverse=True)
    return tuple(usable), refused


def current_statements(
    endorsements: Endorsements, anchors: TrustAnchors, tee: Tee, fmspc: bytes, at: datetime
) -> Statements:
    """The statements about a platform family that are valid at that time, the highest evaluation number first."""
    found, refused = _for_platform(endorsements, anchors, tee, fmspc)
    for one in found:
        if one.start <= at <= one.end:
            return one
    how = f"`cloister collateral fetch --intel-fmspc {fmspc.hex()} --tee {tee}` gets it"
    if not found:
        raise EndorsementUnavailable(
            f"no Intel collateral for {tee.upper()} platforms with FMSPC {fmspc.hex()}{refused}; {how}",
            expected=fmspc, actual="none at hand", set_by="the PCK certificate",
        )  # fmt: skip
    one = found[0]
    when = "has expired" if at > one.end else "is not valid yet"
    how = how if at > one.end else "check the verifier's clock (--at), or import collateral of that time"
    raise EndorsementUnavailable(
        f"the Intel collateral for FMSPC {fmspc.hex()} {when}{refused}; {how}",
        expected=("from", one.start, "until", one.end), actual=at, set_by=one.named,
    )  # fmt: skip
