"""Samples the family of one arm in a thread of its own, as fast as it can, and at each checkpoint of the runtime."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from cloister.observe.family import Member
from cloister.observe.prove.book import Book
from cloister.observe.prove.checkpoint import Checkpoint, Visit
from cloister.observe.prove.files import FileHit, FileWatch
from cloister.observe.prove.offspring import Offspring
from cloister.observe.prove.record import Moment, Trigger
from cloister.observe.prove.surfaces import Surfaces
from cloister.quantities import human_size

__all__ = ["Sampler"]

SHORTEST_PAUSE = 0.01  # seconds between two samples; longer after a slow sample, so that the program gets to run
PAUSE_SHARE = 0.25


@dataclass(kw_only=True)
class Sampler:
    """Runs from `start` to `stop`.

    `fed` tells whether the program has its secret; `awaited` that its first checkpoint is still to come, and no sample
    counts before it. `failure` is the first error that ended the sampling
    early, else empty: an arm with one proves nothing.
    """

    offspring: Offspring
    surfaces: Surfaces
    checkpoint: Checkpoint
    watch: FileWatch
    book: Book
    progress: Callable[[str], None]
    fed: Callable[[], bool]
    awaited: bool
    begun: float = field(default_factory=time.monotonic)
    failure: str = ""
    first: int = 0
    """The pid of the first process that came to a checkpoint: the program's, whoever started it."""
    stopping: threading.Event = field(default_factory=threading.Event)
    thread: threading.Thread = field(init=False)

    def start(self) -> None:
        """Start sampling."""
        self.thread = threading.Thread(target=self.run, name="prove-sampler", daemon=True)
        self.thread.start()

    def stop(self) -> None:
        """End sampling; the sample under way is completed, and a last one looks at what the program left behind."""
        self.stopping.set()
        self.thread.join()
        try:
            self.sample(self.offspring.members(), Trigger.AFTER)
            self.enter_files(list(self.watch.finish()), Trigger.AFTER)
        except Exception as error:  # noqa: BLE001 -- whatever it is, the arm is worthless and must say so
            self.failure = self.failure or describe(error)

    def run(self) -> None:
        """The loop. Processes at a checkpoint go first: they stand still until they are sampled."""
        pause = SHORTEST_PAUSE
        try:
            while not self.stopping.is_set():
                self.serve(pause)
                before = time.monotonic()
                self.sample(self.offspring.members(), Trigger.LOOP)
                self.enter_files(list(self.watch.drain()), Trigger.LOOP)
                pause = max(SHORTEST_PAUSE, PAUSE_SHARE * (time.monotonic() - before))
        except Exception as error:  # noqa: BLE001 -- as above, and nobody may wait for ever at a checkpoint
            self.failure = describe(error)
            self.checkpoint.close()

    def serve(self, timeout: float) -> None:
        """Sample each process that waits at a checkpoint, then let it go on."""
        for visit in self.checkpoint.waiting(timeout):
            with visit:
                self.sample([self.visitor(visit)], visit.at)
            self.first = self.first or visit.pid
            self.awaited = False

    def visitor(self, visit: Visit) -> Member:
        """The visiting process as a member of the family."""
        members = {member.pid: member for member in self.offspring.members()}
        return members.get(visit.pid) or Member(pid=visit.pid, comm="?", role="descendant")

    def sample(self, members: list[Member], trigger: Trigger) -> None:
        """One sample: every member looked at once. It counts only if the program had its secret before it began."""
        fed = self.fed() and not self.awaited
        looks = [self.surfaces.look(member) for member in members]
        if looks or trigger is not Trigger.LOOP:
            self.book.enter(looks, self.moment(trigger), fed=fed)
            self.progress(f"sample {self.book.counts.total}, {human_size(self.book.coverage.read_bytes)} read")

    def moment(self, trigger: Trigger) -> Moment:
        """Now, as the next sample."""
        seconds = round(time.monotonic() - self.begun, 3)
        return Moment(sample=self.book.counts.total + 1, seconds=seconds, trigger=trigger)

    def enter_files(self, hits: list[FileHit], trigger: Trigger) -> None:
        """Account hits in written files to the latest sample."""
        counts = self.book.counts
        seconds = round(time.monotonic() - self.begun, 3)
        moment = Moment(sample=max(counts.total, 1), seconds=seconds, trigger=trigger)
        for hit in hits:
            process = f"{hit.pid} (wrote it)" if hit.pid else "-"
            if not hit.pid and self.book.knows(hit.label, hit.encoding, hit.surface, hit.path):
                continue
            self.book.enter_place(hit.label, hit.encoding, hit.surface, process, hit.path, moment)


def describe(error: Exception) -> str:
    """An error in one line, with its type."""
    return f"{type(error).__name__}: {error}"
