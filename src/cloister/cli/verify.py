"""Verify evidence from any TEE, offline, and explain the verdict.

Understands Intel SGX and TDX quotes, AMD SEV-SNP reports, Arm CCA tokens, Keystone reports, TPM quotes and the software
enclave's evidence, as they are or in the containers that they travel in: hexadecimal, base64, PEM, CMW, RA-TLS
certificates, Trustee's and dstack's JSON, Azure's HCL reports. Nothing is fetched: collateral comes from
`cloister collateral` or from files.
"""

import argparse
import json
import sys
from pathlib import Path

from cloister.cli import _verify_batch
from cloister.cli._arguments import nonce_of, read_input, time_of
from cloister.cli._terminal import clean
from cloister.cli._verify_ear import add_options, write_result
from cloister.cli._verify_inputs import add_trust_options, anchors_and_keys, anchors_named, endorsements_of
from cloister.cli._verify_text import failure_lines, verdict_lines
from cloister.envelope import LARGEST
from cloister.errors import CloisterError, EndorsementUnavailable, ParseError, UsageError, VerificationError
from cloister.model import Challenge, Unchecked
from cloister.verification.recipe import Allowances
from cloister.verifier import Verifier
from cloister.verifier.documents import failure_document, verdict_document
from cloister.verifier.many import EXIT_CODES, Job
from cloister.verifier.policy_files import load_policy

__all__ = ["build_parser", "run"]

NO_NONCE = Unchecked("no --nonce was given: this evidence may have been recorded earlier and replayed")
NO_POLICY = Unchecked("no --policy was given")
EPILOG = """\
examples:
  cloister verify quote.bin --nonce 6e6f6e6365 --policy app.toml
  cloister verify quote.bin --at 2026-01-31 --explain      every check, expected and found, and who demanded it
  cloister verify evidence.json --json | jq .tcb_status
  cloister verify token.cbor --trust-key platform-key.pem  Arm CCA: whose platform key it is, only its owner knows
  cloister verify quote.bin --policy app.toml --ear result.jwt --signing-key verifier.pem
  cloister verify --batch evidence/ --policy app.toml      a folder, a .jsonl or a .parquet file; JSON lines on stdout

A lone `cloister verify FILE` says whether the evidence is authentic. Whether it is the program that you expect, only a
policy says (`cloister policy init` writes one); whether it was made for you, only a nonce.

exit codes:
  0    affirming: authentic, and all that the policy demands holds
  2    malformed: no format that is known, or broken; the record, field and byte are named. Or the command line is wrong
  3    warning: authentic, with reservations (TCB status), or without a policy
  4    contraindicated: authentic, but not what the policy demands
  5    not authentic: a signature, chain or binding does not hold, revoked, a debug enclave, or another nonce
  6    could not decide: collateral is missing or expired
With --batch: the worst of all, where 5 is worse than 4, 4 than 2, 2 than 6, 6 than 3.
"""


def build_parser(parser: argparse.ArgumentParser) -> None:
    """Options of `cloister verify`."""
    parser.epilog = EPILOG
    parser.add_argument("file", nargs="?", metavar="FILE", help="the evidence; - reads standard input")
    parser.add_argument("--policy", metavar="FILE", help="what the evidence must say (TOML; docs/policy-file.md)")
    parser.add_argument("--nonce", metavar="HEX", help="what the attester was asked to include, up to 1024 bytes")
    parser.add_argument("--explain", action="store_true", help="show every check, not only those that failed")
    parser.add_argument("--json", action="store_true", help="print one JSON document on standard output")
    add_trust_options(parser)
    add_options(parser)
    parser.add_argument("--batch", metavar="SOURCE", help="verify a folder, .jsonl or .parquet on all cores")
    parser.add_argument(
        "--processes", metavar="N", type=int, help="with --batch: how many at once (default: all cores)"
    )


def run(args: argparse.Namespace) -> int:
    """Verify, report, and return the exit code."""
    if (args.file is None) == (args.batch is None):
        raise UsageError("give one FILE, or --batch with a folder, .jsonl or .parquet file")
    anchors, keys = anchors_and_keys(args)
    verifier = Verifier(anchors=anchors, endorsements=endorsements_of(args) | keys)
    at = time_of(args.at)
    policy, references = load_policy(Path(args.policy), at) if args.policy else (NO_POLICY, None)
    allow = Allowances(unsafe_allow_debug=args.unsafe_allow_debug, unsafe_skip_revocation=args.unsafe_skip_revocation)
    job = Job(
        verifier=verifier,
        policy=policy,
        references=references,
        at=at,
        allow=allow,
        accept_anchors=anchors_named(args),
    )
    if args.batch is not None:
        return _verify_batch.run(job, args.batch, processes=args.processes)
    return verify_one(job, args)


def verify_one(job: Job, args: argparse.Namespace) -> int:
    """Verify one file."""
    challenge = nonce_of(args.nonce) if args.nonce else NO_NONCE
    data = read_input(args.file, LARGEST)
    try:
        verdict = job.verifier.appraise(
            data,
            at=job.at,
            challenge=challenge,
            policy=job.policy,
            references=job.references,
            allow=job.allow,
            accept_anchors=job.accept_anchors,
        )
    except (ParseError, VerificationError, EndorsementUnavailable) as error:
        return report_failure(error, args)
    if args.json:
        print(json.dumps({"file": args.file} | verdict_document(verdict), indent=2))
    else:
        print(*map(clean, verdict_lines(args.file, verdict, explain=args.explain)), sep="\n", file=sys.stderr)
    if args.ear:
        write_result(args, verdict, data, challenge.nonce if isinstance(challenge, Challenge) else b"")
    return EXIT_CODES[str(verdict.status)]


def report_failure(error: CloisterError, args: argparse.Namespace) -> int:
    """Say why there is no verdict."""
    if args.json:
        print(json.dumps({"file": args.file} | failure_document(error), indent=2))
    else:
        print(*map(clean, failure_lines(args.file, error, explain=args.explain)), sep="\n", file=sys.stderr)
    return error.exit_code
