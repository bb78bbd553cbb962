"""How `cloister run` starts the carrier and then becomes the runtime itself, without being the carrier's parent.

This runs in the process that will execute the runtime, on the way to the program: it imports little.
"""

import contextlib
import fcntl
import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from enum import IntEnum
from typing import NoReturn

from cloister.errors import CannotEnclave, LaunchError, NotExecutable, NotFound, UsageError

__all__ = ["Given", "Plan", "start_carrier", "started_carrier"]

KEPT = (
    "HOME", "LANG", "LC_ALL", "PATH", "PYTHONDONTWRITEBYTECODE", "PYTHONPATH", "SSL_CERT_DIR", "SSL_CERT_FILE",
    "TMPDIR", "XDG_RUNTIME_DIR", "XDG_STATE_HOME",
)  # fmt: skip
"""What the carrier gets of the environment. The rest may hold what is the program's secret."""
LAST_DESCRIPTOR = (1 << 31) - 1
ERRORS = {error.exit_code: error for error in (UsageError, CannotEnclave, NotExecutable, NotFound)}


class Given(IntEnum):
    """Which descriptors a carrier finds that has a console to relay: `started_carrier`."""

    LISTENER = 3
    """Where the person calls."""
    MASTER = 4
    """Of the terminal that the program gets if the person has one."""
    INTO = 5
    """A socket of records, for what the program reads if there is no terminal."""
    OUT = 6
    """A socket of records, from which comes what the program writes."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a carrier is started for. Paths are absolute; empty is not given. Nothing of it is secret.

    `starter` is the process that will execute the file `runtime`; `manifest` the bytes that the runtime reads, in
    base64, and `libraries` their digest in evidence, in hexadecimal. `console`: where a person is waited for, who
    then is the broker.
    """

    starter: int
    runtime: str
    manifest: str
    libraries: str
    broker: str = ""
    session: str = ""
    service: str = "-"
    ca: str = ""
    verifier: str = ""
    host_key: str = ""
    flow: str = ""
    console: str = ""


def start_carrier(make: Callable[[], Plan]) -> str:
    """The path of its socket, where it listens already. CloisterError with its own words if it does not."""
    return str(started_carrier(make)["socket"])


def started_carrier(make: Callable[[], Plan], given: Sequence[int] = ()) -> dict[str, str | int]:
    """What it reports: `socket`, where it listens already, and, of a console, whether the person has a `terminal`.

    It gets the descriptors that are `given` on the numbers from 3 on. CloisterError with its own words if it does not
    listen. The plan is made while its interpreter starts, which takes about as long as measuring a program.
    """
    plan_read, plan_write = os.pipe()
    report_read, report_write = os.pipe()
    child = os.fork()
    if child == 0:
        _become_carrier(plan_read, report_write, given)
    os.close(plan_read)
    os.close(report_write)
    with contextlib.suppress(ChildProcessError):  # where SIGCHLD is ignored, the kernel takes children away itself
        os.waitpid(child, 0)
    with os.fdopen(report_read, "rb") as reports:
        with contextlib.suppress(BrokenPipeError), os.fdopen(plan_write, "wb") as plans:  # the report says more
            plans.write(json.dumps(asdict(make())).encode())  # if this raises, the carrier finds no plan, and ends
        report = reports.read()
    try:
        said: dict[str, str | int] = json.loads(report)
    except ValueError:
        raise LaunchError("the attester did not start; `python -m cloister.attest.carrier` may say why") from None
    if "socket" in said:
        return said
    raise ERRORS.get(int(said["code"]), LaunchError)(said["error"])


def _become_carrier(plan: int, report: int, given: Sequence[int]) -> NoReturn:
    """In a child: a session of its own, nobody's child, no descriptor, argument or variable of this process."""
    try:
        os.setsid()
        if os.fork():
            os._exit(0)
        streams = plan, report, os.open(os.devnull, os.O_WRONLY)
        wanted = [*streams, *given]
        above = [fcntl.fcntl(one, fcntl.F_DUPFD, len(wanted)) for one in wanted]  # they may be among these themselves
        for number, stream in enumerate(above):
            os.dup2(stream, number)
        os.closerange(len(wanted), LAST_DESCRIPTOR)
        environment = {name: os.environ[name] for name in KEPT if name in os.environ}
        if "PYTHONPATH" in environment:
            places = environment["PYTHONPATH"].split(os.pathsep)
            environment["PYTHONPATH"] = os.pathsep.join(map(os.path.abspath, places))
        os.chdir("/")
        os.execve(sys.executable, [sys.executable, "-P", "-m", "cloister.attest.carrier"], environment)
    finally:
        os._exit(125)
