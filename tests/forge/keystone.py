"""A forged Keystone device: reports that are genuine but for the device's key.

forge = KeystoneForge()
report = forge.report(b"nonce")
forge.anchors, forge.endorsements               # what verifies it
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from cloister import _ed25519_sha3
from cloister._ed25519_sha3 import public_key_of, spki_of_ed25519
from cloister.emulate.vendors.keystone import enclave_report, monitor_report
from cloister.endorse.anchors import TrustAnchors
from cloister.endorse.store import Endorsements
from cloister.evidence.keystone import KeystoneReport
from cloister.model import Tee

__all__ = ["KeystoneForge"]

Sign = Callable[[bytes, bytes], bytes]
"""From a seed and a message to a signature."""


@dataclass(frozen=True, kw_only=True)
class KeystoneForge:
    """A device and its security monitor, each with a secret seed of 32 bytes."""

    device_seed: bytes = b"a device that is worth nothing  "
    monitor_seed: bytes = b"a monitor that is worth nothing "

    @property
    def device_key(self) -> bytes:
        """The device's public key."""
        return public_key_of(self.device_seed)

    @property
    def anchors(self) -> TrustAnchors:
        """Pins the device's key."""
        return TrustAnchors.testing(spki_of_ed25519(self.device_key), tees=[Tee.KEYSTONE])

    @property
    def endorsements(self) -> Endorsements:
        """Holds the device's key."""
        return Endorsements(keys=(spki_of_ed25519(self.device_key),))

    def report(
        self,
        data: bytes = b"",
        *,
        tail: bytes = b"",
        enclave_hash: bytes = hashlib.sha3_512(b"an enclave").digest(),
        monitor_hash: bytes = hashlib.sha3_512(b"a monitor").digest(),
        named_device: bytes | None = None,
        sign: Sign = _ed25519_sha3.sign,
        public_key: Callable[[bytes], bytes] = public_key_of,
    ) -> bytes:
        """A report over data. `tail` is what stands behind it unsigned, `named_device` the key that nothing signs."""
        return KeystoneReport(
            enclave=enclave_report(enclave_hash, data, partial(sign, self.monitor_seed), behind=tail),
            monitor=monitor_report(monitor_hash, public_key(self.monitor_seed), partial(sign, self.device_seed)),
            device_key=public_key(self.device_seed) if named_device is None else named_device,
        ).serialize()
