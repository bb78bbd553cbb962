"""Arm CCA realms, as the series for QEMU writes them that is not merged yet (object rme-guest)."""

import base64

from cloister.errors import UsageError
from cloister.launch.guest import Confidential, Guest, Need

__all__ = ["confidential_cca"]


def confidential_cca(guest: Guest) -> Confidential:
    """As the unmerged series launches it; UsageError for fields of other TEEs, and for debug mode."""
    if guest.host_data or guest.id_block or guest.id_auth or guest.mr_config_id:
        raise UsageError("--tee cca has no host data, ID block or MRCONFIGID: it has --personalization")
    if guest.debug:
        raise UsageError("realms have no debug mode that a host could ask for")
    properties: dict[str, str | int | bool] = {"measurement-algorithm": "sha512"}
    if guest.personalization:
        properties["personalization-value"] = base64.b64encode(guest.personalization).decode()
    return Confidential(
        object="rme-guest",
        properties=properties,
        cpu=guest.cpu or "host",
        since="none yet: a series that is not merged",
        element=None,
        emulator="qemu-system-aarch64",
        machine="virt",
        machine_options={"gic-version": "3"},
        needs=(
            Need("/dev/kvm", "an Armv9 processor with RME, its firmware with an RMM, and a kernel with KVM for realms"),
        ),
    )
