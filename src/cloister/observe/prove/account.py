"""The record of an arm, drawn up once nothing of it is left running."""

import os

from cloister.observe.prove.book import Book
from cloister.observe.prove.compare import reduce_output
from cloister.observe.prove.files import core_directory
from cloister.observe.prove.grounds import Grounds
from cloister.observe.prove.plan import ArmName, FeedFile, FeedSend, GroundName, Plan
from cloister.observe.prove.program import Program
from cloister.observe.prove.record import ArmRecord, Check, Exclusion, Ground, SampleCounts, Surface, Trigger
from cloister.observe.prove.sampler import Sampler
from cloister.observe.prove.setting import Setting
from cloister.quantities import counted

__all__ = ["not_run", "record"]

OUTPUT_PATIENCE = 2.0  # seconds for the output streams to end once every process has
LAUNCH_CODES = {120, 121, 125, 126, 127}  # cloister.errors: the enclave could not be started
TAIL = 600  # bytes of standard error quoted in a reason


def record(setting: Setting, program: Program, sampler: Sampler, *, fed: Check, ready: Check) -> ArmRecord:
    """Everything observed of an arm whose program ran."""
    complete = program.finish(OUTPUT_PATIENCE)
    enter_output(sampler, program)
    enter_grounds(sampler, setting.grounds)
    book, watch, arm = sampler.book, setting.watch, setting.arm
    return ArmRecord(
        name=arm.name,
        secret_label=arm.secret.label,
        started=started(program, sampler, ready=ready),
        fed=fed,
        ready=ready,
        access=access(book),
        harness=harness(sampler, output_complete=complete),
        status=program.status,
        samples=book.counts,
        read_bytes=book.coverage.read_bytes,
        unreadable=dict(book.unreadable),
        places=book.listed(),
        exclusions=exclusions(setting, sampler, program),
        notes=(*watch.notes, *core_note(setting.plan)),
        grounds=(files_ground(sampler), *setting.grounds.reports()),
        output=reduce_output(program.streams.stdout, program.streams.stderr, arm.secret),
    )


def not_run(name: ArmName, secret_label: str, reason: str) -> ArmRecord:
    """The record of an arm whose program never ran."""
    no = Check(holds=False, detail=reason)
    return ArmRecord(
        name=name,
        secret_label=secret_label,
        started=no,
        fed=no,
        ready=no,
        access=no,
        harness=no,
        status="did not run",
        samples=SampleCounts(),
        read_bytes=0,
        unreadable={},
    )


def enter_output(sampler: Sampler, program: Program) -> None:
    """The program's own output is a place: whoever started it, or traces it, reads it. A person's console is not."""
    moment = sampler.moment(Trigger.AFTER)
    for name, capture in zip(("standard output", "standard error"), program.host.captures, strict=False):
        for label, encoding in capture.found:
            sampler.book.enter_place(label, encoding, Surface.OUTPUT, f"{program.pid} (program)", name, moment)


def enter_grounds(sampler: Sampler, grounds: Grounds) -> None:
    """What was found beside the processes and files."""
    moment = sampler.moment(Trigger.AFTER)
    for found in grounds.found():
        process = f"{found.pid} (made it)" if found.pid else "-"
        sampler.book.enter_place(found.label, found.encoding, found.surface, process, found.where, moment)


def files_ground(sampler: Sampler) -> Ground:
    """The files that were written while the arm ran, other programs' too."""
    watch = sampler.watch
    amount = f"{counted(watch.size, 'byte')} in {counted(watch.files, 'file')}, other programs' too"
    detail = amount
    if watch.skipped:
        skipped = counted(watch.skipped, "file")
        detail = f"{skipped} the program wrote could not be searched: too large, or unreadable"
    elif not watch.sees_everything:
        detail = "written files could not be watched: no fanotify, and too many to compare"
    names = tuple(sampler.book.wanted.redact(path) for path in watch.written)
    return Ground(name=GroundName.FILES, amount=amount, whole=Check(holds=detail == amount, detail=detail), seen=names)


