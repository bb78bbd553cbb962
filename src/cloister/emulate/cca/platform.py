"""A CCA platform as its root of trust sees it: the firmware that was measured at boot, and its lifecycle state.

draft-ffm-rats-cca-token, sections 4.4 to 4.6; TF-A, docs/components/realm-management-extension: BL1 loads BL2, which
loads the monitor of EL3 (BL31, into Root memory) and the RMM (into Realm memory). Who changes one of them can read
every realm; the platform token then says another hash.
"""

import hashlib
from collections.abc import Mapping
from typing import Final

from cloister.emulate.vendors.arm_claims import SECURED, Component, PlatformState

__all__ = ["DEBUGGED", "FIRMWARE", "platform_state"]

FIRMWARE: Final[Mapping[str, bytes]] = {
    name: f"Cloister emulated CCA platform, {name} 1.0".encode() for name in ("BL2", "BL31", "RMM")
}
"""What stands for the firmware images. The emulated monitor itself is Python, and is not measured."""

DEBUGGED: Final = 0x5000
"""The lifecycle state recoverable_cca_platform_rot_debug: somebody may debug Root and Realm."""


def platform_state(firmware: Mapping[str, bytes], *, debug: bool) -> PlatformState:
    """What the platform token says of a platform that booted these images."""
    signer = hashlib.sha256(b"Cloister emulated CCA firmware signer").digest()
    return PlatformState(
        implementation_id=hashlib.sha256(b"Cloister emulated CCA platform").digest(),
        components=tuple(
            Component(kind=name, measurement=hashlib.sha256(image).digest(), signer_id=signer)
            for name, image in firmware.items()
        ),
        lifecycle=DEBUGGED if debug else SECURED,
    )
