"""A launch with everybody in it: an owner who believes nothing, a host that carries everything, the machine's firmware.

    machine = kind.make(shape, terminal, keystore)
    launch = Launch(machine, image, Owner("sgx", image, secret, machine.vouching(now)))
    for step in launch.steps():
        print(step.sender, "->", step.receiver, step.name, step.failure)
    if launch.accepted:
        machine.start(["program"], {}); machine.run()

The owner verifies evidence with this project's verifier, under the emulated manufacturer's root, and compares it with
what `cloister measure` computes from the owner's own copy of the program. Only then the secret is sent, sealed for a
key that the evidence speaks of.
"""

import hashlib
import secrets
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

from cloister.appraise.judge import claims_of
from cloister.emulate.attestation_files import provide_attestation, provide_secret
from cloister.emulate.launch_checks import CHECKS
from cloister.emulate.launch_commands import CommandLog, observed
from cloister.emulate.launch_step import Stage, Step
from cloister.emulate.machine import Machine, Vouching
from cloister.emulate.secret_channel import SecretReceiver, open_data, seal_data, seal_for
from cloister.endorse import cache
from cloister.endorse.anchors import AnchorKind, TrustAnchors
from cloister.endorse.importing import import_files
from cloister.endorse.store import Endorsements
from cloister.errors import BindingInvalid, CloisterError, SignatureInvalid, VerificationError
from cloister.measure.image import Image
from cloister.measure.program import ProgramMeasurement, program_measurement
from cloister.model import Challenge, Tee
from cloister.verification.recipe import Check
from cloister.verifier import Verifier
from cloister.verifier.trust_files import anchors_in

__all__ = ["DATA", "PARTIES", "Launch", "Owner", "Parties", "Secret", "Tampering", "changed_program", "trust_in"]

REPORT_DATA: Final = 64
NONCE: Final = 32
SHOWN: Final = 16
DATA: Final = "data"
"""The file in /run/secrets with the owner's data, opened."""

DATA_KEY: Final = 32


class Tampering(StrEnum):
    """What the host does otherwise than it was told."""

    NONE = "none"
    CHANGED_PROGRAM = "changed-program"  # one bit of the program
    DEBUG = "debug-mode"  # the TEE's debug mode, in which the host reads everything
    OLD_EVIDENCE = "old-evidence"  # genuine evidence, for an earlier nonce
    OWN_KEY = "own-key"  # genuine evidence, and beside it the host's own key
    CHANGED_SECRET = "changed-secret"  # noqa: S105 - one bit of the sealed packet


@dataclass(frozen=True, slots=True)
class Parties:
    """What they are called on one machine: who carries, who launches, and who is inside."""

    host: str
    firmware: str
    inside: str
    owner: str = "owner"


PARTIES: Final[Mapping[Tee, Parties]] = {
    Tee.SGX: Parties("operating system", "processor", "enclave"),
    Tee.SNP: Parties("hypervisor", "security processor", "guest"),
    Tee.TDX: Parties("hypervisor", "TDX module", "trust domain"),
    Tee.CCA: Parties("hypervisor", "realm management monitor", "realm"),
    Tee.KEYSTONE: Parties("operating system", "security monitor", "enclave"),
}


@dataclass(frozen=True, slots=True)
class Secret:
    """What the owner sends, and the name of the file that the program finds it in, in /run/secrets."""

    name: str
    value: bytes

    def __repr__(self) -> str:
        """Without the value."""
        return f"Secret({self.name!r}, {len(self.value)} bytes)"


