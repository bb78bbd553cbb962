"""Intel's TCB rules: from SVNs to a status, as Intel's Quote Verification Library decides them.

Follows its documented steps 4.1.2.5.18 and 4.1.2.9 (TcbLevelCheck, TdxModuleCheck, TDRelaunchCheck,
EnclaveReportVerifier). SGX and TDX levels are selected apart: the SGX level is the first whose SGX and PCE SVNs are
reached, the TDX level the first whose TDX SVNs are reached too.
"""

import functools
from collections.abc import Iterable, Sequence
from enum import StrEnum

from cloister.endorse.intel import EnclaveLevel, PckInfo, PlatformLevel, TcbInfo, TdxModule
from cloister.errors import BindingInvalid
from cloister.verification.recipe import Tcb

__all__ = ["TcbStatus", "find_module", "sgx_standing", "tdx_standing"]


class TcbStatus(StrEnum):
    """Intel's words. The last three are no value of a TCB level but conclusions of the verification library."""

    UP_TO_DATE = "UpToDate"
    SW_HARDENING_NEEDED = "SWHardeningNeeded"
    CONFIGURATION_NEEDED = "ConfigurationNeeded"
    CONFIGURATION_AND_SW_HARDENING_NEEDED = "ConfigurationAndSWHardeningNeeded"
    OUT_OF_DATE = "OutOfDate"
    OUT_OF_DATE_CONFIGURATION_NEEDED = "OutOfDateConfigurationNeeded"
    REVOKED = "Revoked"
    TD_RELAUNCH_ADVISED = "TDRelaunchAdvised"
    TD_RELAUNCH_ADVISED_CONFIGURATION_NEEDED = "TDRelaunchAdvisedConfigurationNeeded"
    NOT_SUPPORTED = "NotSupported"


CURRENT = frozenset({TcbStatus.UP_TO_DATE, TcbStatus.SW_HARDENING_NEEDED})
CURRENT_BUT_CONFIGURATION = frozenset({
    TcbStatus.CONFIGURATION_NEEDED, TcbStatus.CONFIGURATION_AND_SW_HARDENING_NEEDED,
})  # fmt: skip
OUT_OF_DATE = frozenset({TcbStatus.OUT_OF_DATE, TcbStatus.OUT_OF_DATE_CONFIGURATION_NEEDED})
CONFIGURATION = CURRENT_BUT_CONFIGURATION | {TcbStatus.OUT_OF_DATE_CONFIGURATION_NEEDED}


NOT_SUPPORTED = Tcb(status=TcbStatus.NOT_SUPPORTED)


@functools.lru_cache(maxsize=4096)
def sgx_standing(info: TcbInfo, pck: PckInfo, qe: EnclaveLevel | None) -> Tcb:
    """The status of an SGX platform. `qe` is the level that the quoting enclave reaches, None if it reaches none."""
    level = next((one for one in info.levels if _reaches(pck, one)), None)
    if level is None:
        return NOT_SUPPORTED
    return _standing(with_qe(TcbStatus(level.status), qe), [level, qe])


@functools.lru_cache(maxsize=4096)
def tdx_standing(info: TcbInfo, pck: PckInfo, qe: EnclaveLevel | None, svn: bytes, svn_now: bytes | None) -> Tcb:
    """The status of a TDX platform and its module.

    `svn` is TEE_TCB_SVN, at the TD's launch; `svn_now` TEE_TCB_SVN2, of the module that runs now, from TDX 1.5 on.
    """
    reached = [one for one in info.levels if _reaches(pck, one)]
    level = next((one for one in reached if _reaches_tdx(svn, one)), None)
    if level is None:
        return NOT_SUPPORTED
    module = find_module(info, svn[1])
    module_level = _first_reached(module.levels, svn[0]) if module.id else None
    if module.id and module_level is None:
        return NOT_SUPPORTED
    module_status = TcbStatus(module_level.status) if module_level else TcbStatus.UP_TO_DATE
    status = lowered(TcbStatus(level.status), module_status)
    if status is not TcbStatus.REVOKED and svn_now is not None:
        status = relaunch(info, TcbStatus(reached[0].status), status, module_status, qe, svn_now)
    if status is not TcbStatus.REVOKED:
        status = with_qe(status, qe)
    return _standing(status, [level, module_level, qe])


