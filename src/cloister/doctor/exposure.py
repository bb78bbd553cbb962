"""Who else could read: settings that decide what other users, and disks, get to see of ordinary memory.

None of these stops the software enclave. They bound what leaks around it, and what a natively run program loses.
"""

import errno
import os

from cloister.doctor import kernel_unsafe
from cloister.doctor.check import Check, Command, Group, NoFix, Topic
from cloister.doctor.child import ProbeFailed, ask
from cloister.doctor.machine import Machine, Text

__all__ = ["exposure_checks"]

NO_PROC = NoFix(reason="the kernel does not say")

SWAP = Topic(
    name="swap",
    group=Group.EXPOSURE,
    title="no swap",
    matters="Secret memory is never swapped out; ordinary memory (JIT code, shared files, other programs) may be.",
)
HIBERNATION = Topic(
    name="hibernation",
    group=Group.EXPOSURE,
    title="no hibernation",
    matters="Hibernation writes all ordinary memory to disk. Linux refuses it while secret memory is in use.",
)
CORES = Topic(
    name="core_pattern",
    group=Group.EXPOSURE,
    title="core dumps stay local",
    matters="Secret memory is not in core dumps, but a crashing thread's registers are; a collector may send them on.",
)
PERF = Topic(
    name="perf",
    group=Group.EXPOSURE,
    title="perf closed to users",
    matters="perf copies stacks from inside the kernel, secret memory included. Root may always do so.",
)
BPF = Topic(
    name="bpf",
    group=Group.EXPOSURE,
    title="BPF closed to users",
    matters="BPF programs read memory from inside the kernel. Root may always load them.",
)
LOCKDOWN = Topic(
    name="lockdown",
    group=Group.EXPOSURE,
    title="kernel lockdown",
    matters="In confidentiality mode root loses /dev/mem, kprobes and unsigned modules, though not perf stacks.",
)


def exposure_checks(machine: Machine) -> list[Check]:
    """All of them, from what reaches a disk to what root can do."""
    return [swap(machine), hibernation(machine), cores(machine), perf(machine), bpf(machine), lockdown(machine)]


def swap(machine: Machine) -> Check:
    """Every active swap area."""
    swaps = machine.read("/proc/swaps")
    if not isinstance(swaps, Text):
        return SWAP.unknown(swaps.reason, NO_PROC)
    areas = [line.split()[0] for line in swaps.value.splitlines()[1:]]
    if areas:
        return SWAP.missing(f"swapping to {', '.join(areas)}", Command(text="sudo swapoff --all"))
    return SWAP.ok("no swap area is active")


def hibernation(machine: Machine) -> Check:
    """`disk` among the sleep states."""
    states = machine.read("/sys/power/state")
    if not isinstance(states, Text):
        return (
            HIBERNATION.ok("the kernel offers no sleep states")
            if states.absent
            else _unsaid(HIBERNATION, states.reason)
        )
    if "disk" in states.value.split():
        return HIBERNATION.missing(
            f"sleep states: {states.value}", Command(text="sudo systemctl mask hibernate.target")
        )
    return HIBERNATION.ok(f"sleep states: {states.value or 'none'}")


def cores(machine: Machine) -> Check:
    """A pattern that starts with `|` hands every core to a program (core(5))."""
    pattern = machine.read("/proc/sys/kernel/core_pattern")
    if not isinstance(pattern, Text):
        return _unsaid(CORES, pattern.reason)
    if pattern.value.startswith("|"):
        return CORES.missing(f"piped to {pattern.value[1:]}", Command(text="sudo sysctl -w kernel.core_pattern=core"))
    return CORES.ok(f"written to {pattern.value!r}")


def perf(machine: Machine) -> Check:
    """Measured: an unprivileged child asks for samples with stacks."""
    level = machine.read("/proc/sys/kernel/perf_event_paranoid")
    says = f"perf_event_paranoid is {level.value}" if isinstance(level, Text) else "no perf_event_paranoid"
    if os.uname().machine != "x86_64":
        return PERF.unknown(f"{says}; the probe is for x86-64", NoFix(reason="no probe for this processor"))
    try:
        ask(kernel_unsafe.sample_own_stack)
    except ProbeFailed as error:
        if error.errno not in (errno.EACCES, errno.EPERM):
            return PERF.unknown(f"{error}; {says}", NoFix(reason="the kernel has no perf events, or the probe broke"))
        return PERF.ok(f"an ordinary user was refused ({error}); {says}")
    return PERF.missing(
        f"an ordinary user could sample stacks of its own processes; {says}",
        Command(text="sudo sysctl -w kernel.perf_event_paranoid=3   # honoured by Debian and Ubuntu kernels"),
    )


def bpf(machine: Machine) -> Check:
    """The kernel's own switch (Documentation/admin-guide/sysctl/kernel.rst)."""
    switch = machine.read("/proc/sys/kernel/unprivileged_bpf_disabled")
    if not isinstance(switch, Text):
        return BPF.ok("the kernel has no bpf(2)") if switch.absent else _unsaid(BPF, switch.reason)
    if switch.value == "0":
        fix = Command(text="sudo sysctl -w kernel.unprivileged_bpf_disabled=1")
        return BPF.missing("unprivileged_bpf_disabled is 0", fix)
    return BPF.ok(f"unprivileged_bpf_disabled is {switch.value}")


def lockdown(machine: Machine) -> Check:
    """The mode stands in brackets among the possible ones (kernel_lockdown(7))."""
    modes = machine.read("/sys/kernel/security/lockdown")
    fix = Command(text="add lockdown=confidentiality to the kernel command line and reboot")
    if not isinstance(modes, Text):
        return (
            LOCKDOWN.missing("the kernel offers no lockdown", fix) if modes.absent else _unsaid(LOCKDOWN, modes.reason)
        )
    if "[confidentiality]" in modes.value:
        return LOCKDOWN.ok(modes.value)
    return LOCKDOWN.missing(modes.value, fix)


def _unsaid(topic: Topic, reason: str) -> Check:
    return topic.unknown(reason, Command(text="sudo cloister doctor"))
