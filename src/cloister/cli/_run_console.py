"""What `cloister run --console` does: waits for the person, then becomes the program whose console is theirs."""

import argparse
import base64
import os
import sys
from pathlib import Path

from cloister.attest.console_start import ConsoleStreams, console_streams, listen_at, parse_address, wait_for_program
from cloister.attest.starting import Plan, started_carrier
from cloister.cli._run_attested import measured
from cloister.errors import UsageError
from cloister.launch.command import RuntimeOptions, find_program
from cloister.launch.runtime_file import runtime_path
from cloister.measure.software import SoftwareMeasurement

__all__ = ["console"]

EXCLUDED = ("broker", "session", "service", "ca", "attest", "verifier", "start_fd", "shield", "unsafe_no_guard")


def console(args: argparse.Namespace, program: str, options: RuntimeOptions) -> None:
    """Returns in the process that is to become the program, which is a child of this one."""
    check(args)
    found = measured(args.manifest, find_program(program), args.broker_key or "")
    address = parse_address(args.console)
    with listen_at(args.console, unsafe_anywhere=args.unsafe_listen_anywhere) as listener:
        where = address if isinstance(address, str) else "{}:{}".format(*listener.getsockname()[:2])
        if not args.quiet:
            print(f"cloister: waiting for the person at the console: cloister attach {where}", file=sys.stderr)
            sys.stderr.flush()
        child = os.fork()
        if child:
            listener.close()
            sys.exit(wait_for_program(child))
        os.setsid()
        streams = console_streams()
        given = [listener.fileno(), *streams.hosts]
        said = started_carrier(lambda: plan_of(args, found, where), given)
    become(streams, options, said)


def become(streams: ConsoleStreams, options: RuntimeOptions, said: dict[str, str | int]) -> None:
    """Take the streams that the person's call asks for."""
    options.attester = str(said["socket"])
    options.console_fd = streams.install(terminal=bool(said["terminal"]))


def check(args: argparse.Namespace) -> None:
    """UsageError for options that cannot be meant together."""
    if args.tee is not None:
        raise UsageError("--console is for the software enclave; an emulated machine's console is sealed as it is")
    for name in EXCLUDED:
        if getattr(args, name):
            raise UsageError(
                f"--{name.replace('_', '-')} and --console exclude each other: whoever attaches is the broker"
            )


def plan_of(args: argparse.Namespace, found: SoftwareMeasurement, where: str) -> Plan:
    """What the carrier is started for."""
    files = {name: str(Path(getattr(args, name)).absolute()) for name in ("host_key", "flow") if getattr(args, name)}
    return Plan(
        starter=os.getpid(), runtime=runtime_path(), libraries=found.libraries.hex(),
        manifest=base64.b64encode(found.manifest.serialize()).decode(), console=where, **files,
    )  # fmt: skip