def _standing(status: TcbStatus, levels: Sequence[PlatformLevel | EnclaveLevel | None]) -> Tcb:
    known = [one for one in levels if one is not None]
    advisories = sorted({name for one in known for name in one.advisories})
    return Tcb(status=status, advisories=tuple(advisories), date=min(one.date for one in known))


def _reaches(pck: PckInfo, level: PlatformLevel) -> bool:
    return pck.pcesvn >= level.pcesvn and at_least(pck.components, level.sgx)


def _reaches_tdx(svn: bytes, level: PlatformLevel) -> bool:
    """Components 0 and 1 are the TDX module's own SVN and version; from version 1 on its identity judges them."""
    first = 2 if svn[1] > 0 else 0
    return at_least(svn[first:], level.tdx[first:])


def at_least(actual: Iterable[int], least: Iterable[int]) -> bool:
    """Whether every component is high enough."""
    return all(a >= b for a, b in zip(actual, least, strict=True))


def _first_reached(levels: Sequence[EnclaveLevel], isvsvn: int) -> EnclaveLevel | None:
    return next((one for one in levels if isvsvn >= one.isvsvn), None)


@functools.lru_cache(maxsize=1024)
def find_module(info: TcbInfo, version: int) -> TdxModule:
    """The TDX module that a quote's TEE_TCB_SVN[1] names; BindingInvalid if Intel's statement does not know it."""
    if version == 0 and info.module is not None:
        return info.module
    wanted = f"TDX_{version:02X}"
    found = next((one for one in info.modules if one.id == wanted), None)
    if found is None:
        raise BindingInvalid(
            f"the TDX module version {version} is not in Intel's TCB info",
            expected=[one.id for one in info.modules], actual=wanted, set_by="Intel TCB info",
        )  # fmt: skip
    return found


def lowered(status: TcbStatus, by: TcbStatus) -> TcbStatus:
    """A platform status, made worse by an outdated or revoked part."""
    if by is TcbStatus.REVOKED:
        return TcbStatus.REVOKED
    if by is TcbStatus.OUT_OF_DATE and status in CURRENT:
        return TcbStatus.OUT_OF_DATE
    if by is TcbStatus.OUT_OF_DATE and status in CURRENT_BUT_CONFIGURATION:
        return TcbStatus.OUT_OF_DATE_CONFIGURATION_NEEDED
    return status


def with_qe(status: TcbStatus, qe: EnclaveLevel | None) -> TcbStatus:
    """The status with the quoting enclave's, where any but UpToDate and Revoked counts as OutOfDate."""
    if qe is None:
        return TcbStatus.NOT_SUPPORTED
    if qe.status in {TcbStatus.UP_TO_DATE, TcbStatus.REVOKED}:
        return lowered(status, TcbStatus(qe.status))
    return lowered(status, TcbStatus.OUT_OF_DATE)


def relaunch(
    info: TcbInfo, sgx: TcbStatus, tdx: TcbStatus, module: TcbStatus, qe: EnclaveLevel | None, svn_now: bytes
) -> TcbStatus:
    """TDRelaunchAdvised: only the module at launch was out of date, and the one that runs now is the latest."""
    if qe is None or qe.status != TcbStatus.UP_TO_DATE or sgx not in CURRENT | CURRENT_BUT_CONFIGURATION:
        return tdx
    if tdx not in OUT_OF_DATE or module is not TcbStatus.OUT_OF_DATE:
        return tdx
    latest = info.levels[0]
    least = latest.tdx[0]
    if svn_now[1] > 0:
        levels = find_module(info, svn_now[1]).levels
        if not levels:
            return TcbStatus.NOT_SUPPORTED
        least = levels[0].isvsvn
    if svn_now[0] < least or svn_now[2] < latest.tdx[2]:
        return tdx
    if sgx in CONFIGURATION or tdx in CONFIGURATION:
        return TcbStatus.TD_RELAUNCH_ADVISED_CONFIGURATION_NEEDED
    return TcbStatus.TD_RELAUNCH_ADVISED
