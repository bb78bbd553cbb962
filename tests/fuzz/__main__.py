"""Fuzz the parsers: `python -m tests.fuzz [--seconds 600] [--only snp,cca] [--jobs 1]`; see README.md beside this file.

Exit code 1 if a target found something; its input and the message are named at the end.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.fuzz.law import LONGEST
from tests.fuzz.seeds import SEEDS, forged, real, words

__all__ = ["main"]

UNGUIDED: Final = {"runtime": "tests.fuzz.runtime", "calls": "tests.fuzz.calls", "elf": "tests.fuzz.elf_files"}
"""What is compiled C has programs of its own: the runtime's readers, its system calls, its loader."""
NAMES: Final = (*SEEDS, *UNGUIDED)
MEMORY: Final = Path("/dev/shm")
"""For the files that readers read: nobody waits for a disk."""
MEMORY_MIB: Final = 1024
HANG_SECONDS: Final = 10
"""By the clock, for inputs that never end. The law's own limit is one second of processor time."""
COUNTERS: Final = re.compile(r"cov: (\d+) ft: (\d+) corp: (\d+)/")
EXECUTIONS: Final = re.compile(r"stat::number_of_executed_units:\s*(\d+)|^#(\d+)\s", re.MULTILINE)
PEAK: Final = re.compile(r"stat::peak_rss_mb:\s*(\d+)")
FINDING: Final = re.compile(r"Test unit written to (\S+)")


@dataclass(frozen=True, kw_only=True)
class Run:
    """What came of one target. `finding` is the file with the input that broke the law, or empty."""

    name: str
    seconds: float
    code: int
    executions: int
    coverage: str
    features: str
    corpus: str
    peak_mib: str
    finding: str
    log: Path


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    args = parser().parse_args(arguments)
    unknown = sorted({*args.only} - {*NAMES})
    if unknown:
        sys.exit(f"no target is called {unknown[0]}; there are {', '.join(NAMES)}")
    if args.list:
        print("\n".join(NAMES))  # noqa: T201 - what was asked for
        return 0
    names = args.only or [*NAMES]
    with ThreadPoolExecutor(args.jobs) as pool:
        runs = [*pool.map(lambda name: run(name, args.seconds, args.directory), names)]
    print(*table(runs), sep="\n")  # noqa: T201 - the outcome, for a person
    return 1 if any(run.code for run in runs) else 0


def parser() -> argparse.ArgumentParser:
    """The options."""
    made = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Fuzz the parsers.")
    made.add_argument("--seconds", type=int, default=600, help="for each target (default: 600)")
    made.add_argument("--only", type=lambda text: text.split(","), default=[], help="names of targets, with commas")
    made.add_argument("--jobs", type=int, default=1, help="targets at a time (default: 1)")
    made.add_argument("--directory", type=Path, default=Path("build/fuzz"), help="for corpus, findings and logs")
    made.add_argument("--list", action="store_true", help="name the targets")
    return made


def run(name: str, seconds: int, directory: Path) -> Run:
    """Run one target. Its corpus is kept: the next run goes on from there."""
    place = directory.resolve() / name
    for folder in ("corpus", "seeds", "found"):
        (place / folder).mkdir(parents=True, exist_ok=True)
    unguided = [UNGUIDED.get(name, ""), f"--seconds={seconds}", f"--found={place / 'found'}"]
    command = [sys.executable, "-m", *(unguided if name in UNGUIDED else guided(name, seconds, place))]
    log = place / "log"
    start = time.monotonic()
    shared = MEMORY if MEMORY.is_dir() and name not in UNGUIDED else None  # programs may not be executed there
    with log.open("wb") as file, tempfile.TemporaryDirectory(dir=shared) as files:  # libFuzzer ends without clearing up
        Path(files).chmod(0o711)  # broken programs run as nobody
        code = subprocess.run(
            command, stdout=file, stderr=file, check=False, env={**os.environ, "TMPDIR": files}
        ).returncode
    return outcome(name, time.monotonic() - start, code, log)


def guided(name: str, seconds: int, place: Path) -> list[str]:
    """What runs a target under libFuzzer."""
    seeds = forged(name) + real(name)
    for number, seed in enumerate(seeds):
        (place / "seeds" / f"{number:03}").write_bytes(seed)
    dictionary = b"".join(b'"%b"\n' % word for word in words(seeds))
    (place / "words").write_bytes(dictionary)
    return [
        "tests.fuzz.one", name, f"-max_total_time={seconds}", f"-max_len={LONGEST}",
        f"-timeout={HANG_SECONDS}", f"-rss_limit_mb={MEMORY_MIB}", f"-artifact_prefix={place / 'found'}/",
        *([f"-dict={place / 'words'}"] if dictionary else []), "-print_final_stats=1", str(place / "corpus"),
        str(place / "seeds"),
    ]  # fmt: skip


def outcome(name: str, seconds: float, code: int, log: Path) -> Run:
    """What the log says."""
    text = log.read_text(errors="replace")
    counters = [found.groups() for found in COUNTERS.finditer(text)] or [("", "", "")]
    executions = [int(found[1] or found[2]) for found in EXECUTIONS.finditer(text)]
    peak, finding = PEAK.search(text), FINDING.search(text)
    coverage, features, corpus = counters[-1]
    return Run(
        name=name, seconds=seconds, code=code, executions=max(executions, default=0), coverage=coverage,
        features=features, corpus=corpus, peak_mib=peak[1] if peak else "", finding=finding[1] if finding else "",
        log=log,
    )  # fmt: skip


def table(runs: Sequence[Run]) -> Iterator[str]:
    """The outcome for people, in Markdown."""
    yield "| target | seconds | executions | coverage | features | corpus | peak MiB | found |"
    yield "|---|---|---|---|---|---|---|---|"
    for run in runs:
        found = run.finding or (f"failed: see {run.log}" if run.code else "nothing")
        yield (
            f"| {run.name} | {run.seconds:.0f} | {run.executions} | {run.coverage} | {run.features} | {run.corpus} "
            f"| {run.peak_mib} | {found} |"
        )


if __name__ == "__main__":
    sys.exit(main())
