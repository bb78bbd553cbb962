"""Exercise 7's other half: the student's policy, tried on evidence that is made afresh for it.

The folder's files are not believed: the programs are compiled again, launched, and asked for evidence with a new nonce.
"""

import secrets
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from cloister.app.lab.exercises.grading import Demand
from cloister.appraise.vector import Tier
from cloister.emulate.attacks.victims import FLAGS, SOURCE, compiled
from cloister.emulate.catalogue import kind_of
from cloister.emulate.inside import Request, launched
from cloister.emulate.terminal import sealed_terminal
from cloister.endorse.anchors import AnchorKind
from cloister.errors import CloisterError, UsageError
from cloister.measure.image import Architecture, read_image
from cloister.model import Tee
from cloister.verifier import Verdict, read_anchors, read_endorsements, verify

__all__ = ["OTHER_AMOUNT", "POLICY", "changed_program", "right_program", "tried"]

POLICY: Final = "policy.toml"
AMOUNT: Final = 1_000_000
OTHER_AMOUNT: Final = 2_000_000


def right_program() -> bytes:
    """The victim, as its maker compiles it."""
    return compiled(SOURCE, Architecture.X86_64, FLAGS)


def changed_program(amount: int = OTHER_AMOUNT) -> bytes:
    """The same program with one number changed: who runs it is given more money than its maker meant."""
    right = right_program()
    old, new = (number.to_bytes(8, "little") for number in (AMOUNT, amount))
    if right.count(old) != 1:
        raise UsageError("the victim was compiled in an unexpected way: its amount does not stand in it once")
    return right.replace(old, new)


def tried(folder: Path, keys: str) -> Sequence[Demand]:
    """What the policy says of the right program, of the changed one, and of one that the student has not seen."""
    policy = folder / POLICY
    texts = (
        f"attestation: {policy} accepts evidence of `app` (affirming)",
        f"attestation: {policy} refuses evidence of `other`, and of any other program (contraindicated)",
    )
    if not policy.exists():
        return [Demand(text, met=False, remark="there is no policy yet") for text in texts]
    try:
        right = appraised(right_program(), policy, keys)
        others = [appraised(changed_program(amount), policy, keys) for amount in (OTHER_AMOUNT, unseen())]
    except CloisterError as error:
        return [Demand(text, met=False, remark=str(error)) for text in texts]
    refused = all(one.status is Tier.CONTRAINDICATED for one in others)
    return [
        Demand(texts[0], right.status is Tier.AFFIRMING, words_of(right)),
        Demand(texts[1], refused, "; ".join(map(words_of, others))),
    ]


def words_of(verdict: Verdict) -> str:
    """What a policy says, and why if it refuses."""
    why = [
        f"{one.title} (expected {one.expected}, found {one.actual})" for one in verdict.checks if one.state == "failed"
    ]
    return ": ".join([f"it says {verdict.status.value}", *why])


def unseen() -> int:
    """An amount that no program had before."""
    return OTHER_AMOUNT + 1 + secrets.randbelow(1 << 40)


def appraised(program: bytes, policy: Path, keys: str) -> Verdict:
    """Launch a program in an emulated SGX machine, and appraise its evidence by a policy. CloisterError."""
    nonce, terminal = secrets.token_bytes(16), sealed_terminal(lambda _: b"", lambda _: None)
    request = Request(tee="sgx", memory=32, frames=256, keys=keys)
    machine = launched(kind_of("sgx"), request, read_image(program, "app"), terminal)
    try:
        evidence, vouching = machine.evidence(nonce), machine.vouching(datetime.now(UTC))
    finally:
        machine.close()
    with tempfile.TemporaryDirectory(prefix="cloister-lab-") as directory:
        roots = Path(directory) / "roots.pem"
        roots.write_bytes(vouching.roots)
        places = [Path(directory) / name for name in vouching.collateral]
        for place, content in zip(places, vouching.collateral.values(), strict=True):
            place.write_bytes(content)
        anchors, keys_given = read_anchors(roots, kind=AnchorKind.TESTING, tees=[Tee.SGX])
        endorsements = read_endorsements(*places) | keys_given
    return verify(evidence, nonce=nonce, policy=policy, anchors=anchors, endorsements=endorsements)
