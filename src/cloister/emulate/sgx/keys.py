"""EREPORT and EGETKEY: reports for another enclave of this processor, and keys (Intel SDM volume 3D, 41.4).

Every key is AES-128-CMAC, under a secret in the processor's fuses, of who asks, in which version, and for what. The
inputs and gates are the manual's, KeyDependencies holds them. A debug enclave never has a production enclave's keys:
its attributes are among the inputs.
"""

import secrets
from typing import Any, Final

from cryptography.hazmat.primitives.ciphers.algorithms import AES128
from cryptography.hazmat.primitives.cmac import CMAC

from cloister.emulate.sgx.outcomes import Code, Fault
from cloister.emulate.sgx.processor import Fuses
from cloister.emulate.sgx.structures import Attribute, Attributes, KeyDependencies, KeyName, KeyPolicy, KeyRequest, Secs
from cloister.emulate.vendors.intel_reports import SgxReport, TargetInfo
from cloister.evidence.dcap import SgxReportBody

__all__ = ["cmac", "egetkey", "ereport", "launch_key", "report_key"]

NO_MASK: Final = Attributes(flags=0, xfrm=0)
ALWAYS_IN_SEAL: Final = Attribute.INIT | Attribute.DEBUG
GATES: Final = {
    KeyName.PROVISION: Attribute.PROVISIONKEY,
    KeyName.PROVISION_SEAL: Attribute.PROVISIONKEY,
    KeyName.EINITTOKEN: Attribute.EINITTOKENKEY,
}
KSS_POLICY: Final = (
    KeyPolicy.NOISVPRODID | KeyPolicy.CONFIGID | KeyPolicy.ISVFAMILYID | KeyPolicy.ISVEXTPRODID
)  # fmt: skip
ALL_POLICY: Final = KSS_POLICY | KeyPolicy.MRENCLAVE | KeyPolicy.MRSIGNER


def cmac(key: bytes, message: bytes) -> bytes:
    """AES-128-CMAC (NIST SP 800-38B), 16 bytes."""
    made = CMAC(AES128(key))
    made.update(message)
    return made.finalize()


def ereport(fuses: Fuses, secs: Secs, target: TargetInfo, report_data: bytes) -> SgxReport:
    """A report about an enclave that only the target can check: its MAC is under the target's report key."""
    keyid = secrets.token_bytes(32)
    body = SgxReportBody(
        cpusvn=fuses.cpusvn, miscselect=secs.miscselect, isvextprodid=secs.isvextprodid,
        attributes=secs.attributes.serialize(), mrenclave=secs.mrenclave, mrsigner=secs.mrsigner,
        configid=secs.configid, isvprodid=secs.isvprodid, isvsvn=secs.isvsvn, configsvn=secs.configsvn,
        isvfamilyid=secs.isvfamilyid, report_data=report_data,
    )  # fmt: skip
    owner = Secs(
        size=0, base=0, ssaframesize=0, miscselect=target.miscselect, attributes=Attributes.parse(target.attributes),
        mrenclave=target.mrenclave, mrsigner=bytes(32), configid=target.configid, isvprodid=0, isvsvn=0,
        configsvn=target.configsvn, isvfamilyid=bytes(16), isvextprodid=bytes(16), eid=0,
    )  # fmt: skip
    return SgxReport(body=body, keyid=keyid, mac=cmac(report_key(fuses, owner, keyid), body.serialize()))


def report_key(fuses: Fuses, secs: Secs, keyid: bytes) -> bytes:
    """The key with which an enclave checks reports made for it: all its attributes, and the CPUSVN of now."""
    return _derive(
        fuses, keyname=KeyName.REPORT, owner_epoch=fuses.owner_epoch, attributes=secs.attributes,
        mrenclave=secs.mrenclave, miscselect=secs.miscselect, configid=secs.configid, configsvn=secs.configsvn,
        cpusvn=fuses.cpusvn, keyid=keyid,
    )  # fmt: skip


def launch_key(fuses: Fuses, **inputs: Any) -> bytes:  # noqa: ANN401 - KeyDependencies has the types
    """The key of launch tokens, for EGETKEY and EINIT. Masks are not among its inputs: EINIT does not know them."""
    return _derive(fuses, keyname=KeyName.EINITTOKEN, owner_epoch=fuses.owner_epoch, **inputs)