class Owner:
    """Has the program, a secret for it, and the manufacturer's root. `vouching` is what the manufacturer publishes.

    `data` are deployed with the program, but sealed (`sealed_data`); the key goes with the secret.
    CannotEnclave or UsageError if the program cannot run in this kind of machine, which `machine` names.
    """

    def __init__(self, machine: str, image: Image, secret: Secret, vouching: Vouching, data: bytes = b"") -> None:
        self.secret = secret
        self._data_key, self.sealed_data = seal_data(data) if data else (b"", b"")
        self.measured: ProgramMeasurement = program_measurement(machine, image)
        self.nonce = secrets.token_bytes(NONCE)
        anchors, given = trust_in(vouching)
        self._verifier = Verifier(anchors=anchors, endorsements=given)

    @property
    def expected(self) -> str:
        """The measurement that gets the secret, in hexadecimal."""
        return self.measured.digest.value.hex()

    def accept(self, evidence: bytes, key: bytes) -> dict[str, str]:
        """Which checks passed, and which were not made. Raises as `Verifier.verify`, VerificationError among others."""
        challenge = Challenge(question(self.nonce, key))
        part = self._verifier.verify(evidence, at=datetime.now(UTC), challenge=challenge)[0]
        actual = claims_of(part)[self.measured.claim]
        if part.tee is not self.measured.tee or actual != self.expected:
            raise BindingInvalid(
                "another program was launched, or this one otherwise than its owner expects",
                expected=self.expected, actual=actual, set_by="cloister measure",
            )  # fmt: skip
        return by_state(part.checks)

    def seal(self, key: bytes) -> bytes:
        """The secret, for the holder of a key that `accept` has accepted."""
        return seal_for(key, self._data_key + self.secret.value)


def by_state(checks: Iterable[object]) -> dict[str, str]:
    """The titles of checks, by what came of them."""
    states: dict[str, list[str]] = {}
    for check in checks:
        if isinstance(check, Check):
            states.setdefault(str(check.state), []).append(check.title)
    return {state: "; ".join(titles) for state, titles in states.items()}


def trust_in(vouching: Vouching) -> tuple[TrustAnchors, Endorsements]:
    """Roots that prove nothing, believed for this one launch, and the collateral under them."""
    anchors, given = anchors_in(vouching.roots, "emulated root", kind=AnchorKind.TESTING, tees=frozenset(Tee))
    return anchors, given | cache.endorsements(import_files(vouching.collateral.items()))


def question(nonce: bytes, key: bytes) -> bytes:
    """What the evidence must contain: a hash that ties the owner's nonce to the key that the secret is sealed for."""
    return hashlib.sha256(nonce + key).digest()


def changed_program(image: Image) -> Image:
    """One bit of the last byte of its first page flipped: what a host does to it at the least."""
    first, *rest = image.pages
    content = first.content[:-1] + bytes([first.content[-1] ^ 1])
    return replace(image, pages=(replace(first, content=content), *rest))


