"""Sealing under keys that emulated TEEs derive for the program in them: nobody's word is taken for who it is."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests.forge.emulated_snp import quick_keystore
from tests.machines.build import LAB_PROGRAM, program
from tests.machines.running import Run
from tests.machines.sgx_machines import Session

from cloister.emulate.machine import Shape
from cloister.emulate.sgx.machine import SgxMachine
from cloister.emulate.sgx.structures import KeyPolicy
from cloister.emulate.snp.keys import FieldSelect
from cloister.emulate.snp.machine import SnpMachine
from cloister.measure.image import PAGE, Image, ImagePage, Permission, read_image, with_page
from cloister.measure.sigstruct import Product
from cloister.model import Digest, Measurement, MeasurementKind, Tee
from cloister.seal import Binding, Mismatch, Policy, SealedForAnother, Sealer, SealingIdentity, TeeKey, Terms

pytestmark = pytest.mark.needs_program("cc")
BY_SIGNER = Terms(policy=Policy.SIGNER, label="state")
DEBUG = 2  # ATTRIBUTES.DEBUG
SECRET = b"the enclave's state"


@pytest.fixture(scope="module")
def lab() -> Image:
    return read_image(program(LAB_PROGRAM))


@pytest.fixture(scope="module")
def update(lab: Image) -> Image:
    return with_page(lab, ImagePage(0x30_0000_0000, Permission.READ, bytes(PAGE)))


@pytest.fixture
def session(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> Iterator[Session]:
    made = Session(tmp_path_factory.mktemp("keys") / "store", tmp_path)
    yield made
    made.close()


def in_enclave(session: Session, image: Image, **options: Any) -> Sealer:
    """What the program in this enclave would seal with: EGETKEY's key, and what its own report says of it."""
    machine = session.machine(Run(), **options)
    machine.launch(image)
    return Sealer(TeeKey(lambda binding: egetkey(machine, binding), name="the enclave's seal key"), of(machine))


def egetkey(machine: SgxMachine, binding: Binding) -> bytes:
    policy = KeyPolicy.MRENCLAVE if binding.policy is Policy.MEASUREMENT else KeyPolicy.MRSIGNER
    return machine.sealing_key(policy, isvsvn=binding.security_version)


def of(machine: SgxMachine) -> SealingIdentity:
    secs = machine.secs
    return SealingIdentity(
        tee=Tee.SGX,
        measurement=Measurement("mrenclave", MeasurementKind.LAUNCH, Digest("sha256", secs.mrenclave)),
        signer=Measurement("mrsigner", MeasurementKind.SIGNER, Digest("sha256", secs.mrsigner)),
        security_version=secs.isvsvn,
        debug=bool(secs.attributes.flags & DEBUG),
    )


def refused(sealer: Sealer, sealed: bytes, label: str = "") -> SealedForAnother:
    with pytest.raises(SealedForAnother) as told:
        sealer.unseal(sealed, label=label)
    return told.value


def test_an_enclave_seals_to_itself(session: Session, lab: Image, update: Image, tmp_path: Path) -> None:
    sealed = in_enclave(session, lab).seal(SECRET)
    assert in_enclave(session, lab).unseal(sealed) == SECRET
    elsewhere = Session(tmp_path / "other keys", tmp_path)
    others = [in_enclave(session, update), in_enclave(session, lab, debug=True), in_enclave(elsewhere, lab)]
    for other in others:
        error = refused(other, sealed)
        assert (error.mismatches, error.authenticated) == ((Mismatch.PLATFORM,), False)
        assert "another platform, program, signer or mode" in str(error)
    elsewhere.close()


def test_a_liar_has_the_wrong_key_all_the_same(session: Session, lab: Image, update: Image) -> None:
    """The program in another enclave says that it is the first: the processor knows better."""
    honest = in_enclave(session, lab)
    sealed = honest.seal(SECRET)
    liar = Sealer(in_enclave(session, update).key, honest.identity)
    assert refused(liar, sealed).mismatches == (Mismatch.PLATFORM,)


def test_an_update_of_the_same_signer_reads_older_data_not_newer(session: Session, lab: Image, update: Image) -> None:
    old, new = (
        in_enclave(session, image, product=Product(isvsvn=version)) for image, version in ((lab, 3), (update, 4))
    )
    assert new.unseal(old.seal(SECRET, BY_SIGNER), label="state") == SECRET
    error = refused(old, new.seal(SECRET, BY_SIGNER), "state")
    assert error.mismatches == (Mismatch.SECURITY_VERSION,)
    pretender = Sealer(old.key, new.identity)
    with pytest.raises(Exception, match="no such key"):
        pretender.unseal(new.seal(SECRET, BY_SIGNER), label="state")


def test_an_snp_guest_seals_to_its_measurement_and_its_chip(tmp_path: Path, lab: Image, update: Image) -> None:
    keystores = [quick_keystore(tmp_path / name) for name in ("one", "other")]
    digests, sealers = [], []
    for image, keystore in ((lab, keystores[0]), (lab, keystores[0]), (update, keystores[0]), (lab, keystores[1])):
        with closing(SnpMachine(Shape(memory=4096, frames=256), Run().terminal(), keystore)) as machine:
            machine.launch(image)
            secret = machine.derived_key(FieldSelect.MEASUREMENT)
            digests.append(machine.measurement)
        who = Measurement("measurement", MeasurementKind.LAUNCH, digests[-1])
        key = TeeKey(lambda _, secret=secret: secret, name="the guest's derived key")  # type: ignore[misc]
        sealers.append(Sealer(key, SealingIdentity(tee=Tee.SNP, measurement=who)))
    sealed = sealers[0].seal(SECRET)
    assert sealers[1].unseal(sealed) == SECRET
    for other in sealers[2:]:
        assert refused(other, sealed).mismatches == (Mismatch.PLATFORM,)
