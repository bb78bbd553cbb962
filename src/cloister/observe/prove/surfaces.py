"""One process, looked at in every way procfs offers: memory, arguments, environment, names, descriptors."""

from dataclasses import dataclass, field
from pathlib import Path

from cloister.errors import ObservationError
from cloister.observe.family import Member
from cloister.observe.findings import Absent, Finding, Reason, Scan
from cloister.observe.prove.descriptors import DescriptorReader, Hit
from cloister.observe.prove.record import Exclusion, Surface
from cloister.observe.prove.wanted import Wanted, spell
from cloister.observe.scan import absence_of, scan_process

__all__ = ["Look", "Surfaces"]


@dataclass(frozen=True, kw_only=True)
class Look:
    """What one look at one process gave. `memory` holds the coverage and the bytes that refused to be read."""

    member: Member
    hits: tuple[Hit, ...]
    memory: Scan
    absences: tuple[Absent, ...]

    @property
    def doubts(self) -> tuple[Absent, ...]:
        """What could not be read for want of privilege or by failure, so that "not found" is no answer."""
        ended = {Reason.GONE, Reason.NO_MEMORY}
        return tuple(
            a for a in (*self.memory.doubts, *self.absences) if a.reason.leaves_doubt and a.reason not in ended
        )


@dataclass(kw_only=True)
class Surfaces:
    """Looks at processes for one arm. `feed_path` is the file of the feed, whose own mapping is no leak ("": none)."""

    wanted: Wanted
    descriptors: DescriptorReader
    feed_path: str
    exclusions: set[Exclusion] = field(default_factory=set)

    def look(self, member: Member) -> Look:
        """Read everything of one process; what vanishes meanwhile is simply not there any more."""
        memory = scan_memory(member.pid, self.wanted)
        hits = [hit for finding in memory.findings for hit in self.memory_hit(finding)]
        texts, absences = self.texts(member.pid)
        found, unread = self.listed(member.pid)
        return Look(member=member, hits=(*hits, *texts, *found), memory=memory, absences=(*absences, *unread))

    def listed(self, pid: int) -> tuple[list[Hit], list[Absent]]:
        """The descriptors; a table that may not be listed is an absence."""
        try:
            return self.descriptors.look(pid)
        except PermissionError as error:
            return [], [absence_of(f"/proc/{pid}/fd", error)]

    def memory_hit(self, finding: Finding) -> list[Hit]:
        """A finding in memory as a hit, unless it is the feed file itself, mapped unchanged."""
        mapping = finding.mapping
        label, encoding = spell(finding.label, finding.encoding + (" (part)" if finding.partial else ""))
        if mapping is None:
            return [
                Hit(label=label, encoding=encoding, surface=Surface.MEMORY, where=f"{finding.where}, {finding.owner}")
            ]
        private_copy = mapping.writable and not mapping.shared
        if mapping.path.removesuffix(" (deleted)") == self.feed_path and not private_copy:
            self.exclusions.add(Exclusion(what=f"mapping of {mapping.path}", why="the feed file itself"))
            return []
        return [Hit(label=label, encoding=encoding, surface=Surface.MEMORY, where=f"{mapping} ({mapping.kind.value})")]

    def texts(self, pid: int) -> tuple[list[Hit], list[Absent]]:
        """Arguments, environment and the names of the process and its threads."""
        hits: list[Hit] = []
        absences: list[Absent] = []
        for surface in (Surface.CMDLINE, Surface.ENVIRON, Surface.COMM):
            try:
                for path in paths(pid, surface):
                    data = path.read_bytes()
                    found = self.wanted.search_name(data) if surface is Surface.COMM else self.wanted.search(data)
                    hits += [Hit(label=lab, encoding=enc, surface=surface, where=str(path)) for lab, enc in found]
            except (FileNotFoundError, ProcessLookupError):
                continue
            except OSError as error:
                reason = Reason.DENIED if isinstance(error, PermissionError) else Reason.REFUSED
                detail = error.strerror or str(error)
                absences.append(Absent(where=f"/proc/{pid}/{surface.value}", reason=reason, detail=detail))
        return hits, absences


def paths(pid: int, surface: Surface) -> list[Path]:
    """The procfs files of one surface."""
    if surface is Surface.COMM:
        return sorted(Path(f"/proc/{pid}/task").glob("*/comm"))
    return [Path(f"/proc/{pid}/{surface.value}")]


def scan_memory(pid: int, wanted: Wanted) -> Scan:
    """The memory of a process; one whose list of mappings cannot be made sense of gives an absence, not an end."""
    try:
        return scan_process(pid, wanted.needles)
    except ObservationError as error:
        return Scan(absences=(Absent(where=f"process {pid}", reason=Reason.FAILED, detail=str(error)),))