def started(program: Program, sampler: Sampler, *, ready: Check) -> Check:
    """Whether the program ran at all; the runtime's refusals have exit codes of their own."""
    code = program.process.poll()
    if code in LAUNCH_CODES and not ready.holds:
        tail = (program.host.stderr or program.host.stdout)[-TAIL:].decode("utf-8", "replace").strip()
        shown = any(capture.found for capture in program.host.captures)
        reason = "what it printed holds the secret" if shown else tail or "no message"
        return Check(
            holds=False, detail=f"could not be started, exit code {code}: {sampler.book.wanted.redact(reason)}"
        )
    return Check(holds=True, detail=f"pid {program.pid}")


def access(book: Book) -> Check:
    """Whether nothing was refused for want of privilege, and nothing failed."""
    if not book.doubts:
        return Check(holds=True, detail="nothing was refused for want of privilege")
    first = next(iter(book.doubts.values()))
    more = f" and {counted(len(book.doubts) - 1, 'more place')}" if len(book.doubts) > 1 else ""
    where = book.wanted.redact(f"{first.where}: {first.why}")
    return Check(holds=False, detail=f"{where}{more}; run the experiment as root")


def harness(sampler: Sampler, *, output_complete: bool) -> Check:
    """Whether the prover did its own part."""
    if sampler.failure:
        return Check(holds=False, detail=f"the sampler failed: {sampler.book.wanted.redact(sampler.failure)}")
    if not output_complete:
        return Check(holds=False, detail="something still holds the program's output open: not all of it was searched")
    return Check(holds=True, detail="every sample completed")


def exclusions(setting: Setting, sampler: Sampler, program: Program) -> tuple[Exclusion, ...]:
    """Who holds the secret by right, or is looked at in another way."""
    feed = setting.plan.feed
    fixed = [
        Exclusion(
            what=f"process {os.getpid()} (the prover)", why="it made the secret; not part of the program's family"
        ),
        *stream_exclusions(program),
    ]
    if setting.arm.start_pipe >= 0:
        fixed.append(Exclusion(what="pipe with arguments and environment", why="the feed itself"))
    if isinstance(feed, FeedFile):
        fixed.append(Exclusion(what=f"file {feed.path}", why="the feed itself: an administrator can read it"))
    if setting.grounds.traces is not None and setting.grounds.traces.process is not None:
        what = f"process {setting.grounds.traces.process.pid} (the prover's tracer)"
        fixed.append(Exclusion(what=what, why="it holds what it looks for; not part of the program's family"))
    if isinstance(feed, FeedSend) and setting.grounds.packets is not None and fed_in_the_clear(feed, setting):
        fixed.append(Exclusion(what=f"packets from the prover to {feed.host}:{feed.port}", why="the feed itself"))
    if isinstance(feed, FeedSend):
        fixed.append(Exclusion(what=f"prover's end of {feed.host}:{feed.port}", why="the feed itself"))
    return (*fixed, *sorted(sampler.surfaces.exclusions, key=str))


def stream_exclusions(program: Program) -> tuple[Exclusion, ...]:
    """The streams between the prover and the program, or the person at its console."""
    if program.person is None:
        return (
            Exclusion(what="pipe to standard input", why="the feed itself"),
            Exclusion(what="pipes from standard output and error", why="searched whole as the program's output"),
        )
    what = f"process {program.person.pid} (the person at the console, with their standard streams)"
    return (Exclusion(what=what, why="where the secret is typed and read; it stands for another machine"),)


def fed_in_the_clear(feed: FeedSend, setting: Setting) -> bool:
    """Natively even the feed counts: it shows that packets are seen. And so does what TLS should hide."""
    return setting.arm.name is ArmName.ENCLAVED and feed.tls is None


def core_note(plan: Plan) -> tuple[str, ...]:
    """A note when core files go to a program, where they cannot be searched."""
    target = core_directory(plan.cwd)
    return (f"core dumps are piped to {target} and were not searched",) if isinstance(target, str) else ()
