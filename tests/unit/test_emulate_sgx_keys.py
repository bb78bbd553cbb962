"""EREPORT and EGETKEY: on what each key depends, who may have it, and who can check a report."""

from dataclasses import replace
from typing import Any

import pytest
from tests.machines.sgx import FUSES, draft

from cloister.emulate.sgx.keys import cmac, egetkey, ereport, report_key
from cloister.emulate.sgx.outcomes import Code, Fault
from cloister.emulate.sgx.structures import Attribute, Attributes, KeyDependencies, KeyName, KeyPolicy, KeyRequest, Secs
from cloister.emulate.vendors.intel_reports import TargetInfo

FLAGS = Attribute.INIT | Attribute.MODE64BIT | Attribute.KSS | Attribute.PROVISIONKEY | Attribute.EINITTOKENKEY
ALL = (1 << 64) - 1
EVERYTHING = Attributes(flags=ALL, xfrm=ALL)
POLICY = KeyPolicy.MRENCLAVE | KeyPolicy.MRSIGNER | KeyPolicy.CONFIGID | KeyPolicy.ISVFAMILYID | KeyPolicy.ISVEXTPRODID


def enclave(**changes: Any) -> Secs:
    values: dict[str, Any] = {
        "attributes": Attributes(flags=FLAGS, xfrm=3), "mrenclave": b"e" * 32, "mrsigner": b"s" * 32, "isvprodid": 7,
        "isvsvn": 3, "configsvn": 2, "configid": b"c" * 64, "isvfamilyid": b"f" * 16, "isvextprodid": b"x" * 16,
    }  # fmt: skip
    return draft(**values | changes)


def request(name: int, **changes: Any) -> KeyRequest:
    values: dict[str, Any] = {
        "keyname": name, "keypolicy": POLICY, "isvsvn": 3, "cpusvn": FUSES.cpusvn, "attributemask": EVERYTHING,
        "keyid": bytes(32), "miscmask": 0, "configsvn": 2,
    }  # fmt: skip
    return KeyRequest(**values | changes)


def test_cmac_is_the_standards() -> None:
    """NIST SP 800-38B, appendix D.1, examples 1 and 2."""
    key = bytes.fromhex("2b7e151628aed2a6abf7158809cf4f3c")
    assert cmac(key, b"").hex() == "bb1d6929e95937287fa37d129b756746"
    assert cmac(key, bytes.fromhex("6bc1bee22e409f96e93d7e117393172a")).hex() == "070a16b46b4d4144f79bdd9dd04a287c"


# ---------------------------------------------------------------- dependence

SECS_CHANGES: dict[str, dict[str, Any]] = {
    "mrenclave": {"mrenclave": b"E" * 32},
    "mrsigner": {"mrsigner": b"S" * 32},
    "isvprodid": {"isvprodid": 8},
    "isvsvn": {"isvsvn": 4},
    "debug": {"attributes": Attributes(flags=FLAGS | Attribute.DEBUG, xfrm=3)},
    "xfrm": {"attributes": Attributes(flags=FLAGS, xfrm=7)},
    "configid": {"configid": b"C" * 64},
    "configsvn": {"configsvn": 3},
    "isvfamilyid": {"isvfamilyid": b"F" * 16},
    "isvextprodid": {"isvextprodid": b"X" * 16},
    "size": {"size": 0x2000},
}
FUSE_CHANGES = {"root": b"r" * 16, "seal": b"S" * 16, "owner_epoch": b"O" * 16}
REQUEST_CHANGES: dict[str, dict[str, Any]] = {
    "asked keyid": {"keyid": b"k" * 32},
    "asked isvsvn": {"isvsvn": 2},
    "asked cpusvn": {"cpusvn": bytes(16)},
    "asked mask": {"attributemask": Attributes(flags=0, xfrm=ALL)},
    "asked configsvn": {"configsvn": 1},
}
DEPENDS = {
    KeyName.SEAL: {
        "mrenclave", "mrsigner", "isvprodid", "debug", "xfrm", "configid", "isvfamilyid", "isvextprodid", "root",
        "seal", "owner_epoch", *REQUEST_CHANGES,
    },
    KeyName.REPORT: {"mrenclave", "debug", "xfrm", "configid", "configsvn", "root", "owner_epoch", "asked keyid"},
    KeyName.EINITTOKEN: {
        "mrsigner", "isvprodid", "debug", "xfrm", "root", "owner_epoch", "asked keyid", "asked isvsvn", "asked cpusvn",
        "asked mask",
    },
    KeyName.PROVISION: {
        "mrsigner", "isvprodid", "debug", "xfrm", "root", "asked isvsvn", "asked cpusvn", "asked mask",
    },
    KeyName.PROVISION_SEAL: {
        "mrsigner", "isvprodid", "debug", "xfrm", "configid", "isvfamilyid", "isvextprodid", "root", "seal",
        "asked isvsvn", "asked cpusvn", "asked mask", "asked configsvn",
    },
}  # fmt: skip
"""What changes each key, from table 1.5's rows of the manual; what is not named must not."""


