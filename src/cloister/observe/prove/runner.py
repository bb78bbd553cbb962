"""Runs one arm from before its start to after its end, and returns what was observed."""

import time
from collections.abc import Callable

from cloister.observe.prove.account import not_run, record
from cloister.observe.prove.book import Book
from cloister.observe.prove.deliver import Delivery, wait_for_prompt, wait_until_ready
from cloister.observe.prove.descriptors import DescriptorReader, waiting_at
from cloister.observe.prove.offspring import Offspring
from cloister.observe.prove.plan import Arm, FeedFile, FeedSend, Plan
from cloister.observe.prove.program import Program
from cloister.observe.prove.record import ArmRecord, Check
from cloister.observe.prove.sampler import Sampler
from cloister.observe.prove.secret import Secret
from cloister.observe.prove.setting import Setting, busy_port, prepared
from cloister.observe.prove.surfaces import Surfaces
from cloister.quantities import counted

__all__ = ["run_arm"]

STEP = 0.02  # seconds between two looks at whether the program is alive
ENOUGH_SAMPLES = 5  # samples with the secret inside before the program is ended
SAMPLING_PATIENCE = 60.0  # seconds beyond the hold time that these may take
PATIENCE = 2.0  # seconds that guards and daemons get to follow the program before they are ended


def run_arm(plan: Plan, arm: Arm, canary: Secret, progress: Callable[[str], None]) -> ArmRecord:
    """Run and sample one arm. What goes wrong is in the record, except a feed file that exists: UsageError."""
    busy = busy_port(plan)
    with prepared(plan, arm, canary, progress) as setting:
        if busy:
            return not_run(arm.name, arm.secret.label, busy)
        try:
            program = started(setting)
        except OSError as error:
            return not_run(arm.name, arm.secret.label, f"could not be started: {error}")
        try:
            delivery = Delivery(
                feed=plan.feed,
                secret=arm.secret,
                program=program,
                start_pipe=arm.start_pipe,
                feed_file=setting.feed_file,
                tls=plan.feed.tls_in(arm.name) if isinstance(plan.feed, FeedSend) else None,
            )
            sampler = sampler_of(setting, program, delivery)
            if arm.person is not None:
                delivery.inside = lambda: waiting_at(sampler.first)
            ready = sampled(setting, program, sampler, delivery)
            return record(setting, program, sampler, fed=delivery.taken(), ready=ready)
        finally:
            program.close()


def started(setting: Setting) -> Program:
    """The program, running; if its calls are traced, from its first on. OSError as execve(2) gives it."""
    gate = setting.grounds.gate()
    program = Program.start(setting.arm, setting.plan, setting.wanted, gate)
    if gate is not None:
        setting.grounds.follow(program.pid, gate)
    return program


def seated(setting: Setting, program: Program, sampler: Sampler) -> Check:
    """The person at the console, if there is to be one, is told where to attach; they are not of the program's."""
    person = setting.arm.person
    trouble = "" if person is None else program.seat(person, setting.plan.ready_timeout)
    sampler.offspring.others |= program.others
    return Check(holds=not trouble, detail=trouble)


def sampler_of(setting: Setting, program: Program, delivery: Delivery) -> Sampler:
    """The sampler of one arm with everything it looks at."""
    offspring = Offspring(root=program.pid, others=setting.others)
    book = Book(own_label=setting.arm.secret.label, wanted=setting.wanted)
    setting.watch.foreign = lambda pid: pid not in book.pids and not offspring.contains(pid)
    surfaces = Surfaces(
        wanted=setting.wanted,
        descriptors=DescriptorReader(wanted=setting.wanted, excluded=setting.feeds | program.identities()),
        feed_path=setting.feed_path,
    )
    return Sampler(
        offspring=offspring,
        surfaces=surfaces,
        checkpoint=setting.checkpoint,
        watch=setting.watch,
        book=book,
        progress=lambda text: setting.progress(f"{setting.arm.name}: {text}"),
        fed=lambda: delivery.taken().holds,
        awaited=setting.arm.checkpoints,
    )


def sampled(setting: Setting, program: Program, sampler: Sampler, delivery: Delivery) -> Check:
    """Conduct the program's run while it is sampled, until nothing of it is left; whether it became ready."""
    sampler.start()
    try:
        seat = seated(setting, program, sampler)
        if seat.holds:
            ready = conduct(setting.plan, program, sampler, delivery)
        else:
            ready = delivery.delivered = seat
    finally:  # interrupted or not, nothing stays behind
        program.kill()
        left = sampler.offspring.end(PATIENCE)
        sampler.stop()
    if delivery.flow is not None and setting.grounds.packets is not None:
        setting.grounds.packets.own.add(delivery.flow)
    setting.grounds.finish()
    if left:
        setting.watch.notes.append(f"{counted(left, 'process', 'processes')} outlived the program and had to be ended")
    return ready


def conduct(plan: Plan, program: Program, sampler: Sampler, delivery: Delivery) -> Check:
    """Feed, wait until ready, hold, end. A port must be open first; every other feed is there from the start."""
    if isinstance(plan.feed, FeedSend):
        ready = wait_until_ready(plan, program, delivery.tls)
        if ready.holds:
            delivery.deliver()
    elif (asked := wait_for_prompt(plan, program)).holds:
        delivery.deliver()
        taken = delivery.wait(plan.ready_timeout)
        ready = wait_until_ready(plan, program) if taken.holds else taken
    else:
        ready = delivery.delivered = asked
    if ready.holds and isinstance(plan.feed, FeedFile) and plan.feed.unlink:
        plan.feed.path.unlink(missing_ok=True)
    if ready.holds and delivery.delivered.holds:
        hold(program, sampler, plan)
    program.end(plan.ending, plan.grace)
    return ready


def hold(program: Program, sampler: Sampler, plan: Plan) -> None:
    """Let the program run on for the hold time, and until enough samples were taken; no longer than it lives.

    A runtime that has not checked in after the grace time will not do so: no sample will ever count. Nor does more of
    what was refused once change the verdict.
    """
    begun = time.monotonic()
    while program.alive and (passed := time.monotonic() - begun) < plan.hold + SAMPLING_PATIENCE:
        hopeless = sampler.failure or sampler.book.doubts or (sampler.awaited and passed >= plan.hold + plan.grace)
        if passed >= plan.hold and (sampler.book.counts.fed >= ENOUGH_SAMPLES or hopeless):
            return
        time.sleep(STEP)
