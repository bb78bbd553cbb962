"""Intel TDX guests (QEMU docs/system/i386/tdx.rst; libvirt's launchSecurity type="tdx")."""

import base64
from typing import Final

from cloister.errors import UsageError
from cloister.launch.guest import Confidential, Guest, Need

__all__ = ["confidential_tdx"]

DEBUG: Final = 1 << 0
SEPT_VE_DISABLE: Final = 1 << 28
"""Bits of ATTRIBUTES (TDX module ABI, TD_PARAMS). With the second, a guest whose page the host takes away is ended, not
told; Linux demands it."""
QUOTING: Final = {"type": "vsock", "cid": "2", "port": "4050"}
"""Where the host's quote generation service listens, as Intel installs it."""
ON: Final = frozenset({"Y", "1"})


def confidential_tdx(guest: Guest) -> Confidential:
    """As QEMU launches it; UsageError for fields of other TEEs."""
    if guest.host_data or guest.id_block or guest.id_auth or guest.personalization:
        raise UsageError("--tee tdx has no host data, ID block or personalization: it has --mr-config-id")
    attributes = SEPT_VE_DISABLE | (DEBUG if guest.debug else 0)
    properties: dict[str, str | int | bool | dict[str, str]] = {
        "attributes": attributes, "quote-generation-socket": QUOTING,
    }  # fmt: skip
    children = {"policy": f"{attributes:#010x}"}
    if guest.mr_config_id:
        properties["mrconfigid"] = children["mrConfigId"] = base64.b64encode(guest.mr_config_id).decode()
    return Confidential(
        object="tdx-guest",
        properties=properties,
        cpu=guest.cpu or "host",
        since="10.1",
        element=({"type": "tdx"}, children),
        machine_options={"kernel-irqchip": "split"},
        needs=(
            Need(
                "/sys/module/kvm_intel/parameters/tdx",
                "Linux 6.16, a processor with TDX, and modprobe kvm_intel tdx=1",
                ON,
            ),
        ),
        measured_by=("--tee", "tdx"),
    )
