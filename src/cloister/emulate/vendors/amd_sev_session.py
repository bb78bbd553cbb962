"""The cryptography of a SEV launch, the same for the guest's owner and the security processor (AMD 55766, SEV API).

 1. Both agree on Z by ECDH, between the owner's key and the platform's PDH (chapter 2).
 2. The owner makes TEK and TIK and wraps them under keys derived from Z (`wrap`); LAUNCH_START unwraps (`unwrap`).
 3. LAUNCH_MEASURE answers with an HMAC of the launch digest under the TIK (`launch_measurement`).
 4. LAUNCH_SECRET takes a packet under TEK and TIK (`cloister.emulate.vendors.amd_sev_secret`).

Pure functions: whoever calls brings the randomness. Numbers have the lowest byte first.
"""

import hmac
from dataclasses import dataclass, field
from typing import Final, Self

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from cloister._wire import Record, raw
from cloister.errors import SignatureInvalid, UsageError
from cloister.evidence.sev import MAGIC, LaunchMeasurement
from cloister.evidence.sev_keys import EcKey
from cloister.measure.sev import launch_measure
from cloister.model import Digest

__all__ = [
    "Session",
    "TransportKeys",
    "aes_128_ctr",
    "derived_key",
    "launch_measurement",
    "shared_secret",
    "unwrap",
    "wrap",
]

KEY_SIZE: Final = 16


@dataclass(frozen=True, kw_only=True)
class TransportKeys:
    """What the owner shares with the firmware for one guest: encryption and integrity key, 16 bytes each."""

    tek: bytes = field(repr=False)
    tik: bytes = field(repr=False)

    @classmethod
    def joined(cls, both: bytes) -> Self:
        """From TEK and TIK one after the other."""
        return cls(tek=both[:KEY_SIZE], tik=both[KEY_SIZE:])


class Session(Record, size=128):
    """LAUNCH_START's session buffer: the transport keys, wrapped (section 6.2, SESSION)."""

    nonce: bytes = raw(16)
    wrap_tk: bytes = raw(32)
    wrap_iv: bytes = raw(16)
    wrap_mac: bytes = raw(32)
    policy_mac: bytes = raw(32)


def derived_key(key: bytes, label: str, context: bytes = b"", *, size: int = KEY_SIZE) -> bytes:
    """AMD's key derivation (chapter 2): NIST SP 800-108 in counter mode with HMAC-SHA256; `size` in bytes."""
    fixed = label.encode("ascii") + b"\0" + context + (8 * size).to_bytes(4, "little")
    numbers = (number.to_bytes(4, "little") for number in range(1, -(-size // 32) + 1))
    return b"".join(hmac.digest(key, number + fixed, "sha256") for number in numbers)[:size]


def shared_secret(own: ec.EllipticCurvePrivateKey, other: EcKey) -> bytes:
    """Z: the x coordinate that own key and the other's lead to, 48 bytes. UsageError if the other is no P-384 key."""
    if not other.usable or other.curve != 2:
        raise UsageError("the other side's key of the session is no P-384 key")
    try:
        public = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP384R1(), b"\x04" + other.point)
    except ValueError as error:
        raise UsageError("the other side's key of the session is no point of P-384") from error
    return own.exchange(ec.ECDH(), public)


def wrap(keys: TransportKeys, z: bytes, *, policy: int, nonce: bytes, iv: bytes) -> Session:
    """The owner's part: transport keys and guest policy for the platform that knows Z. Nonce and IV are used once."""
    kek, kik = _wrapping_keys(z, nonce)
    wrapped = aes_128_ctr(kek, iv, keys.tek + keys.tik)
    return Session(
        nonce=nonce, wrap_tk=wrapped, wrap_iv=iv, wrap_mac=hmac.digest(kik, wrapped, "sha256"),
        policy_mac=_policy_mac(keys, policy),
    )  # fmt: skip


def unwrap(session: Session, z: bytes, *, policy: int) -> TransportKeys:
    """The firmware's part. SignatureInvalid if the keys were wrapped for another platform, or for another policy."""
    kek, kik = _wrapping_keys(z, session.nonce)
    if not hmac.compare_digest(hmac.digest(kik, session.wrap_tk, "sha256"), session.wrap_mac):
        raise SignatureInvalid(
            "the session's keys were altered, or were wrapped for another platform", set_by="WRAP_MAC"
        )
    keys = TransportKeys.joined(aes_128_ctr(kek, session.wrap_iv, session.wrap_tk))
    if not hmac.compare_digest(_policy_mac(keys, policy), session.policy_mac):
        raise SignatureInvalid("the guest's owner asked for another policy", actual=policy, set_by="POLICY_MAC")
    return keys


def launch_measurement(
    keys: TransportKeys, launch_digest: bytes, *, mnonce: bytes, policy: int, api: tuple[int, int], build: int
) -> LaunchMeasurement:
    """LAUNCH_MEASURE's answer (section 6.5) with all that went into it: measure and mnonce are what the host gets."""
    blank = LaunchMeasurement(
        magic=MAGIC, version=1, measure=bytes(32), mnonce=mnonce, api_major=api[0], api_minor=api[1], build=build,
        policy=policy,
    )  # fmt: skip
    measure = launch_measure(blank, tik=keys.tik, digest=Digest("sha256", launch_digest))
    return LaunchMeasurement(**dict(blank.fields()) | {"measure": measure})


def aes_128_ctr(key: bytes, iv: bytes, data: bytes) -> bytes:
    """AES-128 in counter mode, with the 16 bytes of `iv` as the first counter block; encrypts and decrypts."""
    stream = Cipher(algorithms.AES128(key), modes.CTR(iv)).encryptor()
    return stream.update(data) + stream.finalize()


def _wrapping_keys(z: bytes, nonce: bytes) -> tuple[bytes, bytes]:
    """KEK and KIK (chapter 2)."""
    master = derived_key(z, "sev-master-secret", nonce)
    return derived_key(master, "sev-kek"), derived_key(master, "sev-kik")


def _policy_mac(keys: TransportKeys, policy: int) -> bytes:
    return hmac.digest(keys.tik, policy.to_bytes(4, "little"), "sha256")
