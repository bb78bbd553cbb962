"""The guest's owner: verifies the platform, wraps keys for it, checks the measurement, and only then sends secrets.

    owner = GuestOwner(expected=[digest], check_platform=check, secrets={DISK_KEY: key})
    session = owner.begin(chain)              # certificate and session buffer for LAUNCH_START
    packet = owner.release(measurement)       # for LAUNCH_SECRET; raises if this is not the launch that was expected

The owner trusts nothing that the hypervisor says: certificates, policy and measurement are checked here, the packet can
be opened by one launch on one platform only. AMD 55766 (SEV API), appendix A, has the whole dialogue.
"""

import hmac
import secrets as randomness
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from cloister.emulate.sev.commands import Policy
from cloister.emulate.sev.secret_area import DISK_KEY, secret_area
from cloister.emulate.vendors.amd_sev_secret import OwnerSession, SecretHeader, seal_secret
from cloister.errors import BindingInvalid, SignatureInvalid, UsageError
from cloister.evidence.sev import LaunchMeasurement
from cloister.evidence.sev_chain import SevChain
from cloister.measure.sev import launch_measure
from cloister.model import Digest

__all__ = ["PRODUCTION", "GuestOwner", "SecretPacket", "open_disk"]

PRODUCTION: Final = Policy.NODBG | Policy.NOKS | Policy.NOSEND
"""No debugging, no shared key, no sending away."""

NONCE: Final = 12


@dataclass(frozen=True, slots=True)
class SecretPacket:
    """What LAUNCH_SECRET takes: everybody may read it, one launch can open it."""

    header: SecretHeader
    data: bytes


class GuestOwner:
    """One owner of one guest, before and during its launch.

    `expected` are the launch digests that get the secrets (`cloister.measure.sev.guest_digest`). `check_platform`
    raises unless a platform's certificates lead to AMD's root. Which root that is, the caller decides, so there is no
    default: `cloister.verification.sev_chain.check_chain` with trust anchors. `secrets` are what the guest gets.
    """

    def __init__(
        self,
        *,
        expected: Sequence[Digest],
        check_platform: Callable[[SevChain], object],
        secrets: Mapping[uuid.UUID, bytes] | None = None,
        policy: int = int(PRODUCTION),
    ) -> None:
        self.expected, self.policy = tuple(expected), policy
        self._check_platform = check_platform
        self._secrets = {DISK_KEY: randomness.token_bytes(32)} if secrets is None else dict(secrets)
        self._session: OwnerSession | None = None

    @property
    def session(self) -> OwnerSession:
        """The session that `begin` made, with its keys: what verification of the launch needs. UsageError before it."""
        if self._session is None:
            raise UsageError("the guest's owner has not begun: it has seen no platform yet")
        return self._session

    def encrypted_disk(self, content: bytes) -> bytes:
        """The owner's data, AES-256-GCM under the disk key: of no use to whoever stores it. UsageError without one."""
        key = self._secrets.get(DISK_KEY)
        if key is None or len(key) != 32:
            raise UsageError("the owner's secrets hold no disk key of 32 bytes")
        nonce = randomness.token_bytes(NONCE)
        return nonce + AESGCM(key).encrypt(nonce, content, None)

    def begin(self, chain: SevChain) -> OwnerSession:
        """Verify the platform, then make transport keys for it. Raises what `check_platform` raises."""
        self._check_platform(chain)
        self._session = OwnerSession.start(chain.pdh, policy=self.policy)
        return self._session

    def confirm(self, measurement: LaunchMeasurement) -> Digest:
        """The expected digest that was launched. BindingInvalid if none was, or not under the owner's policy."""
        if measurement.policy != self.policy:
            raise BindingInvalid(
                "the guest was launched under another policy", expected=f"{self.policy:#x}",
                actual=f"{measurement.policy:#x}", set_by="the guest's owner",
            )  # fmt: skip
        for digest in self.expected:
            measure = launch_measure(measurement, tik=self.session.keys.tik, digest=digest)
            if hmac.compare_digest(measure, measurement.measure):
                return digest
        raise BindingInvalid(
            "the measure is not that of an expected launch, under the key that this launch was given",
            expected=self.expected, actual=measurement.measure, set_by="the guest's owner",
        )  # fmt: skip

    def release(self, measurement: LaunchMeasurement) -> SecretPacket:
        """The secrets, for this launch alone. Raises as `confirm` does."""
        self.confirm(measurement)
        area, iv = secret_area(self._secrets), randomness.token_bytes(16)
        return SecretPacket(*seal_secret(self.session.keys, area, measurement.measure, iv=iv))


def open_disk(key: bytes, sealed: bytes) -> bytes:
    """The guest's side of `GuestOwner.encrypted_disk`. SignatureInvalid if it was changed, or is under another key."""
    try:
        return AESGCM(key).decrypt(sealed[:NONCE], sealed[NONCE:], None)
    except (InvalidTag, ValueError) as error:
        raise SignatureInvalid("the owner's data were changed, or are under another key") from error