@pytest.mark.parametrize("name", DEPENDS)
def test_a_key_depends_on_its_inputs_and_on_nothing_else(name: KeyName) -> None:
    base = egetkey(FUSES, enclave(), request(name))
    assert isinstance(base, bytes)
    others: dict[str, object] = {}
    for what, changes in SECS_CHANGES.items():
        others[what] = egetkey(FUSES, enclave(**changes), request(name))
    for what, value in FUSE_CHANGES.items():
        others[what] = egetkey(replace(FUSES, **{what: value}), enclave(), request(name))
    for what, changes in REQUEST_CHANGES.items():
        others[what] = egetkey(FUSES, enclave(), request(name, **changes))
    assert {what for what, key in others.items() if key != base} == DEPENDS[name]


def test_the_names_make_different_keys() -> None:
    keys = {egetkey(FUSES, enclave(), request(name)) for name in KeyName}
    assert len(keys) == len(KeyName)


@pytest.mark.parametrize(
    ("policy", "same", "other"),
    [
        (KeyPolicy.MRSIGNER, {"mrenclave": b"E" * 32}, {"mrsigner": b"S" * 32}),
        (KeyPolicy.MRENCLAVE, {"mrsigner": b"S" * 32}, {"mrenclave": b"E" * 32}),
        (KeyPolicy.MRSIGNER | KeyPolicy.NOISVPRODID, {"isvprodid": 9}, {"mrsigner": b"S" * 32}),
        (KeyPolicy.MRSIGNER, {"configid": b"C" * 64}, {"isvprodid": 9}),
    ],
)
def test_the_policy_says_what_a_seal_key_depends_on(policy: KeyPolicy, same: Any, other: Any) -> None:
    asked = request(KeyName.SEAL, keypolicy=policy)
    base = egetkey(FUSES, enclave(), asked)
    assert egetkey(FUSES, enclave(**same), asked) == base
    assert egetkey(FUSES, enclave(**other), asked) != base


def test_debug_is_in_a_seal_key_whatever_the_mask() -> None:
    nothing = request(KeyName.SEAL, attributemask=Attributes(flags=0, xfrm=0))
    debug = enclave(attributes=Attributes(flags=FLAGS | Attribute.DEBUG, xfrm=3))
    assert egetkey(FUSES, enclave(), nothing) != egetkey(FUSES, debug, nothing)
    wider = enclave(attributes=Attributes(flags=FLAGS, xfrm=7))
    assert egetkey(FUSES, enclave(), nothing) == egetkey(FUSES, wider, nothing)


def test_an_updated_enclave_has_its_older_keys() -> None:
    old, new = enclave(isvsvn=3), enclave(isvsvn=9)
    assert egetkey(FUSES, old, request(KeyName.SEAL)) == egetkey(FUSES, new, request(KeyName.SEAL))


# ---------------------------------------------------------------- gates


@pytest.mark.parametrize("name", [KeyName.SEAL, KeyName.PROVISION, KeyName.PROVISION_SEAL, KeyName.EINITTOKEN])
@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"isvsvn": 4}, Code.INVALID_ISVSVN),
        ({"configsvn": 3}, Code.INVALID_ISVSVN),
        ({"cpusvn": FUSES.cpusvn[:-1] + b"\1"}, Code.INVALID_CPUSVN),
        ({"cpusvn": b"\x06" + bytes(15)}, Code.INVALID_CPUSVN),
    ],
)
def test_no_key_of_a_later_version(name: KeyName, changes: dict[str, Any], code: Code) -> None:
    assert egetkey(FUSES, enclave(), request(name, **changes)) is code


