"""Attested TLS: connect to a server and say what the evidence in its certificate is worth.

`probe` shakes hands with TLS 1.3, verifies the evidence as `cloister verify`
would in a file, has the server prove that it holds the certificate's key, and
prints the verdict. Nothing is sent beyond the handshake. With --fresh the
server must also make evidence for this very connection, as servers of
`cloister.tls` do.
"""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Final

from cloister.cli._arguments import time_of
from cloister.cli._lines import width_of_terminal
from cloister.cli._verify_hints import hint_for
from cloister.cli._verify_inputs import add_trust_options, anchors_and_keys, anchors_named, endorsements_of
from cloister.cli._verify_text import failure_lines, verdict_lines
from cloister.cli.verify import print_document, print_lines
from cloister.errors import CloisterError, UsageError
from cloister.model import Unchecked
from cloister.tls.demands import Demands
from cloister.tls.identity import now
from cloister.tls.probe import Address, probe
from cloister.tls.refusal import PeerRefused
from cloister.verification.recipe import Allowances
from cloister.verifier import Verdict, Verifier
from cloister.verifier.documents import failure_document, verdict_document
from cloister.verifier.many import EXIT_CODES
from cloister.verifier.policy_files import load_policy

__all__ = ["build_parser", "run"]

SECONDS: Final = 10.0
NO_POLICY: Final = Unchecked("no --policy was given")
EPILOG = """\
examples:
  cloister tls probe db.example:8443 --policy app.toml
  cloister tls probe db.example:8443 --policy app.toml --fresh --explain
  cloister tls probe '[::1]:8443' --json | jq .status

The server's name is not checked: it signed its certificate itself. Which
program answers, the policy says.

exit codes (those of `cloister verify`):
  0    affirming: attested, and all that the policy demands holds
  2    the command line is wrong; or the certificate carries no evidence, or
       what it carries is malformed
  3    warning: attested, with reservations (TCB status), or without a policy
  4    contraindicated: attested, but not what the policy demands
  5    not attested: a signature, chain or binding does not hold, the
       certificate has expired, or --fresh was not answered
  6    could not decide: no TLS 1.3 connection, or collateral is missing
"""


def build_parser(parser: argparse.ArgumentParser) -> None:
    """Options of `cloister tls`."""
    parser.epilog = EPILOG
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True, help="probe: see below")
    one = actions.add_parser(
        "probe",
        help="verify the evidence of a TLS server",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    one.add_argument("address", metavar="HOST:PORT", help="where the server listens")
    one.add_argument("--policy", metavar="FILE", help="what the evidence must say (TOML; docs/policy-file.md)")
    one.add_argument("--fresh", action="store_true", help="demand evidence that is made for this connection")
    one.add_argument("--explain", action="store_true", help="show every check, not only those that failed")
    one.add_argument("--json", action="store_true", help="print one JSON document on standard output")
    one.add_argument("--timeout", metavar="SECONDS", type=float, default=SECONDS, help="for each step (default: 10)")
    add_trust_options(one)


def run(args: argparse.Namespace) -> int:
    """Connect, report, and return the exit code."""
    address = Address.parse(args.address)
    if not 0 < args.timeout <= 3600:
        raise UsageError(f"--timeout {args.timeout:g}: give seconds, more than 0 and at most 3600")
    demands = demanded(args)
    try:
        peer = probe(address, demands, timeout=args.timeout)
    except PeerRefused as refusal:
        return report_refusal(refusal, args)
    report_verdict(peer.verdict, args)
    worst = peer.verdict.status if peer.fresh is None else max(peer.verdict.status, peer.fresh.status)
    return EXIT_CODES[str(worst)]


def demanded(args: argparse.Namespace) -> Demands:
    """What the options demand of the server."""
    anchors, keys = anchors_and_keys(args)
    verifier = Verifier(anchors=anchors, endorsements=endorsements_of(args) | keys)
    at = time_of(args.at)
    policy, references = (NO_POLICY, None) if args.policy is None else load_policy(Path(args.policy), at)
    allow = Allowances(unsafe_allow_debug=args.unsafe_allow_debug, unsafe_skip_revocation=args.unsafe_skip_revocation)
    made = Demands(
        verifier=verifier, policy=policy, references=references, allow=allow, accept_anchors=anchors_named(args),
        fresh=args.fresh, clock=now,
    )  # fmt: skip
    return made if args.at is None else replace(made, clock=lambda: at)


def report_verdict(verdict: Verdict, args: argparse.Namespace) -> None:
    """A verdict, as `cloister verify` prints it."""
    if args.json:
        print_document(args.address, verdict_document(verdict))
    else:
        print_lines(verdict_lines(args.address, verdict, explain=args.explain, width=width_of_terminal()))


def report_refusal(refusal: PeerRefused, args: argparse.Namespace) -> int:
    """Say why the server is not attested."""
    error: CloisterError = refusal.error or refusal
    if refusal.verdict is not None:
        report_verdict(refusal.verdict, args)
    elif args.json:
        print_document(args.address, failure_document(error, container=refusal.container))
    else:
        lines = failure_lines(
            args.address, error, container=refusal.container, explain=args.explain, hint=hint_for(error, b""),
            width=width_of_terminal(),
        )  # fmt: skip
        print_lines(lines)
    return refusal.exit_code
