"""Intel's statements about platforms and quoting enclaves, as JSON (Intel PCS API documentation, version 4).

TCB info version 3 and QE identity version 2. What is signed is the text, so it is written once: `written` makes it.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from cloister.emulate.vendors.intel_platform import TEE_TCB_SVN, Platform
from cloister.model import Tee

__all__ = [
    "QE_ATTRIBUTES",
    "QE_IDENTITIES",
    "QE_ISVSVN",
    "QE_SIGNER",
    "VALID",
    "Level",
    "qe_identity",
    "stamp",
    "tcb_info",
    "written",
]

VALID: Final = timedelta(days=30)
"""How long a statement counts, as Intel's do."""
EVALUATION: Final = 17
"""tcbEvaluationDataNumber: which TCB recovery the statements know of."""
SINCE: Final = "2025-05-14T00:00:00Z"
QE_SIGNER: Final = hashlib.sha256(b"the signer of Cloister's emulated quoting enclaves").digest()
QE_IDENTITIES: Final = {Tee.SGX: ("QE", 1), Tee.TDX: ("TD_QE", 2)}
"""Name and ISVPRODID of the quoting enclaves."""
QE_ISVSVN: Final = 4
QE_ATTRIBUTES: Final = bytes.fromhex("11" + 15 * "00")
"""INIT and PROVISIONKEY. The mask leaves MODE64BIT and all of XFRM open, as Intel's does."""
TDX_COMPONENTS: Final = (4, 0, 5, *(13 * (0,)))
"""What a TDX platform must reach. Components 0 and 1 are the module's own: its identity judges those."""
MODULE: Final = {"mrsigner": "00" * 48, "attributes": "00" * 8, "attributesMask": "FF" * 8}
"""An Intel-signed production module has MRSIGNERSEAM and SEAMATTRIBUTES zero."""


@dataclass(frozen=True, kw_only=True)
class Level:
    """A TCB level of a platform: the SVNs that reach it, and what its manufacturer thinks of it."""

    components: tuple[int, ...]
    pcesvn: int
    status: str = "UpToDate"
    advisories: Sequence[str] = ()

    def members(self, tee: Tee) -> dict[str, Any]:
        """As it stands in TCB info, version 3."""
        tcb: dict[str, Any] = {"sgxtcbcomponents": [{"svn": svn} for svn in self.components], "pcesvn": self.pcesvn}
        if tee is Tee.TDX:
            tcb["tdxtcbcomponents"] = [{"svn": svn} for svn in TDX_COMPONENTS]
        known = {"advisoryIDs": list(self.advisories)} if self.advisories else {}
        return {"tcb": tcb, "tcbDate": SINCE, "tcbStatus": self.status} | known


def tcb_info(tee: Tee, platform: Platform, levels: Sequence[Level], *, at: datetime) -> dict[str, Any]:
    """TCB info about a platform family, issued at that time, good for 30 days."""
    members: dict[str, Any] = {"id": tee.upper(), "version": 3} | _dates(at) | {
        "fmspc": platform.fmspc.hex().upper(), "pceId": platform.pce_id.hex().upper(), "tcbType": 0,
        "tcbEvaluationDataNumber": EVALUATION,
    }  # fmt: skip
    if tee is Tee.TDX:
        name = f"TDX_{TEE_TCB_SVN[1]:02X}"
        members |= {
            "tdxModule": MODULE,
            "tdxModuleIdentities": [{"id": name, **MODULE, "tcbLevels": _module_levels()}],
        }
    return members | {"tcbLevels": [one.members(tee) for one in levels]}


def _module_levels() -> list[dict[str, Any]]:
    return [
        {"tcb": {"isvsvn": TEE_TCB_SVN[0]}, "tcbDate": SINCE, "tcbStatus": "UpToDate"},
        {
            "tcb": {"isvsvn": 3}, "tcbDate": "2023-08-09T00:00:00Z", "tcbStatus": "OutOfDate",
            "advisoryIDs": ["EMULATED-SA-00003"],
        },
    ]  # fmt: skip


def qe_identity(tee: Tee, *, at: datetime, status: str = "UpToDate") -> dict[str, Any]:
    """The identity of the quoting enclave of SGX or of TDX, issued at that time, good for 30 days."""
    name, product = QE_IDENTITIES[tee]
    return {"id": name, "version": 2} | _dates(at) | {
        "tcbEvaluationDataNumber": EVALUATION, "miscselect": "00000000", "miscselectMask": "FFFFFFFF",
        "attributes": QE_ATTRIBUTES.hex().upper(), "attributesMask": "FBFFFFFFFFFFFFFF" + 8 * "00",
        "mrsigner": QE_SIGNER.hex().upper(), "isvprodid": product,
        "tcbLevels": [{"tcb": {"isvsvn": QE_ISVSVN}, "tcbDate": SINCE, "tcbStatus": status}],
    }  # fmt: skip


def _dates(at: datetime) -> dict[str, str]:
    return {"issueDate": stamp(at), "nextUpdate": stamp(at + VALID)}


def stamp(time: datetime) -> str:
    """A time as Intel writes it."""
    return f"{time.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def written(members: Mapping[str, Any]) -> bytes:
    """The text of a statement, without white space, as Intel sends and signs it."""
    return json.dumps(members, separators=(",", ":")).encode()
