"""The nouns of the doctor: a topic is asked about, a check is the answer."""

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Check", "Command", "Fix", "Group", "NoFix", "Status", "Topic"]


class Status(StrEnum):
    """The four answers. A refusal is told apart from an absence, because they are fixed differently."""

    OK = "ok"
    MISSING = "missing"
    DENIED = "denied"
    UNKNOWN = "unknown"


class Group(StrEnum):
    """What the answer is about; the order is the order of the report."""

    ENCLAVE = "software enclave"
    EXPOSURE = "who else could read"
    HOST = "hardware TEEs, as a host"
    GUEST = "hardware TEEs, as a guest"
    FRAMEWORK = "installed frameworks and tools"


@dataclass(frozen=True, kw_only=True, slots=True)
class Command:
    """The one command (or setting) that fixes a check."""

    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class NoFix:
    """Why no command can fix a check, or why none is needed."""

    reason: str


Fix = Command | NoFix


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """One answer: what was asked, what was measured, why it matters, what fixes it.

    `needed` says that the software enclave cannot work unless the status is `ok`.
    """

    name: str
    group: Group
    title: str
    status: Status
    evidence: str
    matters: str
    fix: Fix
    needed: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Topic:
    """What is asked: everything about a check that does not depend on the machine."""

    name: str
    group: Group
    title: str
    matters: str
    needed: bool = False

    def ok(self, evidence: str) -> Check:
        """The machine offers it; `evidence` says how that was seen."""
        return self._answer(Status.OK, evidence, NoFix(reason="nothing to fix"))

    def missing(self, evidence: str, fix: Fix) -> Check:
        """The machine does not offer it."""
        return self._answer(Status.MISSING, evidence, fix)

    def denied(self, evidence: str, fix: Fix) -> Check:
        """The machine offers it, but not to this process."""
        return self._answer(Status.DENIED, evidence, fix)

    def unknown(self, reason: str, fix: Fix) -> Check:
        """It could not be measured, for this reason; never counted as `ok`."""
        return self._answer(Status.UNKNOWN, reason, fix)

    def _answer(self, status: Status, evidence: str, fix: Fix) -> Check:
        return Check(
            name=self.name,
            group=self.group,
            title=self.title,
            status=status,
            evidence=evidence,
            matters=self.matters,
            fix=fix,
            needed=self.needed,
        )
