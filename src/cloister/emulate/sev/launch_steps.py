"""A SEV launch as a dialogue of owner, hypervisor and security processor, one message at a time.

    for step in launch_steps(machine, image, owner, disk=owner.encrypted_disk(data)):
        print(step.stage, step.sender, "->", step.receiver, step.name, step.check)

The four stages are those of any introduction to SEV: the owner asks the hypervisor to deploy an encrypted image; the
hypervisor tells the security processor to encrypt and launch it; the security processor measures, and the owner
confirms; the owner sends the key. Every message is real: it is made, carried and checked by the parties' own code, and
a hypervisor that tampers (`Tampering`) does so with real bytes. The dialogue ends at the first check that fails.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from enum import StrEnum
from typing import Final

from cloister.emulate.launch_step import Stage, Step
from cloister.emulate.sev.commands import CommandFailed, Policy
from cloister.emulate.sev.machine import SevMachine
from cloister.emulate.sev.owner import GuestOwner, SecretPacket, open_disk
from cloister.emulate.sev.secret_area import DISK_KEY
from cloister.emulate.vendors.amd_sev import certificate_record, sign_certificate
from cloister.emulate.vendors.amd_sev_secret import OwnerSession
from cloister.emulate.vendors.x509 import p384
from cloister.errors import ChainInvalid, SignatureInvalid, VerificationError
from cloister.evidence.sev import LaunchMeasurement
from cloister.evidence.sev_chain import SevChain, Usage
from cloister.measure.guest import GuestLayout
from cloister.measure.image import Image

__all__ = ["Party", "Tampering", "launch_steps"]


class Party(StrEnum):
    """Who speaks. The hypervisor carries everything, and is trusted with nothing."""

    OWNER = "guest owner"
    HYPERVISOR = "hypervisor"
    FIRMWARE = "security processor"
    GUEST = "guest"


class Tampering(StrEnum):
    """What the hypervisor does otherwise than it was told."""

    NONE = "none"
    CHANGED_IMAGE = "changed-program"  # one byte of it
    SWAPPED_PDH = "swapped-pdh"  # its own Diffie-Hellman key in place of the platform's
    ALTERED_POLICY = "altered-policy"  # debugging allowed
    OLD_SECRET = "old-secret"  # noqa: S105 - the packet of a launch that was right, for one that is not
    CHANGED_SECRET = "changed-secret"  # noqa: S105 - one bit of the packet


OWNER, HYPERVISOR, FIRMWARE, GUEST = Party.OWNER, Party.HYPERVISOR, Party.FIRMWARE, Party.GUEST
SHOWN: Final = 16
"""Bytes of a digest or key that are shown."""


def launch_steps(
    machine: SevMachine,
    image: Image,
    owner: GuestOwner,
    *,
    disk: bytes = b"",
    tampering: Tampering = Tampering.NONE,
) -> Iterator[Step]:
    """The steps, each done when it is yielded. At the end the guest stands ready for `machine.start`.

    `disk` is the owner's data from `GuestOwner.encrypted_disk`, which the guest opens at the end; empty for none.
    After a step that is not `ok` there is no further one, and nothing was launched.
    """
    dialogue = _Dialogue(machine, image, owner, disk, tampering)
    for stage in (dialogue.deploy, dialogue.launch, dialogue.measure, dialogue.secret):
        for step in stage():
            yield step
            if not step.ok:
                machine.hypervisor.end()
                return


class _Dialogue:
    """One launch on its way: what each party has received so far."""

    chain: SevChain
    session: OwnerSession
    measurement: LaunchMeasurement

    def __init__(self, machine: SevMachine, image: Image, owner: GuestOwner, disk: bytes, tampering: Tampering) -> None:
        self.machine, self.owner, self.disk, self.tampering = machine, owner, disk, tampering
        self.layout = GuestLayout.of(image)
        self.layout.require(machine.architecture, "an SEV machine")
        self.changed = replace(self.layout, contents=(_changed(self.layout.contents[0]), *self.layout.contents[1:]))

    # ---- 1. the owner asks the hypervisor to deploy an encrypted image

    def deploy(self) -> Iterator[Step]:
        """The platform's certificates to the owner; the owner's session and image to the hypervisor."""
        yield _step(
            Stage.DEPLOY, OWNER, HYPERVISOR, "request", {"asks for": "a guest, and the platform's certificates"}, b"",
            "nothing: it is the hypervisor's business whether it wants this guest",
        )  # fmt: skip
        chain = self.machine.firmware.pdh_cert_export()
        yield _step(
            Stage.DEPLOY, FIRMWARE, HYPERVISOR, "PDH_CERT_EXPORT", _chain_fields(chain), chain.serialize(),
            "nothing: the hypervisor only carries it",
        )  # fmt: skip
        self.chain = _with_own_pdh(chain) if self.tampering is Tampering.SWAPPED_PDH else chain
        refused: VerificationError | None = None
        try:
            self.session = self.owner.begin(self.chain)
        except ChainInvalid as error:
            refused = error
        yield _judged(
            Stage.DEPLOY, OWNER, "platform certificates", _chain_fields(self.chain), self.chain.serialize(),
            "PDH, PEK, CEK and ASK lead to AMD's root", refused,
        )  # fmt: skip
        yield self._deployment()

    def _deployment(self) -> Step:
        session, image = self.session, b"".join(content for _, content in self.layout.pages)
        message = session.certificate.serialize() + session.session.serialize() + image + self.disk
        fields = {
            "policy": _policy(self.owner.policy), "transport keys": "TEK and TIK, wrapped for the PDH",
            "image": f"{len(self.layout.pages)} pages, in plain: it is measured, not secret",
        }  # fmt: skip
        fields |= {"encrypted disk": f"{len(self.disk)} bytes"} if self.disk else {}
        check = "nothing: the hypervisor cannot open the session" + (", nor the disk" if self.disk else "")
        return _step(Stage.DEPLOY, OWNER, HYPERVISOR, "deploy", fields, message, check)

    # ---- 2. the hypervisor tells the security processor to encrypt and launch

    def launch(self) -> Iterator[Step]:
        """LAUNCH_START, ACTIVATE and the updates."""
        hypervisor, session = self.machine.hypervisor, self.session
        changed = self.tampering is Tampering.CHANGED_IMAGE
        hypervisor.load(self.changed if changed else self.layout)
        altered = self.tampering is Tampering.ALTERED_POLICY
        policy = self.owner.policy & ~Policy.NODBG if altered else self.owner.policy
        failure = ""
        try:
            hypervisor.start(policy, session)
        except CommandFailed as error:
            failure = str(error)
        message = policy.to_bytes(4, "little") + session.certificate.serialize() + session.session.serialize()
        fields = {"policy": _policy(policy), "guest": str(hypervisor.handle), "ASID": str(hypervisor.asid)}
        yield _step(
            Stage.LAUNCH, HYPERVISOR, FIRMWARE, "LAUNCH_START, ACTIVATE", fields, message,
            "the owner wrapped the keys for this PDH (WRAP_MAC) and for this policy (POLICY_MAC)", failure,
        )  # fmt: skip
        yield self._update()

    def _update(self) -> Step:
        hypervisor = self.machine.hypervisor
        hypervisor.encrypt()
        layout = self.changed if self.tampering is Tampering.CHANGED_IMAGE else self.layout
        fields = {"pages": str(len(layout.pages)), "save area": "1" if hypervisor.encrypted_state else "none"}
        name = "LAUNCH_UPDATE_DATA" + (", LAUNCH_UPDATE_VMSA" if hypervisor.encrypted_state else "")
        return _step(
            Stage.LAUNCH, HYPERVISOR, FIRMWARE, name, fields, b"".join(content for _, content in layout.pages),
            "nothing: whatever comes is measured, then encrypted under the guest's own key",
        )  # fmt: skip

    # ---- 3. the security processor measures, the owner confirms

    def measure(self) -> Iterator[Step]:
        """LAUNCH_MEASURE, and the owner's judgement."""
        self.measurement = self.machine.launch_measurement = self.machine.hypervisor.measure()
        fields = {
            "measure": self.measurement.measure.hex()[: 2 * SHOWN], "mnonce": self.measurement.mnonce.hex(),
            "policy": _policy(self.measurement.policy),
        }  # fmt: skip
        message = self.measurement.serialize()
        yield _step(
            Stage.MEASURE, FIRMWARE, HYPERVISOR, "LAUNCH_MEASURE", fields, message,
            "nothing: without the TIK the hypervisor can neither read nor make a measure",
        )  # fmt: skip
        refused: VerificationError | None = None
        try:
            fields |= {"launch digest": self.owner.confirm(self.measurement).value.hex()}
        except VerificationError as error:
            refused = error
        yield _judged(
            Stage.MEASURE, OWNER, "launch measurement", fields, message,
            "the measure is the HMAC, under the owner's TIK, of a digest that the owner expects", refused,
        )  # fmt: skip

    # ---- 4. the owner sends the key

    def secret(self) -> Iterator[Step]:
        """The packet, LAUNCH_SECRET, LAUNCH_FINISH, and what the guest finds."""
        packet = self.owner.release(self.measurement)
        message = packet.header.serialize() + packet.data
        fields = {"encrypted": f"{len(packet.data)} bytes under the TEK", "bound to": "this measure, by a MAC"}
        yield _step(
            Stage.SECRET, OWNER, HYPERVISOR, "secret packet", fields, message, "nothing: the hypervisor cannot open it"
        )
        yield self._injection(packet)
        machine = self.machine
        machine.hypervisor.finish()
        machine.boot()
        yield self._received()

    def _injection(self, packet: SecretPacket) -> Step:
        hypervisor = self.machine.hypervisor
        if self.tampering is Tampering.OLD_SECRET:
            self._launch_another()
        if self.tampering is Tampering.CHANGED_SECRET:
            packet = SecretPacket(packet.header, _changed(packet.data))
        failure = ""
        launch = "another, of a changed image" if self.tampering is Tampering.OLD_SECRET else "the measured one"
        try:
            hypervisor.inject(packet)
        except CommandFailed as error:
            failure = str(error)
        fields = {"launch": launch, "guest-physical address": f"{hypervisor.secret_address:#x}"}
        return _step(
            Stage.SECRET, HYPERVISOR, FIRMWARE, "LAUNCH_SECRET", fields, packet.header.serialize() + packet.data,
            "the packet's MAC is under this guest's TIK and over this launch's measure", failure,
        )  # fmt: skip

    def _launch_another(self) -> None:
        """The packet is for a launch that was right. The hypervisor repeats it with a changed image, same session."""
        hypervisor = self.machine.hypervisor
        hypervisor.end()
        hypervisor.load(self.changed)
        hypervisor.start(self.owner.policy, self.session)
        hypervisor.encrypt()
        hypervisor.measure()

    def _received(self) -> Step:
        """The guest reads its own memory and opens the owner's data."""
        found, failure = self.machine.secrets(), ""
        fields = {str(guid): f"{len(data)} bytes" for guid, data in found.items()}
        if self.disk:
            try:
                fields["encrypted disk"] = f"{len(open_disk(found[DISK_KEY], self.disk))} bytes opened"
            except (KeyError, SignatureInvalid) as error:
                failure = f"the owner's data cannot be opened: {error}"
        check = "the secrets stand in its own encrypted memory" + (", and open the owner's data" if self.disk else "")
        return _step(Stage.SECRET, HYPERVISOR, GUEST, "LAUNCH_FINISH, first entry", fields, b"", check, failure)


