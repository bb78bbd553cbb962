"""An emulated Keystone device: its key, its boot ROM, and what the booted security monitor signs and derives.

    device = KeystoneManufacturer(Keystore())
    monitor = device.boot(image_of_the_monitor)
    monitor.report(enclave_hash, b"nonce")                  # 1,352 bytes
    monitor.sealing_key(enclave_hash, b"identifier")        # 192 bytes
    device.device_pem                                       # what `cloister verify --unsafe-trust-root` takes

Sources: Keystone's bootrom/bootloader.c, sm/src/sm.c, enclave.c, ed25519, hkdf_sha3_512. Upstream's boot ROM takes
the length of its keys by `sizeof(*key)`, which is 1: one byte of the device's key and one of the monitor's hash decide
the monitor's key, and one byte of the device's key is wiped. `upstream_lengths=True` does the same.
"""

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from cloister import _ed25519_sha3
from cloister._ed25519_sha3 import public_key_of, spki_of_ed25519
from cloister.emulate.vendors.keystore import Keystore
from cloister.emulate.vendors.x509 import armoured
from cloister.errors import UsageError
from cloister.evidence.keystone import EnclaveReport, KeystoneReport, MonitorReport

__all__ = [
    "MONITOR_SIZE",
    "BootedMonitor",
    "KeystoneManufacturer",
    "Sign",
    "enclave_report",
    "monitor_report",
    "private_key_of",
]

MONITOR_SIZE: Final = 0x1FF000
"""Bytes of DRAM, from its beginning, that the boot ROM measures as the monitor (bootloader.c, sanctum_sm_size)."""
SEALING_KEY: Final = 128
SHA3_512: Final = "sha3_512"
LONGEST_DATA: Final = 1024
"""ATTEST_DATA_MAXLEN (sm/src/enclave.h)."""

Sign = Callable[[bytes], bytes]
"""From a message to its signature."""


def private_key_of(seed: bytes) -> bytes:
    """The private key, 64 bytes: SHA3-512 of the seed, its first half clamped (ed25519/keypair.c)."""
    key = bytearray(hashlib.sha3_512(seed).digest())
    key[0] &= 0xF8
    key[31] = key[31] & 0x3F | 0x40
    return bytes(key)


def enclave_report(enclave_hash: bytes, data: bytes, sign: Sign, *, behind: bytes = b"") -> EnclaveReport:
    """What the monitor says of an enclave (enclave.c, attest_enclave). `sign` is the monitor's.

    `behind` is what stands after the data: in the monitor that is its stack, and nothing signs it. ValueError if there
    are more than 1,024 bytes.
    """
    if len(data) + len(behind) > LONGEST_DATA:
        raise ValueError(f"{len(data) + len(behind)} bytes of data; a report holds {LONGEST_DATA}")
    length = len(data).to_bytes(8, "little")
    return EnclaveReport(
        hash=enclave_hash, data_len=len(data), data=(data + behind).ljust(LONGEST_DATA, b"\0"),
        signature=sign(enclave_hash + length + data),
    )  # fmt: skip


def monitor_report(monitor_hash: bytes, public_key: bytes, sign: Sign) -> MonitorReport:
    """What the boot ROM says of the monitor. `sign` is the device's."""
    return MonitorReport(hash=monitor_hash, public_key=public_key, signature=sign(monitor_hash + public_key))


@dataclass(frozen=True, kw_only=True)
class BootedMonitor:
    """What the boot ROM leaves to the security monitor (sm.c, sm_copy_key), and what the monitor does with it.

    `left_behind` is the device's private key as the boot ROM left it in memory: 64 zeros, unless it has upstream's bug.
    """

    report_of_monitor: MonitorReport
    device_key: bytes
    seed: bytes = field(repr=False)
    left_behind: bytes = field(repr=False)

    def report(self, enclave_hash: bytes, data: bytes) -> bytes:
        """A report of 1,352 bytes about the enclave with this hash (64 bytes) over its data (at most 1,024 bytes).

        Calls must come from that enclave: the monitor knows who calls it, this method does not.
        """
        enclave = enclave_report(enclave_hash, data, self._sign)
        return KeystoneReport(
            enclave=enclave, monitor=self.report_of_monitor, device_key=self.device_key
        ).serialize()  # fmt: skip

    def sealing_key(self, enclave_hash: bytes, identifier: bytes) -> bytes:
        """`struct sealing_key`: a key of 128 bytes for the enclave with this hash, and the monitor's signature over it.

        HKDF (RFC 5869) with SHA3-512, no salt, from the monitor's private key (sm.c, sm_derive_sealing_key): another
        monitor or another enclave gets another key.
        """
        key = _hkdf_sha3_512(private_key_of(self.seed), enclave_hash + identifier, SEALING_KEY)
        return key + self._sign(key)

    def _sign(self, message: bytes) -> bytes:
        return _ed25519_sha3.sign(self.seed, message)


class KeystoneManufacturer:
    """A device whose key is in `keystore`, made on first use. UsageError if the keystore cannot be used."""

    def __init__(self, keystore: Keystore, *, upstream_lengths: bool = False) -> None:
        self.keystore, self._lengths = keystore, 1 if upstream_lengths else None
        self._seed = keystore.secret("keystone-device", 32)

    @property
    def device_key(self) -> bytes:
        """The device's public key, 32 bytes."""
        return public_key_of(self._seed)

    @property
    def device_pem(self) -> bytes:
        """The same in PEM, to be handed out as a trust anchor for testing."""
        return armoured(spki_of_ed25519(self.device_key), "PUBLIC KEY")

    def publish(self) -> Path:
        """Write the device's public key beside the secrets, for verifiers; its path."""
        return self.keystore.publish("keystone-device.pem", self.device_pem)

    def boot(self, image: bytes) -> BootedMonitor:
        """Measure a security monitor's image, derive its key from that and the device's, and vouch for it.

        The image lies at the beginning of DRAM, which is zero behind it. UsageError if it is longer than what the boot
        ROM measures: the rest would run unmeasured.
        """
        if len(image) > MONITOR_SIZE:
            raise UsageError(f"the security monitor has {len(image):,} bytes; the boot ROM measures {MONITOR_SIZE:,}")
        measured = hashlib.sha3_512(image.ljust(MONITOR_SIZE, b"\0")).digest()
        secret = private_key_of(self._seed)
        length = self._lengths
        seed = hashlib.sha3_512(secret[:length] + measured[:length]).digest()[:32]
        wiped = len(secret) if length is None else length
        return BootedMonitor(
            report_of_monitor=monitor_report(
                measured, public_key_of(seed), lambda message: _ed25519_sha3.sign(self._seed, message)
            ),
            device_key=self.device_key, seed=seed, left_behind=bytes(wiped) + secret[wiped:],
        )  # fmt: skip


def _hkdf_sha3_512(secret: bytes, info: bytes, size: int) -> bytes:
    """RFC 5869 with SHA3-512, whose blocks have 72 bytes, and without salt."""
    extracted = hmac.digest(bytes(64), secret, SHA3_512)
    output, block = b"", b""
    for counter in range(1, -(-size // 64) + 1):
        block = hmac.digest(extracted, block + info + bytes([counter]), SHA3_512)
        output += block
    return output[:size]
