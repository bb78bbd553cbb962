"""Looks at every process of a program's tree while it runs, with an administrator's means, for secrets known here.

The looking is done by a C program (programs/procfs_sampler), several hundred times for each start: procfs, memory,
ptrace, what waits in pipes, sockets and memfds, files, core files, outputs, the kernel's log. A child of it starts the
program and adopts all orphans, so the whole tree is below that child. The child is forked before the secrets are read:
no process below ever had a copy of them from there.
"""

import base64
import json
import os
import subprocess
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

SOURCES = Path(__file__).parent / "programs" / "procfs_sampler"
FLAGS = ("-O2", "-Wall", "-Wextra", "-Werror", "-pthread")
SHORTEST = 12
"""A fragment of so many bytes counts as found: sampler.h."""
SECONDS = 30


@dataclass(frozen=True, kw_only=True)
class Hit:
    """A place where a fragment of a secret could be read."""

    pid: int
    process: str
    kind: str
    detail: str
    needle: str
    length: int
    times: int


@dataclass(frozen=True, kw_only=True)
class Sampled:
    """What became of the program and what was found. `counts`: how often something was done, by process name."""

    status: int
    passes: tuple[int, int, int, int]
    hits: list[Hit]
    counts: Mapping[str, Mapping[str, int]]
    output: str
    errors: str

    @property
    def kinds(self) -> set[str]:
        """The kinds of places where something was found."""
        return {hit.kind for hit in self.hits}

    def total(self, what: str) -> int:
        """How often this was done, all processes together."""
        return sum(of.get(what, 0) for of in self.counts.values())


def build(directory: Path) -> Path:
    """Compile the sampler."""
    target = directory / "procfs-sampler"
    subprocess.run(["cc", *FLAGS, "-o", target, *sorted(SOURCES.glob("*.c"))], check=True)
    return target


def forms_of(secret: bytes) -> dict[str, bytes]:
    """How a secret may stand somewhere: as it is, in hexadecimal, in base64 at any of three alignments, as UTF-16."""
    forms = {"raw": secret, "hex": secret.hex().encode(), "HEX": secret.hex().upper().encode()}
    for shift in range(3):
        padded = bytes(shift) + secret
        whole = len(padded) // 3 * 3
        for name, encode in (("base64", base64.b64encode), ("base64url", base64.urlsafe_b64encode)):
            forms[f"{name}+{shift}"] = encode(padded[:whole])[4 if shift else 0 :]
    if secret.isascii():
        forms["utf-16"] = secret.decode().encode("utf-16-le")
    return {name: form for name, form in forms.items() if len(form) >= SHORTEST}


def sample(
    sampler: Path,
    command: Sequence[str | Path],
    needles: Mapping[str, bytes],
    *,
    place: Path,
    directories: Sequence[Path] = (),
    environment: Mapping[str, str],
    trace_pause: int = 3000,
) -> Sampled:
    """Run a command in `place`, with TMPDIR and output there; look at all that it starts until all of it has ended.

    `needles`: what to look for, by name. `directories` are searched beside `place`. `trace_pause`: microseconds
    between two attempts to attach by ptrace; 0 for none.
    """
    output = place / "output"
    output.mkdir(exist_ok=True)
    for name in ("stdout", "stderr"):
        (output / name).unlink(missing_ok=True)
    watched = [str(one) for one in (place, *directories)]
    done = subprocess.run(
        [sampler, output, str(SECONDS), str(trace_pause), *watched, "--", *command],
        input="".join(f"{name} {value.hex()}\n" for name, value in needles.items()).encode(),
        stdout=subprocess.PIPE, cwd=place, env={**environment, "TMPDIR": str(place)}, check=True, timeout=2 * SECONDS,
    )  # fmt: skip
    record = json.loads(done.stdout)
    said = [(output / name).read_text(errors="replace") for name in ("stdout", "stderr")]
    assert record["ended"], f"not ended after {SECONDS} s: {said}, {record['counts']}"
    counts: dict[str, Counter[str]] = {}
    for one in record["counts"]:
        counts.setdefault(one["process"], Counter())[one["what"]] += one["times"]
    return Sampled(
        status=os.waitstatus_to_exitcode(record["status"]), passes=tuple(record["passes"]),
        hits=[Hit(**hit) for hit in record["hits"]], counts=counts, output=said[0], errors=said[1],
    )  # fmt: skip
