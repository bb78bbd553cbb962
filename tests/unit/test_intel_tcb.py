"""Intel's TCB rules on forged statements: every status, and how the parts lower it."""

import json
from typing import Any

import pytest
from tests.forge.intel import IntelForge, Platform, td_report
from tests.forge.x509 import NOW

from cloister.endorse.intel import EnclaveLevel, IntelCollateral, qe_identity, tcb_info
from cloister.errors import BindingInvalid, ParseError
from cloister.evidence import sgx as sgx_evidence
from cloister.evidence import tdx as tdx_evidence
from cloister.evidence.tdx import TdReport15
from cloister.model import Tee, Unchecked
from cloister.verification import sgx, tdx
from cloister.verification.intel_tcb import TcbStatus, lowered, with_qe

FORGE = IntelForge()
UNASKED = Unchecked("no nonce in this test")


def sgx_status(**collateral: Any) -> str:
    found = sgx.verify(
        sgx_evidence.parse(FORGE.sgx_quote()), anchors=FORGE.anchors, endorsements=FORGE.endorsements(**collateral),
        at=NOW, challenge=UNASKED,
    )  # fmt: skip
    return found.tcb.status


def tdx_status(body: Any, **collateral: Any) -> str:
    version = 5 if isinstance(body, TdReport15) else 4
    found = tdx.verify(
        tdx_evidence.parse(FORGE.tdx_quote(version=version, body=body)), anchors=FORGE.anchors,
        endorsements=FORGE.endorsements(Tee.TDX, **collateral), at=NOW, challenge=UNASKED,
    )  # fmt: skip
    return found.tcb.status


def svn(*first: int) -> bytes:
    return bytes(first).ljust(16, b"\0")


PLATFORM = ("UpToDate", "SWHardeningNeeded", "ConfigurationNeeded", "ConfigurationAndSWHardeningNeeded", "OutOfDate",
            "OutOfDateConfigurationNeeded", "Revoked")  # fmt: skip


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("status", PLATFORM)
def test_a_level_s_status_is_the_platform_s(status: str, version: int) -> None:
    assert sgx_status(tcb_info=FORGE.tcb_info(status=status, version=version)) == status


@pytest.mark.parametrize(
    ("platform", "expected"),
    [
        ("UpToDate", "OutOfDate"), ("SWHardeningNeeded", "OutOfDate"),
        ("ConfigurationNeeded", "OutOfDateConfigurationNeeded"),
        ("ConfigurationAndSWHardeningNeeded", "OutOfDateConfigurationNeeded"),
        ("OutOfDate", "OutOfDate"), ("Revoked", "Revoked"),
    ],
)  # fmt: skip
def test_an_outdated_quoting_enclave_lowers_it(platform: str, expected: str) -> None:
    identity = FORGE.qe_identity(status="OutOfDate")
    assert sgx_status(tcb_info=FORGE.tcb_info(status=platform), qe_identity=identity) == expected


@pytest.mark.parametrize("platform", PLATFORM)
def test_a_revoked_quoting_enclave_revokes(platform: str) -> None:
    assert (
        sgx_status(tcb_info=FORGE.tcb_info(status=platform), qe_identity=FORGE.qe_identity(status="Revoked"))
        == "Revoked"
    )


def test_a_quoting_enclave_below_every_level_is_not_supported() -> None:
    level = {"tcb": {"isvsvn": 99}, "tcbDate": "2025-05-14T00:00:00Z", "tcbStatus": "UpToDate"}
    assert sgx_status(qe_identity=FORGE.qe_identity(tcbLevels=[level])) == "NotSupported"


def test_a_platform_below_every_level_is_not_supported() -> None:
    forge = IntelForge(platform=Platform(components=(0,) * 16))
    high = FORGE.tcb_info()
    found = sgx.verify(
        sgx_evidence.parse(forge.sgx_quote()), anchors=forge.anchors, endorsements=forge.endorsements(tcb_info=high),
        at=NOW, challenge=UNASKED,
    )  # fmt: skip
    assert found.tcb.status == "NotSupported"


def test_levels_are_tried_highest_first_whatever_their_order() -> None:
    text = json.loads(FORGE.tcb_info(status="SWHardeningNeeded"))
    backwards = text | {"tcbLevels": text["tcbLevels"][::-1]}
    assert sgx_status(tcb_info=json.dumps(backwards).encode()) == "SWHardeningNeeded"


# ---------------------------------------------------------------- TDX


def test_an_outdated_module_lowers_it() -> None:
    assert tdx_status(td_report(tee_tcb_svn=svn(3, 1, 5))) == "OutOfDate"


def test_a_module_below_every_level_is_not_supported() -> None:
    assert tdx_status(td_report(tee_tcb_svn=svn(1, 1, 5))) == "NotSupported"


def test_an_unknown_module_version_is_refused() -> None:
    with pytest.raises(BindingInvalid, match="TDX module version 9"):
        tdx_status(td_report(tee_tcb_svn=svn(7, 9, 5)))


