"""A guest's report as configfs-tsm names its parts, and as the JSON that `cloister verify` and other verifiers read."""

import base64
from dataclasses import dataclass
from typing import Final

__all__ = ["REPORT_DATA_SIZE", "GuestReport"]

REPORT_DATA_SIZE: Final = 64
"""Bytes that every kind of guest signs."""


@dataclass(frozen=True, slots=True)
class GuestReport:
    """Evidence in its maker's format.

    `provider` is the kernel's name for the maker: sev_guest, tdx_guest or arm_cca_guest. `auxblob` is AMD's table of
    certificates, empty if the host gave none. `manifest` is what an SVSM says of its services, empty without one.
    """

    provider: str
    outblob: bytes
    auxblob: bytes = b""
    manifest: bytes = b""

    def as_json(self) -> dict[str, str]:
        """Blobs in base64 (RFC 4648, section 4); empty ones are left out."""
        blobs = {"outblob": self.outblob, "auxblob": self.auxblob, "manifestblob": self.manifest}
        return {"provider": self.provider} | {
            name: base64.b64encode(blob).decode() for name, blob in blobs.items() if blob
        }
