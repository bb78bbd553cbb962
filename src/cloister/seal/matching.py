"""Whom sealed data is for, compared with who wants to unseal it. Every difference is named, not only the first."""

from collections.abc import Iterator
from typing import NamedTuple

from cloister.model import Measurement, Tee
from cloister.seal.counter import MonotonicCounter
from cloister.seal.header import SealedHeader
from cloister.seal.identity import Policy, SealingIdentity
from cloister.seal.keys import PlatformKey
from cloister.seal.refusal import Mismatch, SealedForAnother

__all__ = ["check_match", "check_stamp", "described", "other_key", "too_old_for_the_tee"]


def check_match(header: SealedHeader, identity: SealingIdentity, label: str) -> None:
    """Compare an authentic header. SealedForAnother with all that differs."""
    differences = list(_differences(header, identity, label))
    if differences:
        raise SealedForAnother(
            "; ".join(f"{one.words}: sealed for {one.expected}, this is {one.actual}" for one in differences),
            mismatches=tuple(one.kind for one in differences), authenticated=True,
            expected="; ".join(one.expected for one in differences),
            actual="; ".join(one.actual for one in differences),
        )  # fmt: skip


class Difference(NamedTuple):
    """One thing that is not as it was."""

    kind: Mismatch
    words: str
    expected: str
    actual: str


def _differences(header: SealedHeader, identity: SealingIdentity, label: str) -> Iterator[Difference]:
    mine = identity.of(header.policy)
    if (header.tee, header.who) != (identity.tee, mine):
        kind = Mismatch.MEASUREMENT if header.policy is Policy.MEASUREMENT else Mismatch.SIGNER
        yield Difference(kind, f"another {kind}", described(header.tee, header.who), described(identity.tee, mine))
    if header.security_version > identity.security_version:
        yield Difference(
            Mismatch.SECURITY_VERSION, "an older security version", f"{header.security_version} or newer",
            str(identity.security_version),
        )  # fmt: skip
    if header.debug != identity.debug:
        words = {True: "a program in debug mode", False: "a program that is not in debug mode"}
        yield Difference(Mismatch.DEBUG, "another mode", words[header.debug], words[identity.debug])
    if header.label != label:
        yield Difference(Mismatch.LABEL, "another label", repr(header.label), repr(label))


def check_stamp(header: SealedHeader, counter: MonotonicCounter | None) -> None:
    """The seal's number is where the counter stands, or the next. SealedForAnother."""
    stamp = header.stamp
    if stamp is None and counter is None:
        return
    if counter is None:
        raise _counter("it was sealed with a monotonic counter: give that counter, or nobody knows whether it is old")
    if stamp is None or stamp.identifier != counter.identifier:
        raise _counter("it was not sealed with this counter, so nobody knows whether it is old")
    stands = counter.read()
    if stamp.value < stands:
        raise _counter(f"it is old: sealed as number {stamp.value}, and number {stands} was stored since")
    if stamp.value > stands + 1:
        raise _counter(f"the counter was set back: it stands at {stands}, and this was sealed as number {stamp.value}")


def other_key(header: SealedHeader, key: PlatformKey) -> SealedForAnother:
    """Nothing more can be checked without the key that it was sealed under."""
    place = "another platform, program, signer or mode" if key.binds_identity else "another platform"
    return SealedForAnother(
        f"sealed on {place}, under key {header.key_id.hex()}, which is not {key.name}; or the header is damaged. "
        f"Without that key nothing in it can be checked. It says: {_words(header)}",
        mismatches=(Mismatch.PLATFORM,), authenticated=False, expected=header.key_id,
    )  # fmt: skip


def too_old_for_the_tee(header: SealedHeader, identity: SealingIdentity) -> SealedForAnother:
    """The TEE gives no key of a newer security version, so that the header cannot be checked."""
    return SealedForAnother(
        f"its header, which cannot be checked here, says security version {header.security_version}; this program has "
        f"{identity.security_version}, and its TEE gives it no key of a newer one",
        mismatches=(Mismatch.SECURITY_VERSION,), authenticated=False,
        expected=header.security_version, actual=identity.security_version,
    )  # fmt: skip


def described(tee: Tee, who: Measurement | None) -> str:
    """As policies write it: `sgx:mrenclave=sha256:...`."""
    return f"{tee}:{who.name}={who.digest}" if who else f"a {tee} program without a signer"


def _words(header: SealedHeader) -> str:
    return (
        f"{header.policy} {described(header.tee, header.who)}, security version {header.security_version}"
        f"{', debug mode' if header.debug else ''}, label {header.label!r}"
    )


def _counter(reason: str) -> SealedForAnother:
    return SealedForAnother(reason, mismatches=(Mismatch.COUNTER,), authenticated=True)
