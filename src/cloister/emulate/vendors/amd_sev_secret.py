"""LAUNCH_SECRET's packet, and the guest owner's side of a SEV launch (AMD 55766, SEV API, sections 6.2 and 6.6).

The owner starts a session for a platform's PDH and sends its certificate and session buffer along with the guest; once
the measure is found right, the owner seals a secret for exactly that launch, and only that security processor opens it.
"""

import hmac
import secrets
from dataclasses import dataclass, field
from typing import Final

from cloister._wire import Record, raw, u32
from cloister.emulate.vendors.amd_sev import API, certificate_record
from cloister.emulate.vendors.amd_sev_session import Session, TransportKeys, aes_128_ctr, shared_secret, wrap
from cloister.emulate.vendors.x509 import p384
from cloister.errors import SignatureInvalid, UsageError
from cloister.evidence.sev_chain import SevCertificate, Usage
from cloister.evidence.sev_keys import EcKey

__all__ = ["OwnerSession", "SecretHeader", "open_secret", "seal_secret"]

LAUNCH_SECRET: Final = 1
"""The context byte that keeps this HMAC apart from the others under the same key."""
COMPRESSED: Final = 1
LARGEST: Final = 16_384
"""Bytes of a packet (section 6.6)."""


class SecretHeader(Record, size=52):
    """What stands before a packet: flags, the IV of its encryption, and the HMAC over it."""

    flags: int = u32()
    iv: bytes = raw(16)
    mac: bytes = raw(32)


def seal_secret(keys: TransportKeys, secret: bytes, measure: bytes, *, iv: bytes) -> tuple[SecretHeader, bytes]:
    """The owner's part: a secret for the guest whose measure (32 bytes) the owner has found right.

    UsageError if it is not 16 to 16,384 bytes long in whole blocks of 16: the firmware takes nothing else.
    """
    if not 16 <= len(secret) <= LARGEST or len(secret) % 16:
        raise UsageError(f"a launch secret has 16 to {LARGEST} bytes, a multiple of 16; this one has {len(secret)}")
    data = aes_128_ctr(keys.tek, iv, secret)
    return SecretHeader(flags=0, iv=iv, mac=_mac(keys, 0, iv, len(secret), data, measure)), data


def open_secret(keys: TransportKeys, header: SecretHeader, data: bytes, measure: bytes, *, guest_length: int) -> bytes:
    """The firmware's part: the secret in plain, `guest_length` bytes.

    SignatureInvalid if the packet was altered, is under other keys, or is for a launch with another measure.
    """
    expected = _mac(keys, header.flags, header.iv, guest_length, data, measure)
    if not hmac.compare_digest(expected, header.mac):
        raise SignatureInvalid("the launch secret was altered, or is for another launch", set_by="the packet's MAC")
    if header.flags & COMPRESSED or guest_length != len(data):
        raise UsageError("compressed launch secrets are not understood by this firmware")
    return aes_128_ctr(keys.tek, header.iv, data)


def _mac(keys: TransportKeys, flags: int, iv: bytes, guest_length: int, data: bytes, measure: bytes) -> bytes:
    """Over all of the packet and, from API 0.17 on, over the measure of the launch it is for."""
    lengths = guest_length.to_bytes(4, "little") + len(data).to_bytes(4, "little")
    message = bytes([LAUNCH_SECRET]) + flags.to_bytes(4, "little") + iv + lengths + data + measure
    return hmac.digest(keys.tik, message, "sha256")


@dataclass(frozen=True, kw_only=True)
class OwnerSession:
    """What the owner of a guest sends for its launch (`certificate`, `session`), and keeps (`keys`).

    `pdh` are the bytes of the certificate that the keys were wrapped for.
    """

    certificate: SevCertificate
    session: Session
    pdh: bytes = field(repr=False)
    keys: TransportKeys = field(repr=False)

    @classmethod
    def start(cls, pdh: SevCertificate, *, policy: int) -> "OwnerSession":
        """New transport keys for the platform with this PDH, whose certificates the owner has verified before.

        The owner's Diffie-Hellman certificate is of usage PDH and not signed: the session's MACs vouch for it.
        """
        own, keys = p384(), TransportKeys.joined(secrets.token_bytes(32))
        z = shared_secret(own, EcKey.parse(pdh.pubkey))
        session = wrap(keys, z, policy=policy, nonce=secrets.token_bytes(16), iv=secrets.token_bytes(16))
        certificate = certificate_record(Usage.PDH, own.public_key(), api=API)
        return cls(certificate=certificate, session=session, pdh=pdh.serialize(), keys=keys)