class Launch:
    """One launch of one program in a machine that the host has made, and that the caller closes.

    Whoever tampers by `Tampering.DEBUG` has made it in debug mode. `accepted` says whether the owner sent the secret
    and the program got it.
    """

    def __init__(self, machine: Machine, image: Image, owner: Owner, tampering: Tampering = Tampering.NONE) -> None:
        self.machine, self._image, self._owner, self._tampering = machine, image, owner, tampering
        self._parties = PARTIES[owner.measured.tee]
        self.accepted = False

    def steps(self) -> Iterator[Step]:
        """The dialogue, up to the first check that fails."""
        for stage in (self._deploy, self._launch, self._measure, self._hand_over):
            for step in stage():
                yield step
                if not step.ok:
                    return
        self.accepted = True

    # ---- 1. the owner asks the host to deploy

    def _deploy(self) -> Iterator[Step]:
        pages = self._image.pages
        fields = {
            "program": f"{len(pages)} pages, in plain: it is measured, not secret",
            "nonce": self._owner.nonce.hex(),
            "the owner keeps": f"the secret, {len(self._owner.secret.value)} bytes, and what must be measured",
        }
        sealed = self._owner.sealed_data
        fields |= {"encrypted data": f"{len(sealed)} bytes; the owner keeps the key"} if sealed else {}
        message = b"".join(page.content for page in pages) + self._owner.nonce + sealed
        yield Step(
            Stage.DEPLOY, self._parties.owner, self._parties.host, "deploy", fields, message,
            "nothing: it will do with it what it likes",
        )  # fmt: skip

    # ---- 2. the host has the firmware encrypt, measure and launch

    def _launch(self) -> Iterator[Step]:
        changed = self._tampering is Tampering.CHANGED_PROGRAM
        log, failure = CommandLog(), ""
        try:
            with observed(self.machine, log):
                self.machine.launch(changed_program(self._image) if changed else self._image)
        except CloisterError as error:
            failure = str(error)
        before = ""
        for number, run in enumerate(log.runs, 1):
            fields = {"given": f"{run.count} times" if run.count > 1 else "once"}
            fields |= {"running measurement": run.digest} if run.digest not in {"", before} else {}
            before = run.digest
            yield self._command(run.name, fields, failure if number == len(log.runs) else "")
        if failure and not log.runs:
            yield self._command("launch", {}, failure)

    def _command(self, name: str, fields: Mapping[str, str], failure: str) -> Step:
        check = CHECKS.get(name, "its operands")
        return Step(Stage.LAUNCH, self._parties.host, self._parties.firmware, name, fields, b"", check, failure)

    # ---- 3. evidence, and the owner's judgement

    def _measure(self) -> Iterator[Step]:
        parties, owner = self._parties, self._owner
        self._receiver, self._key = SecretReceiver(), b""
        old = self._tampering is Tampering.OLD_EVIDENCE
        nonce = secrets.token_bytes(NONCE) if old else owner.nonce
        asked = question(nonce, self._receiver.public)
        evidence = self.machine.evidence(asked.ljust(REPORT_DATA, b"\0"))
        self._key = SecretReceiver().public if self._tampering is Tampering.OWN_KEY else self._receiver.public
        fields = {"report data": asked.hex(), "key": self._receiver.public.hex()}
        yield Step(
            Stage.MEASURE, parties.inside, parties.host, "evidence", fields, evidence + self._receiver.public,
            "nothing: it cannot make such evidence itself, so it can only pass it on",
        )  # fmt: skip
        yield self._judged(evidence)

    def _judged(self, evidence: bytes) -> Step:
        fields, expected, actual, failure = {"key": self._key.hex()}, self._owner.expected, "", ""
        try:
            fields |= self._owner.accept(evidence, self._key)
            actual = expected
        except VerificationError as error:
            fields |= by_state(error.checks)
            expected, actual, failure = shown(error.expected), shown(error.actual), error.reason
        except CloisterError as error:
            failure = str(error)
        check = (
            "it leads to the manufacturer's root, answers the nonce, names the key, and measures the owner's program"
        )
        parties = self._parties
        return Step(
            Stage.MEASURE, parties.host, parties.owner, "evidence", fields, evidence + self._key, check, failure,
            expected, actual,
        )  # fmt: skip

    # ---- 4. the owner sends the secret

    def _hand_over(self) -> Iterator[Step]:
        parties, owner = self._parties, self._owner
        packet = owner.seal(self._key)
        fields = {"sealed": f"{len(owner.secret.value)} bytes, for {self._key.hex()[: 2 * SHOWN]}..."}
        yield Step(
            Stage.SECRET, parties.owner, parties.host, "secret", fields, packet, "nothing: it has no key that opens it"
        )
        if self._tampering is Tampering.CHANGED_SECRET:
            packet = packet[:-1] + bytes([packet[-1] ^ 1])
        failure, fields = "", {"file": f"/run/secrets/{owner.secret.name}"}
        fields |= {"data": f"/run/secrets/{DATA}"} if owner.sealed_data else {}
        try:
            self._receive(packet)
        except SignatureInvalid as error:
            failure = error.reason
        yield Step(
            Stage.SECRET, parties.host, parties.inside, "secret", fields, packet,
            "it opens with the key that the evidence spoke of, and was not changed", failure,
        )  # fmt: skip

    def _receive(self, packet: bytes) -> None:
        """Inside: open what came, and lay it down for the program. SignatureInvalid."""
        opened, sealed, shim = self._receiver.open(packet), self._owner.sealed_data, self.machine.shim
        size = DATA_KEY if sealed else 0
        data = open_data(opened[:size], sealed) if sealed else b""
        provide_attestation(self.machine)
        provide_secret(shim, self._owner.secret.name, opened[size:])
        if sealed:
            provide_secret(shim, DATA, data)


def shown(value: object) -> str:
    """One side of a comparison, for people."""
    if isinstance(value, list | tuple):
        return " or ".join(map(shown, value))
    return value.hex() if isinstance(value, bytes) else str(value)
