"""The emulated SEV firmware: launch, debugging and attestation of guests (AMD 55766, SEV API, chapter 6).

    handle = firmware.launch_start(policy, certificate, session)   # LAUNCHING
    firmware.activate(handle, asid)
    firmware.launch_update_data(handle, address, size)             # encrypted in place, measured
    firmware.launch_update_vmsa(handle, address)                   # SEV-ES: the processor's registers too
    measurement = firmware.launch_measure(handle)                  # SECRET: for the owner, under the owner's TIK
    firmware.launch_secret(handle, address, header, packet)        # what the owner sends if the measurement is right
    firmware.launch_finish(handle)                                 # RUNNING

All memory is named by system-physical addresses, as the host's page tables do not matter to a security processor.
"""

import hashlib
import secrets
from typing import Final

from cloister.emulate.paging import HOST_KEY
from cloister.emulate.sev.commands import Command, CommandFailed, GuestState, PlatformState, Policy, Status
from cloister.emulate.sev.context import GuestContext, fresh_keys
from cloister.emulate.sev.guests import Guests
from cloister.emulate.sev.platform import BUILD, CHECK_SIZE, TRUSTED_KEY
from cloister.emulate.vendors.amd_sev_secret import SecretHeader, open_secret
from cloister.emulate.vendors.amd_sev_session import (
    Session,
    TransportKeys,
    launch_measurement,
    shared_secret,
    unwrap,
)
from cloister.errors import SignatureInvalid, UsageError
from cloister.evidence.sev import LaunchMeasurement, SevReport
from cloister.evidence.sev_chain import SevCertificate, Usage
from cloister.evidence.sev_keys import EcKey
from cloister.measure.image import PAGE

__all__ = ["Firmware", "check_value"]

RESERVED: Final = 0xFFC0
"""Bits of a guest policy that must be zero (chapter 3)."""

BLOCK: Final = 16
"""Bytes that memory is encrypted in: addresses and lengths are multiples of it."""


def check_value(save_area: bytes | memoryview) -> bytes:
    """What a processor keeps of a save area, to see whether it was changed: CHECK_SIZE bytes over all 4,096.

    The real function is not published (D. Kaplan, "Protecting VM register state with SEV-ES", 2017).
    """
    return hashlib.sha256(save_area).digest()


