"""The enclaved arm whose console is shielded: `cloister run --console`, and the person who attaches to it.

Nothing stands in for anything: the host's key is a fresh one, the evidence is verified against what the program
measures here, and what is typed passes the relay as records.
"""

import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from cloister.app.measuring import measure_program
from cloister.attest.host_key import FileHostKey
from cloister.errors import UsageError
from cloister.launch.strict import read_manifest_file
from cloister.observe.prove.plan import Console, Person

__all__ = ["console_command", "person_at", "with_cloister"]

CLOISTER: Final = (sys.executable, "-m", "cloister")
ADDRESS: Final = "127.0.0.1:0"
WAITING: Final = re.compile(rb"cloister attach (\S+)\n")
HOST_KEY: Final = "host-key.pem"


def console_command(console: Console, words: list[str], workplace: Path, options: Mapping[str, Path]) -> list[str]:
    """The program's side. `options` are further ones of `cloister run` that take a path."""
    FileHostKey(workplace / HOST_KEY)
    given = {"--host-key": workplace / HOST_KEY, **options}
    if console.manifest is not None:
        given["--manifest"] = console.manifest
    named = [word for name, path in given.items() for word in (name, str(path))]
    return [*CLOISTER, "run", "--console", ADDRESS, *named, "--", *words]


def person_at(console: Console, words: list[str], workplace: Path, environment: Mapping[str, str]) -> Person:
    """The person's side: the program has the variables that it has natively. UsageError."""
    public = workplace / "host.pem"
    public.write_bytes(FileHostKey(workplace / HOST_KEY).public_pem())
    shield = [] if console.shield is None else ["--shield", str(console.shield)]
    variables = [word for name, value in environment.items() for word in ("--env", f"{name}={value}")]
    expected = ["--measurement", expected_measurement(console, words[0]), "--trust-host-key", str(public)]
    return Person(
        command=(*CLOISTER, "attach", *expected, *shield, *variables),
        environment=with_cloister(os.environ),
        waiting=WAITING,
    )


def expected_measurement(console: Console, program: str) -> str:
    """What the person expects to run there."""
    try:
        measured = (
            measure_program(program).measured if console.manifest is None else read_manifest_file(console.manifest)
        )
    except OSError as error:
        raise UsageError(f"the program cannot be measured: {error}") from error
    return measured.measurement.hex()


def with_cloister(environment: Mapping[str, str]) -> dict[str, str]:
    """These variables, and where this package is found."""
    return {**environment, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