def egetkey(fuses: Fuses, secs: Secs, request: KeyRequest) -> bytes | Code:
    """The key that an enclave asks for, or why it may not have it. Fault for a policy that its attributes exclude."""
    refused = _gate(fuses, secs, request)
    if refused is not Code.SUCCESS:
        return refused
    name, policy = KeyName(request.keyname), KeyPolicy(request.keypolicy)
    if name is KeyName.REPORT:
        return report_key(fuses, secs, request.keyid)
    mask = request.attributemask
    kept = Attributes(
        flags=secs.attributes.flags & (mask.flags | ALWAYS_IN_SEAL), xfrm=secs.attributes.xfrm & mask.xfrm
    )
    common: dict[str, Any] = {
        "keyname": name, "attributes": kept, "attribute_mask": mask, "cpusvn": request.cpusvn, "isvsvn": request.isvsvn,
        "miscselect": secs.miscselect & request.miscmask, "miscmask": ~request.miscmask & 0xFFFFFFFF,
    }  # fmt: skip
    if name is KeyName.SEAL:
        return _derive(fuses, **common | _seal_inputs(fuses, secs, request, policy))
    product = {"isvprodid": secs.isvprodid, "mrsigner": secs.mrsigner}
    if name is KeyName.EINITTOKEN:
        masked = {"attributes": kept, "miscselect": common["miscselect"], "cpusvn": request.cpusvn}
        return launch_key(fuses, **masked | product, isvsvn=request.isvsvn, keyid=request.keyid)
    if name is KeyName.PROVISION:
        return _derive(fuses, **common | product)
    return _derive(fuses, **common | product | _kss_inputs(secs, request, policy) | {"seal_fuses": fuses.seal})


def _seal_inputs(fuses: Fuses, secs: Secs, request: KeyRequest, policy: KeyPolicy) -> dict[str, Any]:
    return {
        "keypolicy": policy, "owner_epoch": fuses.owner_epoch, "seal_fuses": fuses.seal, "keyid": request.keyid,
        "mrenclave": secs.mrenclave if policy & KeyPolicy.MRENCLAVE else bytes(32),
        "mrsigner": secs.mrsigner if policy & KeyPolicy.MRSIGNER else bytes(32),
        "isvprodid": 0 if policy & KeyPolicy.NOISVPRODID else secs.isvprodid,
    } | _kss_inputs(secs, request, policy)  # fmt: skip


def _kss_inputs(secs: Secs, request: KeyRequest, policy: KeyPolicy) -> dict[str, Any]:
    config = bool(policy & KeyPolicy.CONFIGID)
    return {
        "configid": secs.configid if config else bytes(64), "configsvn": request.configsvn if config else 0,
        "isvfamilyid": secs.isvfamilyid if policy & KeyPolicy.ISVFAMILYID else bytes(16),
        "isvextprodid": secs.isvextprodid if policy & KeyPolicy.ISVEXTPRODID else bytes(16),
    }  # fmt: skip


def _gate(fuses: Fuses, secs: Secs, request: KeyRequest) -> Code:
    """Who may ask for what: attributes, and no version above the current one (SDM 41.4, EGETKEY)."""
    flags = secs.attributes.flags
    if request.keypolicy & ~int(ALL_POLICY):
        raise Fault("EGETKEY", f"KEYPOLICY {request.keypolicy:#x} has unknown bits")
    if request.keypolicy & KSS_POLICY and not flags & Attribute.KSS:
        raise Fault("EGETKEY", "this KEYPOLICY needs ATTRIBUTES.KSS")
    if request.keyname not in set(KeyName):
        return Code.INVALID_KEYNAME
    name = KeyName(request.keyname)
    if name is KeyName.REPORT:
        return Code.SUCCESS
    if GATES.get(name, Attribute.INIT) & ~flags:
        return Code.INVALID_ATTRIBUTE
    if any(asked > current for asked, current in zip(request.cpusvn, fuses.cpusvn, strict=True)):
        return Code.INVALID_CPUSVN
    if request.isvsvn > secs.isvsvn or request.configsvn > secs.configsvn:
        return Code.INVALID_ISVSVN
    return Code.SUCCESS


def _derive(fuses: Fuses, **inputs: Any) -> bytes:  # noqa: ANN401 - KeyDependencies has the types
    """The key of these inputs; what is not given is zero."""
    nothing: dict[str, Any] = {
        "keyname": 0, "isvprodid": 0, "isvsvn": 0, "configsvn": 0, "keypolicy": 0, "owner_epoch": bytes(16),
        "attributes": NO_MASK, "attribute_mask": NO_MASK, "mrenclave": bytes(32), "mrsigner": bytes(32),
        "keyid": bytes(32), "seal_fuses": bytes(16), "cpusvn": bytes(16), "miscselect": 0, "miscmask": 0,
        "isvextprodid": bytes(16), "isvfamilyid": bytes(16), "configid": bytes(64),
    }  # fmt: skip
    return cmac(fuses.root, KeyDependencies(**nothing | inputs).serialize())
