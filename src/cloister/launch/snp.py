"""AMD SEV-SNP guests (QEMU qapi/qom.json, SevSnpGuestProperties; libvirt's launchSecurity type="sev-snp")."""

import base64
from typing import Final

from cloister.errors import UsageError
from cloister.launch.guest import Confidential, Guest, Need

__all__ = ["confidential_snp"]

RESERVED: Final = 1 << 17
SMT: Final = 1 << 16
DEBUG: Final = 1 << 19
"""Bits of the guest policy (SEV-SNP firmware ABI, section 4.3); bit 17 must be one."""
ON: Final = frozenset({"Y", "1"})


def confidential_snp(guest: Guest) -> Confidential:
    """As QEMU launches it; UsageError for fields of other TEEs."""
    if guest.mr_config_id or guest.personalization:
        raise UsageError("--tee sev-snp has no MRCONFIGID or personalization: TDX and CCA have")
    if bool(guest.id_block) != bool(guest.id_auth):
        raise UsageError("--id-block and --id-auth go together: the second signs the first")
    policy = RESERVED | SMT | (DEBUG if guest.debug else 0)
    hashes = guest.kernel is not None
    properties: dict[str, str | int | bool] = {
        "cbitpos": guest.encryption_bit, "reduced-phys-bits": guest.reduced_bits, "policy": f"{policy:#x}",
        "kernel-hashes": hashes,
    }  # fmt: skip
    attributes = {"type": "sev-snp", "kernelHashes": _yes(hashes)}
    children = {
        "cbitpos": str(guest.encryption_bit), "reducedPhysBits": str(guest.reduced_bits), "policy": f"{policy:#010x}",
    }  # fmt: skip
    blobs = {"id-block": guest.id_block, "id-auth": guest.id_auth, "host-data": guest.host_data}
    for (name, blob), child in zip(blobs.items(), ("idBlock", "idAuth", "hostData"), strict=True):
        if blob:
            properties[name] = children[child] = base64.b64encode(blob).decode()
    if guest.id_block:
        properties["author-key-enabled"] = guest.author_key
        attributes["authorKey"] = _yes(guest.author_key)
    return Confidential(
        object="sev-snp-guest",
        properties=properties,
        cpu=guest.cpu or "EPYC-v4",
        since="9.1",
        element=(attributes, children),
        shared_memory=True,
        needs=(
            Need("/dev/sev", "an AMD EPYC 7003 or later with SEV-SNP, enabled in its BIOS, and the module ccp"),
            Need("/sys/module/kvm_amd/parameters/sev_snp", "Linux 6.11, and modprobe kvm_amd sev_snp=1", ON),
        ),
        measured_by=("--tee", "sev-snp", "--vcpus", str(guest.processors), "--vcpu-type", guest.cpu or "EPYC-v4"),
    )


def _yes(value: bool) -> str:  # noqa: FBT001 - libvirt's word for it
    return "yes" if value else "no"