def test_a_module_signed_by_somebody_else_is_refused() -> None:
    with pytest.raises(BindingInvalid, match="TDX module is not the one"):
        tdx_status(td_report(mrsignerseam=b"\1" + bytes(47)))


def test_module_attributes_must_be_zero() -> None:
    with pytest.raises(BindingInvalid, match="TDX module is not the one"):
        tdx_status(td_report(seamattributes=b"\1" + bytes(7)))


def test_components_0_and_1_count_only_for_module_version_0() -> None:
    assert tdx_status(td_report(tee_tcb_svn=svn(4, 0, 5))) == "UpToDate"
    assert tdx_status(td_report(tee_tcb_svn=svn(3, 0, 5))) == "NotSupported"


def relaunched(now: bytes) -> Any:
    return td_report(TdReport15, tee_tcb_svn=svn(3, 1, 5), tee_tcb_svn2=now)


def test_relaunch_is_advised_when_only_the_module_at_launch_was_old() -> None:
    assert tdx_status(relaunched(svn(7, 1, 5))) == "TDRelaunchAdvised"
    assert tdx_status(relaunched(svn(4, 0, 5))) == "TDRelaunchAdvised"


def test_relaunch_is_not_advised_when_the_module_is_still_old() -> None:
    assert tdx_status(relaunched(svn(6, 1, 5))) == "OutOfDate"
    assert tdx_status(relaunched(svn(7, 1, 4))) == "OutOfDate"


def test_relaunch_with_configuration() -> None:
    info = FORGE.tcb_info(Tee.TDX, status="ConfigurationNeeded")
    assert tdx_status(relaunched(svn(7, 1, 5)), tcb_info=info) == "TDRelaunchAdvisedConfigurationNeeded"


def test_relaunch_is_not_advised_with_an_old_quoting_enclave() -> None:
    identity = FORGE.qe_identity(Tee.TDX, status="OutOfDate")
    assert tdx_status(relaunched(svn(7, 1, 5)), qe_identity=identity) == "OutOfDate"


# ---------------------------------------------------------------- laws


@pytest.mark.parametrize("status", TcbStatus)
def test_nothing_gets_better_by_another_part(status: TcbStatus) -> None:
    assert lowered(status, TcbStatus.UP_TO_DATE) is status
    assert lowered(status, TcbStatus.REVOKED) is TcbStatus.REVOKED
    assert lowered(status, TcbStatus.OUT_OF_DATE) is not TcbStatus.UP_TO_DATE
    assert with_qe(status, None) is TcbStatus.NOT_SUPPORTED


def test_an_unusual_status_of_the_quoting_enclave_counts_as_out_of_date() -> None:
    level = EnclaveLevel(isvsvn=1, status="SWHardeningNeeded", date=NOW, advisories=())
    assert with_qe(TcbStatus.UP_TO_DATE, level) is TcbStatus.OUT_OF_DATE


# ---------------------------------------------------------------- statements that are refused

BAD_STATEMENTS: dict[str, tuple[dict[str, Any], str]] = {
    "an unknown version": ({"version": 9}, "version"),
    "an unknown id": ({"id": "XYZ"}, "id"),
    "an FMSPC of five bytes": ({"fmspc": "0011223344"}, "fmspc"),
    "an FMSPC that is not hexadecimal": ({"fmspc": "zz1122334455"}, "fmspc"),
    "a date that is none": ({"issueDate": "2026-13-01T00:00:00Z"}, "issueDate"),
    "a date with an offset": ({"issueDate": "2026-01-01T00:00:00+01:00"}, "issueDate"),
    "levels that are no list": ({"tcbLevels": {}}, "tcbLevels"),
    "more levels than anybody needs": ({"tcbLevels": [{}] * 1000}, "tcbLevels"),
    "a level without its TCB": ({"tcbLevels": [{"tcbStatus": "UpToDate"}]}, "tcb"),
    "a negative evaluation number": ({"tcbEvaluationDataNumber": -1}, "tcbEvaluationDataNumber"),
    "an evaluation number that is a truth value": ({"tcbEvaluationDataNumber": True}, "tcbEvaluationDataNumber"),
}


@pytest.mark.parametrize("fault", BAD_STATEMENTS)
def test_bad_tcb_info(fault: str) -> None:
    changes, field = BAD_STATEMENTS[fault]
    text = json.dumps(json.loads(FORGE.tcb_info()) | changes).encode()
    with pytest.raises(ParseError) as caught:
        tcb_info(text)
    assert caught.value.field == field


def test_a_bundle_whose_text_is_no_text() -> None:
    with pytest.raises(ParseError, match="is not text"):
        IntelCollateral.from_json(b'{"tcb_info": "\\ud800"}')


def test_bad_qe_identity() -> None:
    with pytest.raises(ParseError, match="tcbStatus"):
        qe_identity(FORGE.qe_identity(status="Splendid"))
    with pytest.raises(ParseError, match="version"):
        qe_identity(FORGE.qe_identity(version=1))
