"""A hypervisor that tampers with the launch of a SEV guest: who notices, when, and what an owner must check."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from tests.forge.emulated_sev import EXIT, Session, owner_of, program, quick_keystore, sessions

from cloister.emulate.launch_step import Stage
from cloister.emulate.machine import Shape
from cloister.emulate.sev.commands import CommandFailed, Policy, Status
from cloister.emulate.sev.launch_steps import Party, Tampering, launch_steps
from cloister.emulate.sev.machine import SevMachine
from cloister.emulate.sev.owner import PRODUCTION, GuestOwner
from cloister.emulate.vendors.amd import AmdManufacturer
from cloister.emulate.vendors.amd_sev import certificate_record, sign_certificate
from cloister.emulate.vendors.amd_sev_secret import OwnerSession, open_secret
from cloister.emulate.vendors.amd_sev_session import shared_secret, unwrap, wrap
from cloister.emulate.vendors.keystore import Keystore
from cloister.emulate.vendors.x509 import p384
from cloister.endorse.anchors import TrustAnchors
from cloister.evidence.sev_chain import SevChain, Usage
from cloister.evidence.sev_keys import EcKey
from cloister.measure.guest import GuestLayout
from cloister.measure.image import PAGE, Image

SMALL = Shape(memory=2048, frames=64)


@pytest.fixture(scope="module")
def keystore(tmp_path_factory: pytest.TempPathFactory) -> Keystore:
    return quick_keystore(tmp_path_factory.mktemp("keys"))


@pytest.fixture
def play(keystore: Keystore) -> Iterator[Callable[..., Session]]:
    """Make a machine by its name, and somebody who types."""
    with sessions(keystore) as make:
        yield lambda kind="sev", shape=SMALL, **settings: make(kind, shape, **settings)


def believe(_chain: SevChain) -> None:
    """What an owner must not do."""


@pytest.fixture
def dialogue(play: Callable[..., Session], keystore: Keystore) -> Callable[..., tuple[SevMachine, GuestOwner, Image]]:
    """A machine, and an owner who checks certificates unless told not to."""
    root = AmdManufacturer(keystore, "Milan").ark.certificate.spki
    anchors = TrustAnchors.testing(root)

    def of(*, careful: bool = True, **settings: object) -> tuple[SevMachine, GuestOwner, Image]:
        image = program(EXIT)
        settings |= {"owner": owner_of(image, anchors) if careful else owner_of(image, anchors, check_platform=believe)}
        machine = play("sev", **settings).sev
        assert machine.owner is not None
        return machine, machine.owner, image

    return of


@pytest.mark.parametrize(
    ("tampering", "stage", "who", "words"),
    [
        (Tampering.SWAPPED_PDH, Stage.DEPLOY, Party.OWNER, "PDH"),
        (Tampering.ALTERED_POLICY, Stage.LAUNCH, Party.FIRMWARE, "another policy"),
        (Tampering.CHANGED_IMAGE, Stage.MEASURE, Party.OWNER, "expected launch"),
        (Tampering.OLD_SECRET, Stage.SECRET, Party.FIRMWARE, "BAD_MEASUREMENT"),
        (Tampering.CHANGED_SECRET, Stage.SECRET, Party.FIRMWARE, "BAD_MEASUREMENT"),
    ],
)
def test_who_notices_which_tampering(
    dialogue: Callable[..., tuple[SevMachine, GuestOwner, Image]],
    tampering: Tampering,
    stage: Stage,
    who: Party,
    words: str,
) -> None:
    machine, owner, image = dialogue()
    steps = list(launch_steps(machine, image, owner, tampering=tampering))
    assert [step.ok for step in steps] == [True] * (len(steps) - 1) + [False]
    assert (steps[-1].stage, steps[-1].receiver) == (stage, who)
    assert words in steps[-1].failure
    sent = stage is Stage.SECRET
    assert any(step.sender is Party.OWNER and step.stage is Stage.SECRET for step in steps) == sent


def test_altering_the_policy_bit_by_bit(dialogue: Callable[..., tuple[SevMachine, GuestOwner, Image]]) -> None:
    machine, owner, _ = dialogue()
    session = owner.begin(machine.firmware.pdh_cert_export())
    for bit in range(6):
        altered = int(PRODUCTION) ^ 1 << bit
        with pytest.raises(CommandFailed) as failed:
            machine.firmware.launch_start(altered, session.certificate, session.session)
        assert failed.value.status in {Status.BAD_MEASUREMENT, Status.POLICY_FAILURE}
    machine.firmware.launch_start(int(PRODUCTION), session.certificate, session.session)


def test_an_owner_who_does_not_check_certificates_is_fooled(
    dialogue: Callable[..., tuple[SevMachine, GuestOwner, Image]],
) -> None:
    """The hypervisor stands between: its own PDH for the owner, the platform's for the keys that it passes on."""
    machine, owner, image = dialogue(careful=False)
    own, genuine = p384(), machine.firmware.pdh_cert_export()
    forged = sign_certificate(certificate_record(Usage.PDH, own.public_key()), {Usage.PEK: p384()})
    begun = owner.begin(replace(genuine, pdh=forged))
    keys = unwrap(begun.session, shared_secret(own, EcKey.parse(begun.certificate.pubkey)), policy=owner.policy)
    again = p384()
    z = shared_secret(again, EcKey.parse(genuine.pdh.pubkey))
    passed_on = OwnerSession(
        certificate=certificate_record(Usage.PDH, again.public_key()),
        session=wrap(keys, z, policy=owner.policy, nonce=bytes(16), iv=bytes(16)),
        pdh=genuine.pdh.serialize(),
        keys=keys,
    )
    hypervisor = machine.hypervisor
    hypervisor.load(GuestLayout.of(image))
    hypervisor.start(owner.policy, passed_on)
    hypervisor.encrypt()
    measurement = hypervisor.measure()
    packet = owner.release(measurement)  # everything looks right
    stolen = open_secret(keys, packet.header, packet.data, measurement.measure, guest_length=len(packet.data))
    hypervisor.inject(packet)
    hypervisor.finish()
    machine.boot()
    (key,) = machine.secrets().values()
    assert key in stolen


