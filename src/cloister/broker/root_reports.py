"""The newest roots of volumes: told to each start of a program, moved on by its reports, never backwards.

A start that was told of generation g may take the volume over only while g is the newest: of two that were begun from
the same state the second to report is refused, so that no report hides another's. Within one start the states follow
each other in one line (the guard of its processes sees to that): an older one that comes late is acknowledged, and
changes nothing.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from cloister.broker.audit.events import RootRefused, RootTaken, SessionName
from cloister.broker.flow import Allowance, AuditTrail
from cloister.broker.root_report import RootReport, StartName, volume_identity
from cloister.broker.store_roots import RootTable, StoredRoot
from cloister.broker.store_sessions import Held, SessionShelf
from cloister.errors import Denied, NotAttested, ParseError, Undecided
from cloister.model import Unchecked

__all__ = ["RootReports"]

ATTEMPTS: Final = 8
"""Reports that may come at the same moment, for one volume."""
NO_VOLUME: Final = Unchecked("the report is not made with the key of a volume of this session")


@dataclass(frozen=True, slots=True)
class _Volume:
    """A volume that a report is about, with the key that it is made with."""

    held: Held
    name: StartName
    key: bytes

    @property
    def session(self) -> SessionName:
        session = self.held.session
        return SessionName(name=session.name, version=session.version, sha256=bytes.fromhex(self.held.sha256))


class RootReports:
    """Takes reports. Forged ones are told from others by the volume's key alone: no token, no cookie."""

    def __init__(self, table: RootTable, shelf: SessionShelf, audit: AuditTrail, strangers: Allowance) -> None:
        self._table, self._shelf, self._audit, self._strangers = table, shelf, audit, strangers

    def report(self, *, request: str, session: str, report: RootReport) -> bytes:
        """Keep it, and acknowledge it. NotAttested (401): not made with such a key; Denied (403): not the newest.

        UnknownSecret (404) if there is no such session; Undecided (503) if others were faster again and again.
        """
        try:
            volume = self._volume(session, report)
        except NotAttested as error:
            if self._strangers.take():
                unchecked = Unchecked("nothing in the report is believed")
                self._audit.append(RootRefused(
                    request=request, session=unchecked, volume=NO_VOLUME, code="not-attested", reason=str(error)
                ))  # fmt: skip
            raise
        try:
            taken = self._keep(volume, report)
        except Denied as error:
            self._audit.append(RootRefused(
                request=request, session=volume.session, volume=volume.name.volume, code="policy-deny",
                reason=str(error),
            ))  # fmt: skip
            raise
        if taken:
            self._audit.append(RootTaken(
                request=request, session=volume.session, volume=volume.name.volume, start=volume.name.start,
                generation=report.root.generation, digest=report.root.digest,
            ))  # fmt: skip
        return report.acknowledgement(volume.key)

    def _volume(self, session: str, report: RootReport) -> _Volume:
        held = self._shelf.current(session)
        try:
            name = StartName.parse(report.name)
        except ParseError:
            name = None
        if name is not None and name.session == session:
            for key in _keys(held, name.volume, self._shelf):
                if report.is_made_with(key):
                    return _Volume(held, name, key)
        raise NotAttested("the report is not made with the key of a volume of this session")

    def _keep(self, volume: _Volume, report: RootReport) -> bool:
        """Whether this start took the volume over with it. Denied."""
        which = (volume.name.session, volume.name.volume, volume_identity(volume.key))
        for _ in range(ATTEMPTS):
            known = self._table.find(*which)
            if known is not None and known.start == volume.name.line and not _is_next(known, report):
                return False
            if known is None or known.start != volume.name.line:
                _check_takeover(known, volume.name, report)
            if self._table.replace(*which, known, StoredRoot(volume.name.line, report.root)):
                return known is None or known.start != volume.name.line
        raise Undecided("other reports of this volume came first, again and again")


def _keys(held: Held, volume: str, shelf: SessionShelf) -> Iterator[bytes]:
    """The keys of all volumes of that name whose roots are kept here."""
    for service in held.session.services:
        regions = service.shield.regions if service.shield else ()
        for region in regions:
            if region.root_at_broker and region.name == volume and region.key:
                known = {**shelf.values_for(held, service), **held.session.values}
                yield known[region.key.secret].reveal()


def _is_next(known: StoredRoot, report: RootReport) -> bool:
    """Whether the same start went on; False for what it has reported, or passed by, already. Denied for a fork."""
    if report.root.generation == known.root.generation and report.root.digest != known.root.digest:
        raise Denied(f"generation {known.root.generation} was reported already, with another digest")
    return report.root.generation > known.root.generation


def _check_takeover(known: StoredRoot | None, name: StartName, report: RootReport) -> None:
    newest = known.root.generation if known else 0
    if known is not None and name.line < known.start:
        raise Denied("a later start of the program has this volume now: whatever this one writes is not the newest")
    if name.base != newest:
        raise Denied(
            f"this start was told of generation {name.base}, and {newest} is the newest: it works on an old state"
        )
    if known is not None and (report.root.generation < newest or (
        report.root.generation == newest and report.root.digest != known.root.digest
    )):  # fmt: skip
        raise Denied(f"generation {report.root.generation} is not newer than {newest}, or of another history")
