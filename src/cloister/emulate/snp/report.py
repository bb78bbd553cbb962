"""MSG_REPORT_REQ: the firmware's report on a guest, in the exact layout, signed with the chip's VCEK.

AMD 56860, section 7.3. Everything in it comes from the guest's context and the chip; 64 bytes are the guest's own.
"""

from typing import Any, Final

from cloister.emulate.snp.chip import BUILD, MAJOR, MINOR, Chip
from cloister.emulate.snp.context import NO_MIGRATION_AGENT, GuestContext
from cloister.emulate.snp.messages import ReportRequest, ReportResponseHeader
from cloister.errors import ParseError
from cloister.evidence.sev_keys import EcSignature
from cloister.evidence.snp import ECDSA_P384_SHA384, SIGNED, Product, Report, ReportV3, ReportV5, SigningKey

__all__ = ["HIGHEST_VMPL", "INVALID_KEY_SELECTION", "INVALID_PARAMS", "SUCCESS", "answer_report_request", "report_of"]

SUCCESS: Final = 0x00
INVALID_PARAMS: Final = 0x16
INVALID_KEY_SELECTION: Final = 0x27
"""STATUS in the answers to guest messages (56860, MSG_REPORT_RSP and MSG_KEY_RSP)."""

HIGHEST_VMPL: Final = 3
UNSIGNED: Final = EcSignature(r=bytes(72), s=bytes(72))


def answer_report_request(chip: Chip, context: GuestContext, payload: bytes, *, vmpck: int) -> bytes:
    """MSG_REPORT_RSP's payload. A guest may speak for its own VMPL, which its key stands for, and for lesser ones."""
    try:
        request = ReportRequest.parse(payload)
    except ParseError:
        return _response(INVALID_PARAMS, b"")
    if not vmpck <= request.vmpl <= HIGHEST_VMPL:
        return _response(INVALID_PARAMS, b"")
    kind = _signer(chip, request.key_select)
    if kind is None:
        return _response(INVALID_KEY_SELECTION, b"")
    return _response(SUCCESS, report_of(chip, context, request, kind))


def _signer(chip: Chip, selected: int) -> SigningKey | None:
    """KEY_SEL: 0 the VLEK if one is loaded, else the VCEK; 1 the VCEK; 2 the VLEK. None if there is no such key."""
    if chip.config.mask_chip_key:
        return SigningKey.NONE if selected in {0, 1, 2} else None
    loaded = SigningKey.VLEK if chip.provider else None
    return {0: loaded or SigningKey.VCEK, 1: SigningKey.VCEK, 2: loaded}.get(selected)


def report_of(chip: Chip, context: GuestContext, request: ReportRequest, kind: SigningKey) -> bytes:
    """The report, 1184 bytes: signed, unless the platform's owner masks the key."""
    report = _body(chip, context, request, kind)
    if kind is SigningKey.NONE:
        return report.serialize()
    return chip.sign(report.serialize()[:SIGNED], kind)


def _response(status: int, report: bytes) -> bytes:
    return ReportResponseHeader(status=status, report_size=len(report)).serialize() + report


def _body(chip: Chip, context: GuestContext, request: ReportRequest, kind: SigningKey) -> Report:
    """Version 3 of the report; on Turin version 5, with the vectors of mitigations, of which there are none here."""
    signer = context.author_key | chip.config.mask_chip_key << 1 | kind << 2
    # A provider's key is the same in all of its chips: the reports that we know do not name the chip then.
    hidden = chip.config.mask_chip_id or kind is SigningKey.VLEK
    chip_id = bytes(64) if hidden else chip.chip_id
    fields: dict[str, Any] = dict(  # noqa: C408 - as the constructor is written
        guest_svn=context.guest_svn, policy=context.policy, family_id=context.family_id, image_id=context.image_id,
        vmpl=request.vmpl, signature_algo=ECDSA_P384_SHA384, current_tcb=chip.tcb, platform_info=int(chip.info),
        signer_info=signer, report_data=request.report_data, measurement=context.digest,
        host_data=context.host_data, id_key_digest=context.id_key_digest, author_key_digest=context.author_key_digest,
        report_id=context.report_id, report_id_ma=NO_MIGRATION_AGENT, reported_tcb=chip.reported_tcb,
        cpuid_fam_id=chip.model.family, cpuid_mod_id=chip.model.model, cpuid_step=chip.model.stepping,
        chip_id=chip_id, committed_tcb=chip.tcb, current_build=BUILD, current_minor=MINOR, current_major=MAJOR,
        committed_build=BUILD, committed_minor=MINOR, committed_major=MAJOR, launch_tcb=context.launch_tcb,
        signature=UNSIGNED,
    )  # fmt: skip
    if chip.product is Product.TURIN:
        return ReportV5(**fields, launch_mit_vector=0, current_mit_vector=0)
    return ReportV3(**fields)
