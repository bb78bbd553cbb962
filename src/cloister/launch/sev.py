"""AMD SEV and SEV-ES guests (QEMU docs/system/i386/amd-memory-encryption.rst; libvirt's launchSecurity type="sev")."""

from typing import Final

from cloister.errors import UsageError
from cloister.launch.guest import Confidential, Guest, Need

__all__ = ["confidential_es", "confidential_sev"]

NO_DEBUG: Final = 1 << 0
NO_KEY_SHARING: Final = 1 << 1
ENCRYPTED_STATE: Final = 1 << 2
ON: Final = frozenset({"Y", "1"})


def confidential_sev(guest: Guest) -> Confidential:
    """Memory is encrypted, registers are not."""
    return _confidential(guest, NO_KEY_SHARING, "sev", "sev")


def confidential_es(guest: Guest) -> Confidential:
    """Registers are encrypted too, and each processor's start is measured."""
    return _confidential(guest, NO_KEY_SHARING | ENCRYPTED_STATE, "sev_es", "sev-es")


def _confidential(guest: Guest, flags: int, parameter: str, tee: str) -> Confidential:
    if guest.host_data or guest.id_block or guest.mr_config_id or guest.personalization:
        raise UsageError(
            f"--tee {tee} has no host data, ID block, MRCONFIGID or personalization: those are of later TEEs"
        )
    policy = flags | (0 if guest.debug else NO_DEBUG)
    bits = {"cbitpos": guest.encryption_bit, "reduced-phys-bits": guest.reduced_bits}
    children = {
        "cbitpos": str(guest.encryption_bit), "reducedPhysBits": str(guest.reduced_bits), "policy": f"{policy:#06x}",
    }  # fmt: skip
    processors = ("--vcpus", str(guest.processors), "--vcpu-type", guest.cpu or "EPYC") if tee == "sev-es" else ()
    hashes = guest.kernel is not None
    return Confidential(
        object="sev-guest",
        properties={**bits, "policy": f"{policy:#x}", "kernel-hashes": hashes},
        cpu=guest.cpu or "EPYC",
        since="6.2",
        element=({"type": "sev", "kernelHashes": "yes" if hashes else "no"}, children),
        firmware_in_flash=True,
        needs=(
            Need("/dev/sev", "an AMD EPYC processor with SEV, enabled in its BIOS, and the module ccp"),
            Need(f"/sys/module/kvm_amd/parameters/{parameter}", f"modprobe kvm_amd {parameter}=1", ON),
        ),
        measured_by=("--tee", tee, *processors),
    )
