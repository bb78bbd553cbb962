"""How fast `cloister scan` searches a core file, beside plain grep over the same file.

    .venv/bin/python -m benchmarks.scan_speed
    .venv/bin/python -m benchmarks.scan_speed --megabytes 1000 --pairs 10

A Python program with ordinary data is dumped with gcore. Then, alternating: `grep -c` for one pattern in the C
locale, and a scan for that secret in all its encodings. Each scan is also compared with one `bytes.find` pass per
pattern, which is what the multi-pattern library replaces. Ratios are scan speed over grep speed.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.benchmark import Better, NotMeasured
from benchmarks.needs import find
from benchmarks.ratios import Pair, Summary, summarise

from cloister.observe.needles import Needles
from cloister.observe.scan import scan_file

SECRETS = {f"secret {number}": f"FUNFOO-marker-{number:02}-q7Zx".encode() for number in range(6)}
MARKER = SECRETS["secret 0"]
PROGRAM = """
import sys, time
marker = sys.stdin.readline()
rows = [{"key": n, "value": str(n) * 3} for n in range(int(sys.argv[1]) * 2900)]
print("ready", flush=True)
time.sleep(600)
"""
GIGABYTE = 1e9


@contextmanager
def core_file(megabytes: int, scratch: Path) -> Iterator[Path]:
    """A core of about that size, in the page cache."""
    gcore = find("gcore")
    process = subprocess.Popen(
        [find("python3"), "-c", PROGRAM, str(megabytes)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin is not None  # noqa: S101  for the type checker
    assert process.stdout is not None  # noqa: S101  for the type checker
    try:
        process.stdin.write(MARKER + b"\n")
        process.stdin.close()
        process.stdout.readline()
        command = [gcore, "-o", str(scratch / "core"), str(process.pid)]
        subprocess.run(command, check=True, capture_output=True, timeout=600)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    core = scratch / f"core.{process.pid}"
    core.read_bytes()
    yield core


def seconds(work: Callable[[], object]) -> float:
    """Wall-clock time of one call."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def grep(core: Path) -> None:
    """Count lines with the marker; it must be there (grep ends with 0)."""
    environment = {**os.environ, "LC_ALL": "C"}
    subprocess.run(["grep", "-c", MARKER, core], check=True, capture_output=True, env=environment)


def scan(core: Path, secrets: dict[str, bytes], *, aes_keys: bool = False) -> None:
    """Scan for the secrets; the first must be found."""
    if not scan_file(core, Needles.of(secrets), aes_keys=aes_keys).found:
        raise NotMeasured("the scan did not find the marker that grep found")


def find_each(core: Path, secrets: dict[str, bytes]) -> None:
    """One `bytes.find` pass per pattern."""
    data = core.read_bytes()
    for needle in Needles.of(secrets).needles:
        data.find(needle.pattern)


def compare(core: Path, pairs: int, work: Callable[[], object]) -> Summary:
    """`work` beside grep, alternating, in GB/s; which goes first changes from pair to pair."""
    gigabytes = core.stat().st_size / GIGABYTE
    measured = []
    for number in range(pairs):
        times: dict[bool, float] = {}
        for candidate in (False, True) if number % 2 else (True, False):
            times[candidate] = seconds(work if candidate else lambda: grep(core))
        measured.append(Pair(baseline=gigabytes / times[False], candidate=gigabytes / times[True]))
    return summarise(measured, Better.MORE)


def report(what: str, summary: Summary) -> None:
    """One row."""
    spread = f"{summary.ratio:5.2f}  ({summary.lowest:.2f} to {summary.highest:.2f})"
    print(f"{what:<44} {summary.baseline:5.2f}  {summary.candidate:5.2f}  {spread}", flush=True)


def main() -> int:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=300, help="size of the core file")
    parser.add_argument("--pairs", type=int, default=5, help="alternating runs per row")
    args = parser.parse_args()
    first, two = {"secret 0": MARKER}, dict(list(SECRETS.items())[:2])
    try:
        with tempfile.TemporaryDirectory() as directory, core_file(args.megabytes, Path(directory)) as core:
            size = core.stat().st_size / GIGABYTE
            print(f"{size:.2f} GB core file; GB/s, medians of {args.pairs} pairs; ratio with lowest and highest")
            print(f"{'':<44} {'grep':>5}  {'this':>5}  ratio")
            report("scan, 1 secret", compare(core, args.pairs, lambda: scan(core, first)))
            report("scan, 2 secrets", compare(core, args.pairs, lambda: scan(core, two)))
            report("scan, 6 secrets", compare(core, args.pairs, lambda: scan(core, SECRETS)))
            report("bytes.find per pattern, 1 secret", compare(core, 1, lambda: find_each(core, first)))
            report("scan, 1 secret and --aes-keys", compare(core, 1, lambda: scan(core, first, aes_keys=True)))
    except NotMeasured as error:
        print(f"scan_speed: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