class Firmware(Guests):
    """The whole firmware. Raises CommandFailed; IndexError where the host names memory that is not there."""

    def launch_start(
        self, policy: int, certificate: SevCertificate | None = None, session: Session | None = None
    ) -> int:
        """LAUNCH_START (6.2): a new guest under a new memory key; its handle.

        Owner's certificate and session come together. Without them the guest has no owner: nobody else ever learns its
        transport keys, so nobody can check its measurement or send it secrets.
        """
        self._expect(Command.LAUNCH_START, PlatformState.INIT, PlatformState.WORKING)
        wanted = Policy(policy)
        self._check_policy(wanted)
        if certificate is None or session is None:
            keys = self._without_owner(certificate, session)
        else:
            keys = self._opened(certificate, session, wanted)
        handle = max(self.guests, default=0) + 1
        key = secrets.token_bytes(self.generation.key_bits // 8)
        self.guests[handle] = GuestContext(policy=wanted, memory_key=key, transport=keys)
        return handle

    def _without_owner(self, certificate: SevCertificate | None, session: Session | None) -> TransportKeys:
        if certificate is not None or session is not None:
            reason = "the owner's certificate and session buffer come together"
            raise CommandFailed(Command.LAUNCH_START, Status.INVALID_PARAM, reason)
        return fresh_keys()

    def _check_policy(self, policy: Policy) -> None:
        own = self._identity.api
        if policy & RESERVED:
            reason = f"reserved bits of policy {policy:#x} must be zero"
            raise CommandFailed(Command.LAUNCH_START, Status.INVALID_PARAM, reason)
        if policy.api > own:
            reason = f"the guest's owner wants API {policy.api[0]}.{policy.api[1]}; this firmware has {own[0]}.{own[1]}"
            raise CommandFailed(Command.LAUNCH_START, Status.POLICY_FAILURE, reason)
        if Policy.ES in policy and self.trusted_region is None:
            reason = "the guest's owner wants SEV-ES, which the host did not switch on at INIT"
            raise CommandFailed(Command.LAUNCH_START, Status.POLICY_FAILURE, reason)

    def _opened(self, certificate: SevCertificate, session: Session, policy: Policy) -> TransportKeys:
        """The owner's transport keys, if they were wrapped for this PDH and for this policy."""
        try:
            z = shared_secret(self._identity.keys[Usage.PDH], EcKey.parse(certificate.pubkey))
        except UsageError as error:
            raise CommandFailed(Command.LAUNCH_START, Status.INVALID_CERTIFICATE, str(error)) from error
        try:
            return unwrap(session, z, policy=int(policy))
        except SignatureInvalid as error:
            raise CommandFailed(Command.LAUNCH_START, Status.BAD_MEASUREMENT, error.reason) from error

    def launch_update_data(self, handle: int, address: int, size: int) -> None:
        """LAUNCH_UPDATE_DATA (6.3): measure `size` bytes of the host's memory and encrypt them where they stand."""
        command = Command.LAUNCH_UPDATE_DATA
        guest = self._active(command, handle, GuestState.LAUNCHING)
        self._check_range(command, address, size)
        self._take_in(guest, address, self.memory.read(address, size, HOST_KEY))

    def launch_update_vmsa(self, handle: int, address: int) -> None:
        """LAUNCH_UPDATE_VMSA (6.4): the same for a processor's save area, one page; its check value is kept."""
        command = Command.LAUNCH_UPDATE_VMSA
        guest = self._active(command, handle, GuestState.LAUNCHING)
        self._check_range(command, address, PAGE)
        if Policy.ES not in guest.policy or self.trusted_region is None:
            raise CommandFailed(command, Status.POLICY_FAILURE, f"guest {handle} was not launched for SEV-ES")
        content = self.memory.read(address, PAGE, HOST_KEY)
        self._take_in(guest, address, content)
        place = self.trusted_region + guest.asid * CHECK_SIZE
        self.memory.write(place, check_value(content), TRUSTED_KEY)

    def _take_in(self, guest: GuestContext, address: int, content: bytes) -> None:
        guest.measured.update(content)
        self.memory.write(address, content, guest.asid)

    def launch_measure(self, handle: int) -> LaunchMeasurement:
        """LAUNCH_MEASURE (6.5): nothing more is taken in; the answer is for the owner, who alone has the TIK."""
        guest = self._guest(Command.LAUNCH_MEASURE, handle, GuestState.LAUNCHING)
        answer = launch_measurement(
            guest.transport, guest.launch_digest, mnonce=secrets.token_bytes(16), policy=int(guest.policy),
            api=self._identity.api, build=BUILD,
        )  # fmt: skip
        guest.state, guest.measure = GuestState.SECRET, answer.measure
        return answer

    def launch_secret(self, handle: int, address: int, header: SecretHeader, packet: bytes) -> None:
        """LAUNCH_SECRET (6.6): the owner's packet, opened into the guest's memory at an address that the host chooses.

        Refused if it is not under this guest's transport keys, or was made for another launch than this one.
        """
        command = Command.LAUNCH_SECRET
        guest = self._active(command, handle, GuestState.SECRET)
        self._check_range(command, address, len(packet))
        try:
            secret = open_secret(guest.transport, header, packet, guest.measure, guest_length=len(packet))
        except SignatureInvalid as error:
            raise CommandFailed(command, Status.BAD_MEASUREMENT, error.reason) from error
        except UsageError as error:
            raise CommandFailed(command, Status.INVALID_LENGTH, str(error)) from error
        self.memory.write(address, secret, guest.asid)

    def launch_finish(self, handle: int) -> None:
        """LAUNCH_FINISH (6.7): the guest may run, and takes in nothing any more."""
        self._guest(Command.LAUNCH_FINISH, handle, GuestState.SECRET).state = GuestState.RUNNING

    def attestation(self, handle: int, mnonce: bytes) -> SevReport:
        """ATTESTATION (6.8): launch digest and policy under the PEK, over a nonce of 16 bytes that the host brings.

        The guest has no part in it: there is no place for data of its own.
        """
        guest = self._guest(Command.ATTESTATION, handle, GuestState.SECRET, GuestState.RUNNING)
        return self._identity.attest(mnonce, guest.launch_digest, int(guest.policy))

    def dbg_decrypt(self, handle: int, source: int, target: int, size: int) -> None:
        """DBG_DECRYPT: the guest's memory at `source`, in plain at `target`. Refused if the policy has NODBG."""
        guest = self._debugged(Command.DBG_DECRYPT, handle, (source, target), size)
        self.memory.write(target, self.memory.read(source, size, guest.asid), HOST_KEY)

    def dbg_encrypt(self, handle: int, source: int, target: int, size: int) -> None:
        """DBG_ENCRYPT: the host's bytes at `source` into the guest's memory at `target`."""
        guest = self._debugged(Command.DBG_ENCRYPT, handle, (source, target), size)
        self.memory.write(target, self.memory.read(source, size, HOST_KEY), guest.asid)

    def _debugged(self, command: Command, handle: int, addresses: tuple[int, int], size: int) -> GuestContext:
        guest = self._active(command, handle)
        if Policy.NODBG in guest.policy:
            raise CommandFailed(command, Status.POLICY_FAILURE, f"guest {handle} has NODBG in its policy")
        for address in addresses:
            self._check_range(command, address, size)
        return guest

    def _check_range(self, command: Command, address: int, size: int) -> None:
        if address % BLOCK:
            raise CommandFailed(command, Status.INVALID_ADDRESS, f"{address:#x} is no multiple of {BLOCK}")
        if size <= 0 or size % BLOCK:
            raise CommandFailed(command, Status.INVALID_LENGTH, f"{size} bytes are no positive multiple of {BLOCK}")
        region = self.trusted_region
        if region is not None and address < region + self.trusted_size and region < address + size:
            reason = f"{address:#x} is in the trusted memory region, which is nobody's but the firmware's"
            raise CommandFailed(command, Status.INVALID_ADDRESS, reason)
