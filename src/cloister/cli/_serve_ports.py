"""`cloister serve --gramine` and `--attested-tls`: further ports, for programs that show their evidence in TLS."""

import argparse
import contextlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from cloister.cli._serve_start import address_of
from cloister.errors import UsageError

if TYPE_CHECKING:
    from cloister.app.provisioning.port import Speaks
    from cloister.serve.journal import Journal
    from cloister.serve.server import Listening
    from cloister.serve.service import Service

__all__ = ["add_port_options", "check_ports", "ports_of"]

PORTS = ("gramine", "attested_tls")


def add_port_options(parser: argparse.ArgumentParser) -> None:
    """Where else to listen, and what for."""
    gramine = parser.add_argument_group("Gramine's secret provisioning (its clients work as they are)")
    gramine.add_argument("--gramine", metavar="HOST:PORT", help="listen there too; clients expect port 4433")
    gramine.add_argument(
        "--gramine-secret", metavar="NAME", help="what its programs get: a secret as `cloister secret put` named it"
    )
    gramine.add_argument(
        "--gramine-string",
        action="store_true",
        help="with a zero byte at its end, for the library that runs before main",
    )
    attested = parser.add_argument_group("attested TLS (programs of EGo and Open Enclave, and others with RA-TLS)")
    attested.add_argument(
        "--attested-tls",
        metavar="HOST:PORT",
        help="listen there too, for HTTPS clients whose certificate carries evidence: GET /kbs/v0/resource/NAME",
    )


def check_ports(args: argparse.Namespace) -> None:
    """UsageError for options that cannot be meant together."""
    if bool(args.gramine) != bool(args.gramine_secret):
        raise UsageError("--gramine and --gramine-secret go together: where, and what")
    if args.gramine_string and not args.gramine:
        raise UsageError("--gramine-string goes with --gramine")
    for name in PORTS:
        if getattr(args, name):
            _check_port(args, getattr(args, name), f"--{name.replace('_', '-')}")


def _check_port(args: argparse.Namespace, address: str, option: str) -> None:
    address_of(address, option)
    if args.verifier != args.broker:
        raise UsageError(f"{option} verifies and releases: leave out --verifier and --broker")
    if args.unsafe_plain_http:
        raise UsageError(f"{option} takes a certificate, which its clients check: leave out --unsafe-plain-http")
    if args.workers > 1:
        raise UsageError(f"{option} works with one process: --workers 1")


@contextlib.contextmanager
def ports_of(args: argparse.Namespace, service: "Service", how: "Listening", journal: "Journal") -> "Iterator[None]":
    """Serve these clients while the block runs."""
    from cloister.app.provisioning.gramine import Gramine  # noqa: PLC0415 - an extra
    from cloister.app.provisioning.http import Http  # noqa: PLC0415
    from cloister.broker.secrets_vault import check_name  # noqa: PLC0415

    with contextlib.ExitStack() as opened:
        if args.gramine:
            check_name(args.gramine_secret)
            speaks = Gramine(args.gramine_secret, args.gramine_string)
            _open(opened, speaks, (args.gramine, "--gramine", "Gramine's clients"), service, how, journal)
        if args.attested_tls:
            _open(opened, Http(), (args.attested_tls, "--attested-tls", "attested TLS"), service, how, journal)
        yield


def _open(
    opened: contextlib.ExitStack, speaks: "Speaks", where: tuple[str, str, str], service: "Service",
    how: "Listening", journal: "Journal",
) -> None:  # fmt: skip
    from cloister.app.provisioning.port import Port, serving  # noqa: PLC0415 - an extra
    from cloister.serve.server import bind  # noqa: PLC0415

    address, option, who = where
    if service.appraiser is None or service.broker is None or how.certificate is None or how.key is None:
        raise UsageError(f"{option} needs a verifier, a broker and a certificate")
    port = Port(
        appraiser=service.appraiser, broker=service.broker, certificate=how.certificate, key=how.key, speaks=speaks,
        tell=journal.write,
    )  # fmt: skip
    listener = opened.enter_context(bind(*address_of(address, option)))
    opened.enter_context(serving(port, listener))
    host, number = listener.getsockname()[:2]
    print(f"cloister serve: {who} at {host}:{number}", file=sys.stderr, flush=True)
