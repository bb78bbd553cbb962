"""The sampler's account: places and bytes accumulated over the samples of one arm."""

from collections import Counter
from dataclasses import dataclass, field, replace

from cloister.observe.findings import Absent, Coverage
from cloister.observe.prove.record import Moment, Place, SampleCounts, Surface, Trigger
from cloister.observe.prove.surfaces import Look
from cloister.observe.prove.wanted import HALVES, Wanted

__all__ = ["Book"]

Key = tuple[str, str, Surface, str, str]
COUNTED = {Trigger.LOOP, Trigger.EXIT}


@dataclass(kw_only=True)
class Book:
    """Written by the sampler only. `own_label` is the arm's secret; `wanted` keeps secrets out of what is written."""

    own_label: str
    wanted: Wanted
    places: dict[Key, Place] = field(default_factory=dict)
    coverage: Coverage = field(default_factory=Coverage)
    unreadable: Counter[str] = field(default_factory=Counter)
    doubts: dict[str, Absent] = field(default_factory=dict)
    counts: SampleCounts = field(default_factory=SampleCounts)
    pids: set[int] = field(default_factory=set)

    def enter(self, looks: list[Look], moment: Moment, *, fed: bool) -> None:
        """Account one sample: what each look gave, and whether the sample counts as one with the secret inside."""
        for look in looks:
            self.enter_look(look, moment)
        inside = [look for look in looks if look.member.role != "guard" and look.memory.coverage.read_bytes > 0]
        counted = fed and bool(inside) and moment.trigger in COUNTED
        hit = any(h.label == self.own_label and h.surface is Surface.MEMORY for look in looks for h in look.hits)
        self.counts = replace(
            self.counts,
            total=self.counts.total + 1,
            fed=self.counts.fed + counted,
            hits=self.counts.hits + (counted and hit),
            checkpoints=self.counts.checkpoints + (moment.trigger in {Trigger.START, Trigger.EXIT}),
        )

    def enter_look(self, look: Look, moment: Moment) -> None:
        """Account one process of a sample."""
        self.pids.add(look.member.pid)
        self.coverage += look.memory.coverage
        self.unreadable.update({reason.value: size for reason, size in look.memory.unreadable_by_reason().items()})
        for absent in look.doubts:
            self.doubts.setdefault(absent.where, absent)
        process = f"{look.member.pid} ({self.wanted.redact(look.member.comm)}, {look.member.role})"
        for hit in look.hits:
            self.enter_place(hit.label, hit.encoding, hit.surface, process, hit.where, moment)

    def enter_place(
        self, label: str, encoding: str, surface: Surface, process: str, where: str, moment: Moment
    ) -> None:
        """Account one sighting; the same place seen again only counts up."""
        where = self.wanted.redact(where)
        key = (label, encoding, surface, process, where)
        before = self.places.get(key)
        if before is None:
            self.places[key] = Place(
                label=label,
                encoding=encoding,
                surface=surface,
                process=process,
                where=where,
                first=moment,
                last=moment,
                samples=1,
            )
        elif before.last.sample != moment.sample:
            self.places[key] = replace(before, last=moment, samples=before.samples + 1)

    def knows(self, label: str, encoding: str, surface: Surface, where: str) -> bool:
        """Whether this sighting is already accounted to some process."""
        place = (label, encoding, surface, self.wanted.redact(where))
        return any((key[0], key[1], key[2], key[4]) == place for key in self.places)

    def listed(self) -> tuple[Place, ...]:
        """All places, earliest first, without halves of what was found whole in the same place."""
        kept = [place for key, place in self.places.items() if not self.whole_found(key)]
        return tuple(sorted(kept, key=lambda place: (place.first, place.surface, place.where)))

    def whole_found(self, key: Key) -> bool:
        """Whether the key names a half, and the whole was seen at the same place."""
        label, encoding, *rest = key
        whole = [encoding.removesuffix(half) for half in HALVES if encoding.endswith(half)]
        return any((label, name, *rest) in self.places for name in whole)
