"""Memory given back by an interpreter: VmRSS in MiB with 200 MB of small objects, and 0.1 s after they are gone."""

import time


def resident() -> float:
    """VmRSS of proc_pid_status(5)."""
    with open("/proc/self/status", encoding="ascii") as status:  # noqa: PTH123 - pathlib would be measured too
        return next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmRSS:"))


objects = [bytes(400) + b"%d" % number for number in range(470_000)]
print("peak", resident())
del objects
time.sleep(0.1)
print("after", resident())