def _step(
    stage: Stage,
    sender: Party,
    receiver: Party,
    name: str,
    fields: Mapping[str, str],
    message: bytes,
    check: str,
    failure: str = "",
) -> Step:
    return Step(stage, sender, receiver, name, dict(fields), message, check, failure)


def _judged(
    stage: Stage,
    receiver: Party,
    name: str,
    fields: Mapping[str, str],
    message: bytes,
    check: str,
    refused: VerificationError | None,
) -> Step:
    """A message from the hypervisor that its receiver believes, or refuses with what it compared."""
    if refused is None:
        return Step(stage, HYPERVISOR, receiver, name, dict(fields), message, check)
    expected, actual = (_shown(one) for one in (refused.expected, refused.actual))
    return Step(stage, HYPERVISOR, receiver, name, dict(fields), message, check, refused.reason, expected, actual)


def _shown(value: object) -> str:
    """Both sides of a comparison, for people."""
    if isinstance(value, tuple):
        return " or ".join(map(_shown, value))
    return value.hex() if isinstance(value, bytes) else str(value)


def _changed(content: bytes) -> bytes:
    """The same bytes, one bit of the last one flipped."""
    return content[:-1] + bytes([content[-1] ^ 1])


def _with_own_pdh(chain: SevChain) -> SevChain:
    """A PDH of the hypervisor's own, which it must sign itself: it has no PEK."""
    record = certificate_record(Usage.PDH, p384().public_key())
    return replace(chain, pdh=sign_certificate(record, {Usage.PEK: p384()}))


def _policy(policy: int) -> str:
    names = [flag.name or "" for flag in Policy if flag & policy]
    return f"{policy:#x} ({', '.join(names) or 'nothing demanded'})"


def _chain_fields(chain: SevChain) -> dict[str, str]:
    certificates = {"PDH": chain.pdh, "PEK": chain.pek, "CEK": chain.cek}
    return {name: one.pubkey[8 : 8 + SHOWN].hex() for name, one in certificates.items()}
