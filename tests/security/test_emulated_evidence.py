"""Evidence of every emulated TEE: accepted under its emulated root, refused by the hardware anchors, tamper-evident."""

import functools
import random
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.machines.build import LAB_PROGRAM, program
from tests.machines.running import Run, machine_for

from cloister.emulate.catalogue import kind_of
from cloister.endorse.anchors import AnchorKind, TrustAnchors
from cloister.endorse.store import Endorsements
from cloister.errors import EndorsementUnavailable, NotFresh, ParseError, VerificationError
from cloister.measure.image import read_image
from cloister.measure.program import MEASURED, program_measurement
from cloister.model import Challenge, Tee
from cloister.verification.recipe import Allowances
from cloister.verifier import Verifier
from cloister.verifier.trust_files import anchors_in, read_endorsements

NONCE = Challenge(b"sixteen bytes, 1")
"""As long as SEV's reports have room for."""

FLIPS = 60
WITH_DEBUG = ("sgx", "sev", "sev-snp", "tdx", "cca")


@dataclass(frozen=True)
class Made:
    """Evidence of one machine, when it was made, and what vouches for it."""

    evidence: bytes
    at: datetime
    anchors: TrustAnchors
    endorsements: Endorsements


@functools.cache
def made(name: str, *, debug: bool = False) -> Made:
    """Launch the lab's program and ask for evidence."""
    image = read_image(program(LAB_PROGRAM, kind_of(name).architecture))
    with tempfile.TemporaryDirectory() as directory:
        machine = machine_for(name, Run(), Path(directory) / "keys", debug=debug)
        try:
            machine.launch(image)
            at = datetime.now(UTC)
            evidence, vouching = machine.evidence(NONCE.nonce), machine.vouching(at)
        finally:
            machine.close()
        files = []
        for file, content in vouching.collateral.items():
            files.append(Path(directory) / file)
            files[-1].write_bytes(content)
        anchors, given = anchors_in(vouching.roots, "roots.pem", kind=AnchorKind.TESTING, tees=frozenset(Tee))
        return Made(evidence, at, anchors, given | (read_endorsements(*files) if files else Endorsements()))


def verified(
    one: Made, evidence: bytes, challenge: Challenge = NONCE, *, anchors: TrustAnchors | None = None
) -> object:
    verifier = Verifier(anchors=anchors or one.anchors, endorsements=one.endorsements)
    return verifier.verify(evidence, at=one.at + timedelta(minutes=1), challenge=challenge)


@pytest.mark.parametrize("name", MEASURED)
def test_it_is_accepted_and_says_what_was_measured_offline(name: str) -> None:
    one = made(name)
    expected = program_measurement(name, read_image(program(LAB_PROGRAM, kind_of(name).architecture)))
    verifier = Verifier(anchors=one.anchors, endorsements=one.endorsements)
    verdict = verifier.appraise(one.evidence, at=one.at + timedelta(minutes=1), challenge=NONCE)
    assert verdict.tee is expected.tee
    assert verdict.claims[expected.claim] == expected.digest.value.hex()


@pytest.mark.parametrize("name", MEASURED)
def test_the_hardware_anchors_refuse_it(name: str) -> None:
    one = made(name)
    with pytest.raises((VerificationError, EndorsementUnavailable)):
        verified(one, one.evidence, anchors=TrustAnchors.hardware())


@pytest.mark.parametrize("name", MEASURED)
def test_the_roots_of_another_installation_refuse_it(name: str) -> None:
    one, other = made(name), made(name, debug=name in WITH_DEBUG)  # each has a manufacturer of its own
    with pytest.raises((VerificationError, EndorsementUnavailable)):
        verified(one, one.evidence, anchors=other.anchors if other is not one else TrustAnchors(()))


@pytest.mark.parametrize("name", MEASURED)
def test_another_nonce_is_not_answered(name: str) -> None:
    one = made(name)
    with pytest.raises(NotFresh):
        verified(one, one.evidence, Challenge(b"another nonce"))


@pytest.mark.parametrize("name", WITH_DEBUG)
def test_debug_is_refused_unless_it_is_allowed(name: str) -> None:
    one = made(name, debug=True)
    with pytest.raises(VerificationError, match=r"(?i)debug|lifecycle"):
        verified(one, one.evidence)
    verifier = Verifier(anchors=one.anchors, endorsements=one.endorsements)
    allowed = Allowances(unsafe_allow_debug=True)
    assert verifier.verify(one.evidence, at=one.at + timedelta(minutes=1), challenge=NONCE, allow=allowed)


@pytest.mark.parametrize("name", MEASURED)
def test_a_flipped_bit_is_noticed_or_changes_nothing_that_is_claimed(name: str) -> None:
    one = made(name)
    verifier = Verifier(anchors=one.anchors, endorsements=one.endorsements)
    at, chosen, noticed = one.at + timedelta(minutes=1), random.Random(name), 0  # noqa: S311 - which bits, not a key
    honest = verifier.appraise(one.evidence, at=at, challenge=NONCE).claims
    for _ in range(FLIPS):
        place, bit = chosen.randrange(len(one.evidence)), 1 << chosen.randrange(8)
        changed = one.evidence[:place] + bytes([one.evidence[place] ^ bit]) + one.evidence[place + 1 :]
        try:
            claims = verifier.appraise(changed, at=at, challenge=NONCE).claims
        except (ParseError, VerificationError, EndorsementUnavailable):
            noticed += 1
        else:
            assert claims == honest, f"byte {place}, bit {bit:#x}"
    assert noticed > FLIPS // 4
