"""How `cloister run` starts the carrier and then becomes the runtime itself, without being the carrier's parent.

This runs in the process that will execute the runtime, on the way to the program: it imports little.
"""

import contextlib
import fcntl
import json
import os
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import NoReturn

from cloister.errors import CannotEnclave, LaunchError, NotExecutable, NotFound, UsageError

__all__ = ["Plan", "start_carrier"]

KEPT = (
    "HOME", "LANG", "LC_ALL", "PATH", "PYTHONDONTWRITEBYTECODE", "PYTHONPATH", "SSL_CERT_DIR", "SSL_CERT_FILE",
    "TMPDIR", "XDG_RUNTIME_DIR", "XDG_STATE_HOME",
)  # fmt: skip
"""What the carrier gets of the environment. The rest may hold what is the program's secret."""
LAST_DESCRIPTOR = (1 << 31) - 1
ERRORS = {error.exit_code: error for error in (UsageError, CannotEnclave, NotExecutable, NotFound)}


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a carrier is started for. Paths are absolute; empty is not given. Nothing of it is secret.

    `starter` is the process that will execute the file `runtime`; `manifest` the bytes that the runtime reads, in
    base64, and `libraries` their digest in evidence, in hexadecimal.
    """

    starter: int
    runtime: str
    manifest: str
    libraries: str
    broker: str
    session: str
    service: str = "-"
    ca: str = ""
    verifier: str = ""
    host_key: str = ""
    flow: str = ""


def start_carrier(make: Callable[[], Plan]) -> str:
    """The path of its socket, where it listens already. CloisterError with its own words if it does not.

    The plan is made while the carrier's interpreter starts, which takes about as long as measuring a program.
    """
    plan_read, plan_write = os.pipe()
    report_read, report_write = os.pipe()
    child = os.fork()
    if child == 0:
        _become_carrier(plan_read, report_write)
    os.close(plan_read)
    os.close(report_write)
    with contextlib.suppress(ChildProcessError):  # where SIGCHLD is ignored, the kernel takes children away itself
        os.waitpid(child, 0)
    with os.fdopen(report_read, "rb") as reports:
        with contextlib.suppress(BrokenPipeError), os.fdopen(plan_write, "wb") as plans:  # the report says more
            plans.write(json.dumps(asdict(make())).encode())  # if this raises, the carrier finds no plan, and ends
        report = reports.read()
    try:
        said = json.loads(report)
    except ValueError:
        raise LaunchError("the attester did not start; `python -m cloister.attest.carrier` may say why") from None
    if "socket" in said:
        return str(said["socket"])
    raise ERRORS.get(said["code"], LaunchError)(said["error"])


def _become_carrier(plan: int, report: int) -> NoReturn:
    """In a child: a session of its own, nobody's child, no descriptor, argument or variable of this process."""
    try:
        os.setsid()
        if os.fork():
            os._exit(0)
        streams = plan, report, os.open(os.devnull, os.O_WRONLY)
        above = [fcntl.fcntl(stream, fcntl.F_DUPFD, 3) for stream in streams]  # they may be 0 to 2 themselves
        for number, stream in enumerate(above):
            os.dup2(stream, number)
        os.closerange(3, LAST_DESCRIPTOR)
        environment = {name: os.environ[name] for name in KEPT if name in os.environ}
        if "PYTHONPATH" in environment:
            places = environment["PYTHONPATH"].split(os.pathsep)
            environment["PYTHONPATH"] = os.pathsep.join(map(os.path.abspath, places))
        os.chdir("/")
        os.execve(sys.executable, [sys.executable, "-P", "-m", "cloister.attest.carrier"], environment)
    finally:
        os._exit(125)
