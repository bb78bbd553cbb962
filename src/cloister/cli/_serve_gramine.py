"""`cloister serve --gramine`: the second port, for programs in Gramine."""

import argparse
import contextlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from cloister.cli._serve_start import address_of
from cloister.errors import UsageError

if TYPE_CHECKING:
    from cloister.serve.journal import Journal
    from cloister.serve.server import Listening
    from cloister.serve.service import Service

__all__ = ["check_gramine", "gramine_of"]


def check_gramine(args: argparse.Namespace) -> None:
    """UsageError for options that cannot be meant together."""
    if bool(args.gramine) != bool(args.gramine_secret):
        raise UsageError("--gramine and --gramine-secret go together: where, and what")
    if args.gramine_string and not args.gramine:
        raise UsageError("--gramine-string goes with --gramine")
    if not args.gramine:
        return
    address_of(args.gramine, "--gramine")
    if args.verifier != args.broker:
        raise UsageError("--gramine verifies and releases: leave out --verifier and --broker")
    if args.unsafe_plain_http:
        raise UsageError("--gramine takes a certificate, which its clients check: leave out --unsafe-plain-http")
    if args.workers > 1:
        raise UsageError("--gramine works with one process: --workers 1")


@contextlib.contextmanager
def gramine_of(args: argparse.Namespace, service: "Service", how: "Listening", journal: "Journal") -> "Iterator[None]":
    """Serve Gramine's clients while the block runs."""
    from cloister.app.gramine.service import Gramine, serving  # noqa: PLC0415 - an extra
    from cloister.broker.secrets_vault import check_name  # noqa: PLC0415
    from cloister.serve.server import bind  # noqa: PLC0415

    check_name(args.gramine_secret)
    if service.appraiser is None or service.broker is None or how.certificate is None or how.key is None:
        raise UsageError("--gramine needs a verifier, a broker and a certificate")
    gramine = Gramine(
        appraiser=service.appraiser, broker=service.broker, certificate=how.certificate, key=how.key,
        name=args.gramine_secret, as_string=args.gramine_string, tell=journal.write,
    )  # fmt: skip
    with bind(*address_of(args.gramine, "--gramine")) as listener, serving(gramine, listener):
        host, port = listener.getsockname()[:2]
        print(f"cloister serve: Gramine's clients at {host}:{port}", file=sys.stderr, flush=True)
        yield
