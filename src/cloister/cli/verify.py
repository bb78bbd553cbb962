"""Verify evidence from any TEE, offline, and explain the verdict.

Understands Intel SGX and TDX quotes, AMD SEV-SNP reports, Arm CCA tokens,
Keystone reports, TPM quotes and the software enclave's evidence, as they are
or in the containers that they travel in: hexadecimal, base64, PEM, CMW,
RA-TLS certificates, Trustee's and dstack's JSON, Azure's HCL reports. Nothing
is fetched: collateral comes from `cloister collateral` or from files.
"""

import argparse
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cloister.cli import _verify_batch, _verify_parts
from cloister.cli._arguments import nonce_of, read_input, time_of
from cloister.cli._lines import width_of_terminal
from cloister.cli._terminal import clean
from cloister.cli._verify_batch import file_name
from cloister.cli._verify_ear import add_options, check_options, key_in, write_result
from cloister.cli._verify_hints import hint_for
from cloister.cli._verify_inputs import add_trust_options, anchors_and_keys, anchors_named, endorsements_of
from cloister.cli._verify_sigstruct import SIGNED_BY_AUTHOR, sigstruct_document, sigstruct_in, sigstruct_lines
from cloister.cli._verify_text import failure_lines, verdict_lines
from cloister.envelope import LARGEST, Envelope
from cloister.errors import CloisterError, EndorsementUnavailable, ParseError, UsageError, VerificationError
from cloister.evidence.sigstruct import Sigstruct
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
  cloister verify quote.bin --at 2026-01-31 --explain      # every check
  cloister verify evidence.json --json | jq .tcb_status
  cloister verify token.cbor --trust-key platform-key.pem  # from its owner
  cloister verify quote.bin --policy app.toml --ear result.jwt \\
                  --signing-key verifier.pem
  cloister verify quote.bin --event-log ccel.bin           # replay RTMRs
  cloister verify quote.msg --tpm-signature quote.sig --tpm-pcrs pcrs.json \\
                  --trust-key ak.pem                       # TPM, in files
  cloister verify --batch evidence/ --policy app.toml > verdicts.jsonl

A lone `cloister verify FILE` says whether the evidence is authentic. Whether
it is the program that you expect, only a policy says (`cloister policy init`
writes one); whether it was made for you, only a nonce.

exit codes:
  0    affirming: authentic, and all that the policy demands holds
  2    malformed: in no known format, or broken; or the command line is wrong
  3    warning: authentic, with reservations (TCB status), or without a policy
  4    contraindicated: authentic, but not what the policy demands
  5    not authentic: a signature, chain or binding does not hold, revoked,
       a debug enclave, or another nonce
  6    could not decide: collateral is missing or expired
