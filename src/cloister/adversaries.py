"""Who can still read a program's secrets: the table every report, page and verdict of Cloister refers to.

The rows are kinds of reader on the program's own machine; the columns are ways to run the program. This file
*declares* what Cloister claims. What was *observed* on a machine comes from `cloister doctor` (the kernel's part)
and `cloister prove` (a program's part), and is shown next to the declaration, never instead of it.
"""

from dataclasses import dataclass

__all__ = ["ADVERSARIES", "MODES", "Adversary"]

MODES = ("native", "software enclave", "emulated TEE", "hardware TEE")
"""Ways to run a program, in the order of the columns."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Adversary:
    """One kind of reader.

    `reads` holds one cell per mode of `MODES`, in that order: `reads`, `stopped`, or what it depends on.
    """

    key: str
    who: str
    reads: tuple[str, str, str, str]


ADVERSARIES = (
    Adversary(
        key="user",
        who="another user, same user",
        reads=("reads", "stopped", "stopped (DRAM is ciphertext)", "stopped"),
    ),
    Adversary(
        key="root",
        who="root with /proc, ptrace, gdb, gcore, core dumps, strace",
        reads=("reads", "stopped (guard + secretmem)", "per TEE model", "stopped"),
    ),
    Adversary(
        key="kernel",
        who="root with perf / BPF, a kernel module, the hypervisor",
        reads=("reads", "reads", "reads the emulator", "stopped"),
    ),
    Adversary(
        key="physical",
        who="cold boot, bus, DMA",
        reads=("reads", "reads", "per TEE model", "per TEE"),
    ),
)
"""From the strongest protection to the weakest, as in LIMITATIONS.md."""
