"""What surrounds the program of one arm while it runs: feed file, checkpoint socket, file watch, adopted orphans."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from cloister.observe.prove.checkpoint import Checkpoint
from cloister.observe.prove.deliver import place_file, port_open
from cloister.observe.prove.descriptors import FileId, file_id
from cloister.observe.prove.files import FileWatch, watched_directories
from cloister.observe.prove.grounds import Grounds
from cloister.observe.prove.kernel_unsafe import adopt_orphans
from cloister.observe.prove.offspring import descendants_of_prover
from cloister.observe.prove.plan import Arm, FeedFile, FeedSend, OnPort, Plan
from cloister.observe.prove.secret import Secret
from cloister.observe.prove.streams import close_all
from cloister.observe.prove.wanted import Wanted

__all__ = ["Setting", "busy_port", "prepared"]


@dataclass(frozen=True, kw_only=True)
class Setting:
    """Everything an arm needs beside its program. `feed_file` is a descriptor, -1 where there is none.

    `others` are the prover's descendants from before; `feeds` the files and pipes that are the feed itself.
    """

    plan: Plan
    arm: Arm
    wanted: Wanted
    progress: Callable[[str], None]
    feed_file: int
    feeds: frozenset[FileId]
    others: frozenset[int]
    checkpoint: Checkpoint
    watch: FileWatch
    grounds: Grounds

    @property
    def feed_path(self) -> str:
        """The path of the feed file; empty where there is none."""
        return str(self.plan.feed.path) if isinstance(self.plan.feed, FeedFile) else ""


@contextmanager
def prepared(plan: Plan, arm: Arm, canary: Secret, progress: Callable[[str], None]) -> Iterator[Setting]:
    """Set everything up before the program starts, and take it down when nothing of it is left."""
    wanted = Wanted.of((arm.secret, canary))
    with ExitStack() as stack:
        stack.callback(close_all, *arm.inherit)
        feed_file = stack.enter_context(feed_placed(plan, arm))
        stack.enter_context(orphans_adopted())
        grounds = Grounds.of(plan, arm, wanted)
        stack.callback(grounds.close)
        grounds.start()
        others = frozenset(descendants_of_prover())
        checkpoint = Checkpoint(arm.checkpoint)
        stack.callback(checkpoint.close)
        feeds = frozenset(file_id(number) for number in (arm.start_pipe, feed_file) if number >= 0)
        watch = FileWatch(
            wanted=wanted,
            directories=watched_directories(plan.cwd, plan.environment.get("TMPDIR")),
            excluded=feeds,
            foreign=lambda _: False,
            blocks=grounds.blocks,
        )
        stack.callback(watch.close)
        watch.start()
        yield Setting(
            plan=plan,
            arm=arm,
            wanted=wanted,
            progress=progress,
            feed_file=feed_file,
            feeds=feeds,
            others=others,
            checkpoint=checkpoint,
            watch=watch,
            grounds=grounds,
        )


@contextmanager
def feed_placed(plan: Plan, arm: Arm) -> Iterator[int]:
    """The feed file, if the plan has one, removed afterwards; its descriptor, else -1."""
    if not isinstance(plan.feed, FeedFile):
        yield -1
        return
    descriptor = place_file(plan.feed, arm.secret)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
        plan.feed.path.unlink(missing_ok=True)


@contextmanager
def orphans_adopted() -> Iterator[None]:
    """Adopt orphans while an arm runs."""
    adopt_orphans(on=True)
    try:
        yield
    finally:
        adopt_orphans(on=False)


def busy_port(plan: Plan) -> str:
    """Why the arm cannot be run: somebody else already serves a port that it will be asked at. Empty if nobody does."""
    asked = {(p.host, p.port) for p in (plan.feed, plan.readiness) if isinstance(p, FeedSend | OnPort)}
    busy = [f"{host}:{port}" for host, port in sorted(asked) if port_open(host, port)]
    return f"another process already serves {busy[0]}: stop it, or choose another port" if busy else ""