With --batch: the worst of all, where 5 is worse than 4, then come 2, 1
(Cloister failed at a record), 6, 3 and 0.
"""


def build_parser(parser: argparse.ArgumentParser) -> None:
    """Options of `cloister verify`."""
    parser.epilog = EPILOG
    parser.add_argument("file", nargs="?", metavar="FILE", help="the evidence; - reads standard input")
    parser.add_argument("--policy", metavar="FILE", help="what the evidence must say (TOML; docs/policy-file.md)")
    parser.add_argument("--nonce", metavar="HEX", help="what the attester was asked to include, 1 to 1024 bytes")
    parser.add_argument("--explain", action="store_true", help="show every check, not only those that failed")
    parser.add_argument("--json", action="store_true", help="print one JSON document on standard output")
    add_trust_options(parser)
    add_options(parser)
    _verify_parts.add_options(parser)
    parser.add_argument("--batch", metavar="SOURCE", help="verify a folder, .jsonl or .parquet on all cores")
    parser.add_argument(
        "--processes", metavar="N", type=int, help="with --batch: how many at once (default: all cores)"
    )


def run(args: argparse.Namespace) -> int:
    """Verify, report, and return the exit code."""
    refuse_contradictions(args)
    anchors, keys = anchors_and_keys(args)
    verifier = Verifier(anchors=anchors, endorsements=endorsements_of(args) | keys)
    at = time_of(args.at)
    policy, references = (NO_POLICY, None) if args.policy is None else load_policy(Path(args.policy), at)
    allow = Allowances(unsafe_allow_debug=args.unsafe_allow_debug, unsafe_skip_revocation=args.unsafe_skip_revocation)
    job = Job(
        verifier=verifier, policy=policy, references=references, at=at, allow=allow, accept_anchors=anchors_named(args)
    )
    challenge = NO_NONCE if args.nonce is None else nonce_of(args.nonce)
    if args.batch is not None:
        return _verify_batch.run(job, args.batch, nonce=challenge, processes=args.processes)
    return verify_one(job, challenge, args)


def refuse_contradictions(args: argparse.Namespace) -> None:
    """UsageError for options that cannot be meant together, before anything is verified."""
    if (args.file is None) == (args.batch is None):
        raise UsageError("give one FILE, or --batch with a folder, .jsonl or .parquet file")
    for option in ("file", "batch", "policy", "collateral", "ear", "signing_key"):
        if getattr(args, option) == "":
            raise UsageError(f"{option.replace('_', '-')}: nothing is given for it; an unset variable?")
    if args.batch is not None and (args.explain or args.ear is not None):
        raise UsageError("--batch prints JSON lines, which hold every check; --explain and --ear are for one FILE")
    if args.batch is None and args.processes is not None:
        raise UsageError("--processes is for --batch")
    check_options(args)


def verify_one(job: Job, challenge: Challenge | Unchecked, args: argparse.Namespace) -> int:
    """Verify one file."""
    if args.file != "-" and Path(args.file).is_dir():
        raise UsageError(f"{args.file} is a folder: --batch {args.file} verifies all that is in it")
    signing_key = None if args.ear is None else key_in(Path(args.signing_key))
    data, envelope = read_input(args.file, LARGEST), Envelope()
    try:
        signed = sigstruct_in(data)
        if signed is not None:
            return report_sigstruct(signed, job.allow, args)
        envelope = _verify_parts.opened(args, data)
        verdict = job.verifier.appraise_opened(
            envelope, at=job.at, challenge=challenge, policy=job.policy, references=job.references, allow=job.allow,
            accept_anchors=job.accept_anchors,
        )  # fmt: skip
    except (ParseError, VerificationError, EndorsementUnavailable) as error:
        return report_failure(error, data, envelope, args)
    if args.json:
        print_document(args.file, verdict_document(verdict))
    else:
        print_lines(verdict_lines(shown_name(args.file), verdict, explain=args.explain, width=width_of_terminal()))
    if signing_key is not None:
        write_result(args, signing_key, verdict, data, challenge.nonce if isinstance(challenge, Challenge) else b"")
    return EXIT_CODES[str(verdict.status)]


def report_sigstruct(sigstruct: Sigstruct, allow: Allowances, args: argparse.Namespace) -> int:
    """What an enclave's author signed: authentic or not, but no evidence."""
    if args.json:
        print_document(args.file, sigstruct_document(sigstruct, allow))
    else:
        print_lines(sigstruct_lines(shown_name(args.file), sigstruct, allow, width=width_of_terminal()))
    return SIGNED_BY_AUTHOR


def report_failure(error: CloisterError, data: bytes, envelope: Envelope, args: argparse.Namespace) -> int:
    """Say why there is no verdict."""
    if args.json:
        print_document(args.file, failure_document(error, container=envelope.path))
    else:
        lines = failure_lines(
            shown_name(args.file), error, container=envelope.path, explain=args.explain, hint=hint_for(error, data),
            width=width_of_terminal(),
        )  # fmt: skip
        print_lines(lines)
    if args.ear is not None:
        older = "; what is there is from an earlier run" if Path(args.ear).exists() else ""
        print_lines(["", f"{args.ear}: not written, because there is no verdict{older}"])
    return error.exit_code


def shown_name(file: str) -> str:
    """What the evidence is called in the report."""
    return "standard input" if file == "-" else file


def print_lines(lines: Iterable[str]) -> None:
    """The report, on standard error. Nothing of it may move the cursor."""
    print(*map(clean, lines), sep="\n", file=sys.stderr)


def print_document(file: str, document: dict[str, Any]) -> None:
    """The document, on standard output."""
    print(json.dumps({"file": file_name(file)} | document, indent=2))
