"""Run the verifier and the key broker: secrets only for programs that attest.

Speaks the KBS protocol 0.4.0 of Confidential Containers and Veraison's challenge-response API, so their clients work as
they are. The first start makes keys, a certificate and an administrator's token, which is shown once. Nothing is
released by default: sessions and the rules of secrets name programs, and for the latter evidence must satisfy --policy.
"""

import argparse
import contextlib
import sys
from pathlib import Path

from cloister.cli._serve_keys import add_kek_option, keks_of
from cloister.cli._serve_ports import add_port_options, check_ports, ports_of
from cloister.cli._serve_start import address_of, announced, appraiser_maker, listening
from cloister.cli._verify_inputs import add_trust_options
from cloister.errors import UsageError
from cloister.result.keys import read_verification_keys

__all__ = ["build_parser", "run"]

EPILOG = """\
examples:
  cloister serve --trust-host-key host.pem       # for sessions and software enclaves
  cloister serve --policy app.toml
  cloister serve --listen 0.0.0.0:8443 --tls-cert server.pem --tls-key key.pem \\
                 --policy app.toml --database postgresql://broker@db/cloister
  cloister serve --verifier                      # results only (passport)
  cloister serve --broker --verifier-key verifier-public.pem   # secrets only
  cloister serve --policy app.toml --gramine 0.0.0.0:4433 --gramine-secret keys/app/db --gramine-string
  cloister serve --policy app.toml --attested-tls 0.0.0.0:8444   # for programs of EGo

With --workers, each process but the first has an audit log of its own: STATE/worker-N/audit.log.
Several replicas: the same --database, a copy of STATE/kek in each --state, or
one --kek kms=... SIGHUP reads --policy, --collateral, --endorsement and
--trust-... again.

exit codes:
    0  stopped by SIGTERM
    2  the command line, a file or the address cannot be used
    6  the database or the audit log cannot be used now
  130  interrupted from the keyboard
"""
MOST_WORKERS = 64
DEFAULT_STATE = "~/.local/state/cloister/serve"
"""Where the Freedesktop base directories have state, if XDG_STATE_HOME is not set."""


def build_parser(parser: argparse.ArgumentParser) -> None:
    """Options of `cloister serve`."""
    parser.epilog = EPILOG
    parser.add_argument(
        "--listen", metavar="HOST:PORT", default="127.0.0.1:8443", help="where (default: 127.0.0.1:8443; port 0: any)"
    )
    parser.add_argument(
        "--state", metavar="DIR", default=DEFAULT_STATE, help=f"keys and logs (default: {DEFAULT_STATE})"
    )
    parser.add_argument(
        "--workers", metavar="N", type=workers, default=1, help=f"processes, 1 to {MOST_WORKERS} (default: 1)"
    )
    parser.add_argument("--database", metavar="URL", default="", help="postgresql://... (default: SQLite in --state)")
    add_kek_option(parser)
    parser.add_argument("--verifier", action="store_true", help="only verify: results, no secrets")
    parser.add_argument("--broker", action="store_true", help="only release: for results of --verifier-key")
    parser.add_argument(
        "--verifier-key",
        metavar="FILE",
        action="append",
        default=[],
        help="believe this verifier's results; repeatable",
    )
    parser.add_argument("--policy", metavar="FILE", help="what evidence must say (TOML or Rego; docs/policy-file.md)")
    parser.add_argument("--tls-cert", metavar="FILE", help="certificate in PEM (default: a self-signed one is made)")
    parser.add_argument("--tls-key", metavar="FILE", help="its private key")
    parser.add_argument(
        "--admin-token-file", metavar="FILE", help="first start: write the token to this new file, and do not show it"
    )
    parser.add_argument(
        "--unsafe-plain-http", action="store_true", help="no TLS: behind a proxy on this host, or tests"
    )
    add_port_options(parser)
    add_trust_options(parser)


def run(args: argparse.Namespace) -> int:
    """Start, say where, serve until a signal comes."""
    try:
        from cloister.serve.first_start import sha256_of  # noqa: PLC0415 - an extra
        from cloister.serve.journal import Journal  # noqa: PLC0415
        from cloister.serve.metrics import shared_rows  # noqa: PLC0415
        from cloister.serve.reload import Reloading  # noqa: PLC0415
        from cloister.serve.server import bind, run_until_stopped, server_for  # noqa: PLC0415
        from cloister.serve.service import Service, Settings  # noqa: PLC0415
        from cloister.serve.supervisor import supervise  # noqa: PLC0415
        from cloister.serve.worker import worker_of  # noqa: PLC0415
    except ImportError as error:
        raise UsageError(f"`cloister serve` needs an extra: pip install 'cloister[serve]' ({error.name})") from error
    check(args)
    host, port = address_of(args.listen)
    journal, state = Journal(), Path(args.state).expanduser()
    reloading = Reloading(lambda: appraiser_maker(args), journal.write)
    verifier_keys = tuple(key for file in args.verifier_key for key in read_verification_keys(Path(file)))
    how = listening(args, state, host)
    settings = Settings(
        state=state, appraiser=reloading.appraiser, database=args.database, verifier_keys=verifier_keys,
        verifier=args.verifier or not args.broker, broker=args.broker or not args.verifier,
        secure_cookie=not args.unsafe_plain_http, rows=shared_rows(args.workers), keks=keks_of(args),
        certificate="" if how.certificate is None else sha256_of(how.certificate).hex(),
    )  # fmt: skip
    service = Service(settings, journal)
    with contextlib.ExitStack() as opened:
        opened.callback(service.close)
        server = server_for(service.application, how)
        listener = opened.enter_context(bind(host, port))
        announced(service, how, listener.getsockname()[:2], args)
        if args.gramine or args.attested_tls:
            opened.enter_context(ports_of(args, service, how, journal))
        if args.workers == 1:
            with reloading.on_hangup():
                run_until_stopped(server, listener)
        else:
            service.close()  # what the first start makes is made, once; each worker opens its own
            work = worker_of(settings, how, listener, reloading.on_hangup)
            supervise(args.workers, work, journal.write, reloading.reload)
    return 0


def workers(text: str) -> int:
    """A number of worker processes."""
    number = int(text) if text.isascii() and text.isdecimal() else 0
    if not 1 <= number <= MOST_WORKERS:
        raise argparse.ArgumentTypeError(f"is a number from 1 to {MOST_WORKERS}")
    return number


def check(args: argparse.Namespace) -> None:
    """UsageError for options that cannot be meant together."""
    if bool(args.tls_cert) != bool(args.tls_key):
        raise UsageError("--tls-cert and --tls-key go together")
    if args.unsafe_plain_http and args.tls_cert:
        raise UsageError("--unsafe-plain-http and --tls-cert exclude each other")
    if args.broker and not args.verifier and not args.verifier_key:
        raise UsageError("--broker alone believes no verifier: give --verifier-key FILE")
    check_ports(args)
    if args.policy is None and not (args.broker and not args.verifier):
        print(
            "cloister serve: no --policy, so no result is affirming: sessions, which name programs themselves, release "
            "secrets, and `cloister secret` does not", file=sys.stderr,
        )  # fmt: skip