@pytest.mark.parametrize(
    ("name", "attribute"),
    [
        (KeyName.PROVISION, Attribute.PROVISIONKEY),
        (KeyName.PROVISION_SEAL, Attribute.PROVISIONKEY),
        (KeyName.EINITTOKEN, Attribute.EINITTOKENKEY),
    ],
)
def test_some_keys_need_an_attribute(name: KeyName, attribute: Attribute) -> None:
    without = enclave(attributes=Attributes(flags=FLAGS & ~int(attribute), xfrm=3))
    assert egetkey(FUSES, without, request(name)) is Code.INVALID_ATTRIBUTE
    assert isinstance(egetkey(FUSES, without, request(KeyName.SEAL)), bytes)


def test_unknown_names_and_policies() -> None:
    assert egetkey(FUSES, enclave(), request(5)) is Code.INVALID_KEYNAME
    with pytest.raises(Fault, match="unknown bits"):
        egetkey(FUSES, enclave(), request(KeyName.SEAL, keypolicy=0x40))
    plain = enclave(attributes=Attributes(flags=FLAGS & ~int(Attribute.KSS), xfrm=3))
    with pytest.raises(Fault, match="KSS"):
        egetkey(FUSES, plain, request(KeyName.SEAL, keypolicy=KeyPolicy.NOISVPRODID))


# ---------------------------------------------------------------- reports


def target_of(secs: Secs) -> TargetInfo:
    return TargetInfo(
        mrenclave=secs.mrenclave, attributes=secs.attributes.serialize(), configsvn=secs.configsvn,
        miscselect=secs.miscselect, configid=secs.configid,
    )  # fmt: skip


def test_a_report_says_what_the_secs_says() -> None:
    report = ereport(FUSES, enclave(), target_of(enclave()), bytes(range(64)))
    body = report.body
    assert (body.mrenclave, body.mrsigner, body.isvprodid, body.isvsvn) == (b"e" * 32, b"s" * 32, 7, 3)
    assert (body.configid, body.configsvn, body.isvfamilyid, body.isvextprodid) == (b"c" * 64, 2, b"f" * 16, b"x" * 16)
    assert (body.cpusvn, body.report_data, body.miscselect) == (FUSES.cpusvn, bytes(range(64)), 0)
    assert Attributes.parse(body.attributes) == enclave().attributes


def test_only_the_target_can_check_a_report() -> None:
    target = enclave(mrenclave=b"T" * 32)
    report = ereport(FUSES, enclave(), target_of(target), bytes(64))
    whole = report.body.serialize()
    assert cmac(report_key(FUSES, target, report.keyid), whole) == report.mac
    asked = egetkey(FUSES, target, request(KeyName.REPORT, keyid=report.keyid, keypolicy=0))
    assert isinstance(asked, bytes)
    assert cmac(asked, whole) == report.mac
    for other in (enclave(), enclave(mrenclave=b"t" * 32)):
        assert cmac(report_key(FUSES, other, report.keyid), whole) != report.mac
    assert cmac(report_key(replace(FUSES, root=b"r" * 16), target, report.keyid), whole) != report.mac


def test_no_two_reports_share_a_key() -> None:
    reports = [ereport(FUSES, enclave(), target_of(enclave()), bytes(64)) for _ in range(2)]
    assert reports[0].keyid != reports[1].keyid
    assert reports[0].mac != reports[1].mac


def test_the_inputs_fill_their_record() -> None:
    assert KeyDependencies.SIZE == 384
    assert KeyRequest.OFFSETS["keyid"] == 40
    assert KeyRequest.OFFSETS["configsvn"] == 76
    assert Secs.OFFSETS["mrsigner"] == 128
    assert Secs.OFFSETS["isvprodid"] == 256
    assert TargetInfo.OFFSETS["configid"] == 64
