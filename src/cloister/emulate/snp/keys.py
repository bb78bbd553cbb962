"""MSG_KEY_REQ: keys that the firmware derives for a guest, for sealing and the like.

AMD 56860, section on MSG_KEY_REQ. The guest selects what its key shall depend on: after a change of any selected field
it is another key. AMD's derivation is secret; here it is HMAC-SHA384 over the root and all inputs.
"""

import hashlib
import hmac
import struct
from enum import IntFlag
from typing import Final

from cloister.emulate.snp.chip import Chip
from cloister.emulate.snp.context import GuestContext
from cloister.emulate.snp.messages import KeyRequest, KeyResponse
from cloister.emulate.snp.report import HIGHEST_VMPL, INVALID_KEY_SELECTION, INVALID_PARAMS, SUCCESS
from cloister.errors import ParseError
from cloister.evidence.snp import Product, tcb_of

__all__ = ["FieldSelect", "RootKey", "answer_key_request", "tcb_within"]

LABEL: Final = b"gmsg-keyreq"


class RootKey:
    """ROOT_KEY_SELECT."""

    VCEK: Final = 0
    VMRK: Final = 1


class FieldSelect(IntFlag):
    """GUEST_FIELD_SELECT: what of the guest goes into its key."""

    POLICY = 1 << 0
    IMAGE_ID = 1 << 1
    FAMILY_ID = 1 << 2
    MEASUREMENT = 1 << 3
    GUEST_SVN = 1 << 4
    TCB_VERSION = 1 << 5


DEFINED: Final = sum(FieldSelect)


def answer_key_request(chip: Chip, context: GuestContext, payload: bytes, *, vmpck: int) -> bytes:
    """MSG_KEY_RSP's payload: INVALID_PARAMS for a VMPL above the caller's, an SVN or TCB above what is there."""
    try:
        request = KeyRequest.parse(payload)
    except ParseError:
        return _response(INVALID_PARAMS)
    if request.root_key_select not in {RootKey.VCEK, RootKey.VMRK}:
        return _response(INVALID_KEY_SELECTION)
    if not _allowed(request, chip, context, vmpck):
        return _response(INVALID_PARAMS)
    return _response(SUCCESS, _derive(request, chip, context))


def _allowed(request: KeyRequest, chip: Chip, context: GuestContext, vmpck: int) -> bool:
    if request.guest_field_select & ~DEFINED or not vmpck <= request.vmpl <= HIGHEST_VMPL:
        return False
    return request.guest_svn <= context.guest_svn and tcb_within(request.tcb_version, chip.tcb, chip.product)


def tcb_within(tcb: bytes, most: bytes, product: Product) -> bool:
    """Whether no component of a TCB version is above another's; not if it is none of this product."""
    try:
        lower, upper = tcb_of(tcb, product), tcb_of(most, product)
    except ParseError:
        return False
    levels = zip(lower.fields(), upper.fields(), strict=True)
    return all(mine <= other for (name, mine), (_, other) in levels if not name.startswith("reserved"))


def _derive(request: KeyRequest, chip: Chip, context: GuestContext) -> bytes:
    """Which fields are selected is itself an input, so that leaving one out is not the same as zeros in it."""
    selected = FieldSelect(request.guest_field_select)
    tcb = request.tcb_version if FieldSelect.TCB_VERSION in selected else bytes(8)
    root = chip.derive(b"guest keys", tcb) if request.root_key_select == RootKey.VCEK else context.vmrk
    fields = (
        (FieldSelect.POLICY, struct.pack("<Q", context.policy)),
        (FieldSelect.IMAGE_ID, context.image_id),
        (FieldSelect.FAMILY_ID, context.family_id),
        (FieldSelect.MEASUREMENT, context.digest),
        (FieldSelect.GUEST_SVN, struct.pack("<I", request.guest_svn)),
        (FieldSelect.TCB_VERSION, tcb),
    )
    mixed = b"".join(value if field in selected else bytes(len(value)) for field, value in fields)
    head = struct.pack("<IQI", request.root_key_select, selected, request.vmpl)
    # These always count here: the host's data and the owners' keys, so that a key is never another owner's.
    identity = context.host_data + context.id_key_digest + context.author_key_digest
    return hmac.digest(root, LABEL + head + mixed + identity, hashlib.sha384)[:32]


def _response(status: int, key: bytes = bytes(32)) -> bytes:
    return KeyResponse(status=status, key=key).serialize()
