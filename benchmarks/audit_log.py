"""How fast the audit log is; run as `python -m benchmarks.audit_log [DIRECTORY]`.

Entries a second that are on the disk, with and without sharing waits for it, beside what the disk does by itself in the
same run; entries verified a second. The directory chooses the disk; it is the current one by default.
"""

import contextlib
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path

from cloister.appraise.vector import Tier
from cloister.broker.audit import AuditLog, Evidence, Released, SecretName, SessionName, verify_log
from cloister.model import Digest, Measurement, MeasurementKind, Tee
from cloister.result.algorithms import Algorithm
from cloister.result.signing import SigningKey

SECONDS = 4.0
THREADS = (1, 8, 64)


def release(number: int) -> Released:
    """What most entries are."""
    launch = Measurement("measurement", MeasurementKind.LAUNCH, Digest("sha384", bytes(48)))
    evidence = Evidence(
        name="cpu0", tee=Tee.SNP, sha256=bytes(32), measurements=(launch,), verdict=Tier.AFFIRMING
    )  # fmt: skip
    return Released(
        request=f"request-{number}", session=SessionName(name="payroll", version="3", sha256=bytes(32)),
        secrets=(SecretName(name="db-password", version=2),), evidence=(evidence,), result=bytes(32),
        recipient=bytes(32),
    )  # fmt: skip


def measured(threads: int, append: Callable[[int], object]) -> str:
    """Entries a second, median and 99th percentile, as cells of a table."""
    took: list[float] = []

    def work() -> None:
        number = 0
        while (began := time.perf_counter()) < end:
            append(number)
            took.append(time.perf_counter() - began)
            number += 1

    end = time.perf_counter() + SECONDS
    workers = [threading.Thread(target=work) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    took.sort()
    middle, high = took[len(took) // 2], took[len(took) * 99 // 100]
    return f"{len(took) / SECONDS:,.0f} | {middle * 1000:.1f} ms | {high * 1000:.1f} ms"


def disk(path: Path) -> str:
    """Appends of the same size with an fdatasync after each, by one thread, without a log."""
    with contextlib.closing(os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), "wb", 0)) as file:

        def append(_: int) -> None:
            file.write(bytes(980))
            os.fdatasync(file.fileno())

        return measured(1, append)


def appending(log: AuditLog, turn: AbstractContextManager[object]) -> Callable[[int], object]:
    """Append an entry, in `turn`: with a lock, no two threads can share a wait."""

    def append(number: int) -> None:
        with turn:
            log.append(release(number))

    return append


def run(directory: Path) -> None:
    """Print the table."""
    key = SigningKey.generate(Algorithm.EDDSA)
    print("| | threads | entries a second | median | 99 % |\n|---|---|---|---|---|")
    print(f"| the disk alone: one write and fdatasync each | 1 | {disk(directory / 'disk')} |")
    for threads in THREADS:
        for shared in (False, True) if threads > 1 else (True,):
            path, turn = directory / f"{threads}-{shared}.log", threading.Lock()
            with AuditLog.open(path, key, lambda: datetime.now(UTC)) as log:
                cells = measured(threads, appending(log, contextlib.nullcontext() if shared else turn))
                how = "shared waits" if shared and threads > 1 else "a wait for each"
                print(f"| {how} | {threads} | {cells} |", flush=True)
    began = time.perf_counter()
    entries = verify_log(directory / f"{THREADS[-1]}-True.log", key=key.spki).entries
    print(f"\nverified: {entries / (time.perf_counter() - began):,.0f} entries a second")


if __name__ == "__main__":
    where = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
    with tempfile.TemporaryDirectory(dir=where) as name:
        run(Path(name))
