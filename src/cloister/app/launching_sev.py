"""The same for SEV and SEV-ES, which have a dialogue of their own: the secret goes in before the guest ever runs.

What the owner verifies is the platform's certificates before the launch, and the measure, a keyed hash, after it.
"""

import secrets as randomness
import uuid
from collections.abc import Iterator, Mapping
from typing import Final

from cloister.app.launching import DATA, Secret, trust_in
from cloister.emulate.attestation_files import provide_attestation, provide_secret
from cloister.emulate.launch_step import Step
from cloister.emulate.machine import Machine, Vouching
from cloister.emulate.sev.commands import Policy
from cloister.emulate.sev.launch_steps import Tampering, launch_steps
from cloister.emulate.sev.machine import SevMachine
from cloister.emulate.sev.owner import PRODUCTION, GuestOwner, open_disk
from cloister.emulate.sev.secret_area import DISK_KEY
from cloister.errors import UsageError
from cloister.evidence.sev_chain import SevChain
from cloister.measure.image import Image
from cloister.measure.program import program_measurement
from cloister.verification.sev_chain import check_chain

__all__ = ["KERNEL_SECRETS", "SECRET", "SevLaunch", "sev_owner"]

SECRET: Final = uuid.UUID("0c1f6a63-9a0e-4d5c-8f3e-6f1b5b7a2c91")
"""The entry of the secret area that holds what `cloister launch` sends."""

KERNEL_SECRETS: Final = "/sys/kernel/security/secrets/coco"
"""Where Linux shows a guest the entries of its secret area (Documentation/security/secrets/coco.rst)."""


def sev_owner(machine: str, image: Image, secret: Secret, vouching: Vouching, *, with_data: bool = False) -> GuestOwner:
    """An owner who expects this program, on a platform of the emulated AMD; SEV-ES for the machine `sev-es`.

    `with_data`: the owner has a disk key too, for encrypted data.
    """
    anchors, _ = trust_in(vouching)

    def check(chain: SevChain) -> None:
        check_chain(chain, anchors)

    return GuestOwner(
        expected=[program_measurement(machine, image).digest],
        check_platform=check,
        secrets={SECRET: secret.value} | ({DISK_KEY: randomness.token_bytes(32)} if with_data else {}),
        policy=int(PRODUCTION | (Policy.ES if machine == "sev-es" else Policy(0))),
    )


class SevLaunch:
    """As `launching.Launch`. UsageError if the machine is no SEV machine."""

    def __init__(
        self,
        machine: Machine,
        image: Image,
        owner: GuestOwner,
        secret: Secret,
        tampering: Tampering = Tampering.NONE,
        data: bytes = b"",
    ) -> None:
        if not isinstance(machine, SevMachine):
            raise UsageError(f"{type(machine).__name__} is no SEV machine")
        self.machine, self._image, self._owner = machine, image, owner
        self._name, self._tampering, self.accepted = secret.name, tampering, False
        self._disk = owner.encrypted_disk(data) if data else b""

    def steps(self) -> Iterator[Step]:
        """The dialogue, up to the first check that fails."""
        machine = self.machine
        for step in launch_steps(machine, self._image, self._owner, disk=self._disk, tampering=self._tampering):
            yield step
            if not step.ok:
                return
        self._lay_down(machine.secrets())
        self.accepted = True

    def _lay_down(self, found: Mapping[uuid.UUID, bytes]) -> None:
        """Inside: what the guest found in its memory becomes files for the program."""
        shim = self.machine.shim
        provide_attestation(self.machine)
        for guid, value in found.items():
            shim.provide(f"{KERNEL_SECRETS}/{guid}", value)
        provide_secret(shim, self._name, found[SECRET])
        if self._disk:
            provide_secret(shim, DATA, open_disk(found[DISK_KEY], self._disk))