def test_a_careful_owner_is_not(dialogue: Callable[..., tuple[SevMachine, GuestOwner, Image]]) -> None:
    machine, owner, _ = dialogue()
    forged = sign_certificate(certificate_record(Usage.PDH, p384().public_key()), {Usage.PEK: p384()})
    with pytest.raises(Exception, match="PDH"):
        owner.begin(replace(machine.firmware.pdh_cert_export(), pdh=forged))


def test_the_hypervisor_cannot_make_the_measure(
    dialogue: Callable[..., tuple[SevMachine, GuestOwner, Image]],
) -> None:
    """It knows everything in the HMAC but the key."""
    machine, owner, image = dialogue()
    owner.begin(machine.firmware.pdh_cert_export())
    hypervisor = machine.hypervisor
    hypervisor.load(GuestLayout.of(image))
    hypervisor.start(owner.policy, None)  # a guest of its own, whose keys the firmware keeps
    hypervisor.encrypt()
    with pytest.raises(Exception, match="not that of an expected launch"):
        owner.release(hypervisor.measure())


def test_nothing_is_added_after_the_measurement(
    dialogue: Callable[..., tuple[SevMachine, GuestOwner, Image]],
) -> None:
    machine, owner, image = dialogue()
    session = owner.begin(machine.firmware.pdh_cert_export())
    hypervisor = machine.hypervisor
    hypervisor.load(GuestLayout.of(image))
    hypervisor.start(owner.policy, session)
    hypervisor.encrypt()
    hypervisor.measure()
    with pytest.raises(CommandFailed) as failed:
        machine.firmware.launch_update_data(hypervisor.handle, hypervisor.table[0] * PAGE, PAGE)
    assert failed.value.status is Status.INVALID_GUEST_STATE


def test_keys_and_secrets_are_in_no_message_and_no_text(
    dialogue: Callable[..., tuple[SevMachine, GuestOwner, Image]],
) -> None:
    machine, owner, image = dialogue()
    steps = list(launch_steps(machine, image, owner))
    keys = owner.session.keys
    (key,) = machine.secrets().values()
    context = machine.firmware.guests[machine.hypervisor.handle]
    for hidden in (keys.tek, keys.tik, key, context.memory_key):
        assert not any(hidden in step.message for step in steps)
        for text in (repr(steps), repr(owner.session), repr(context), repr(machine.firmware.guests)):
            assert hidden.hex() not in text
            assert repr(hidden)[2:-1] not in text


def test_the_policy_is_the_owners_even_if_the_machine_was_made_for_debugging(
    dialogue: Callable[..., tuple[SevMachine, GuestOwner, Image]],
) -> None:
    machine, _, image = dialogue(debug=True)
    machine.launch(image)
    status = machine.firmware.guest_status(machine.hypervisor.handle)
    assert Policy.NODBG in Policy(status.policy)
