"""Who runs beside each other: the crypto library alone, the two stages of Cloister, its facade."""

from collections.abc import Sequence

from benchmarks.verify.subject import Contender, Item, Subject, Work

from cloister.model import Challenge, Unchecked
from cloister.verifier import Verifier

__all__ = ["CLOISTER", "FACADE", "LIMIT", "contenders", "fresh"]

LIMIT = "crypto library alone"
CLOISTER = "cloister: parse, verify"
FACADE = "cloister: appraise by policy"


def fresh(items: Sequence[Item]) -> list[tuple[bytes, Challenge | Unchecked]]:
    """Copies, as if just received: no object that anybody has seen before, whose hash is known already."""
    return [(bytes(bytearray(one.data)), one.challenge) for one in items]


def contenders(subject: Subject) -> tuple[Contender, ...]:
    """Everybody who verifies this subject, the limit first."""
    return (
        Contender(name=LIMIT, start=limit),
        Contender(name=CLOISTER, start=lambda items: stages(subject, items)),
        Contender(name=FACADE, start=lambda items: facade(subject, items), missing=subject.no_format),
        *subject.peers,
    )


def limit(items: Sequence[Item]) -> Work:
    """The checks of every item, one after the other."""
    checks = [check for one in items for check in one.checks]

    def work() -> None:
        for verify, arguments in checks:
            verify(*arguments)

    return work


def stages(subject: Subject, items: Sequence[Item]) -> Work:
    """From bytes to verified evidence, by the two functions that every TEE has."""
    received, parse, verify = fresh(items), subject.parse, subject.verify
    anchors, endorsements, at, allow = subject.anchors, subject.endorsements, subject.at, subject.allow

    def work() -> None:
        for data, challenge in received:
            verify(
                parse(data), anchors=anchors, endorsements=endorsements, at=at, challenge=challenge, allow=allow
            )  # fmt: skip

    return work


def facade(subject: Subject, items: Sequence[Item]) -> Work:
    """From bytes of any kind to a verdict."""
    received, verifier = fresh(items), Verifier(anchors=subject.anchors, endorsements=subject.endorsements)
    at, policy, allow = subject.at, subject.policy, subject.allow

    def work() -> None:
        for data, challenge in received:
            verifier.appraise(data, at=at, challenge=challenge, policy=policy, allow=allow)

    return work
