"""`cloister policy check`: whether it parses, and what its author should know."""

import argparse
import json
import sys
from pathlib import Path

from cloister.appraise.lint_policy import Finding, lint
from cloister.appraise.policy import EvidencePolicy
from cloister.appraise.rego import RegoPolicy, evaluate_rego
from cloister.appraise.rego_input import input_of
from cloister.cli._arguments import time_of
from cloister.errors import PolicyError
from cloister.model import Tee
from cloister.quantities import counted
from cloister.verifier.policy_files import read_policy, references_of

__all__ = ["add_options", "run"]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of `cloister policy check`."""
    parser.add_argument("file", metavar="FILE", type=Path, help="the policy: TOML, or Rego if it ends in .rego")
    parser.add_argument("--strict", action="store_true", help="exit with 1 if there is anything to remark")
    parser.add_argument("--at", metavar="TIME", help="as of this time (CoRIMs are valid for a time), not now")
    parser.add_argument("--json", action="store_true", help="print one JSON document on standard output")


def run(args: argparse.Namespace) -> int:
    """Check, report, and return the exit code."""
    policy = read_policy(args.file)
    if isinstance(policy, RegoPolicy):
        findings, about = _try_rego(policy), f"Rego for {'Trustee' if policy.for_trustee else 'Veraison'}"
    else:
        references = references_of(policy, args.file, time_of(args.at))
        findings, about = lint(policy, references), summary(policy, len(references))
    if args.json:
        remarks = [{"place": one.place, "text": one.text, "dangerous": one.dangerous} for one in findings]
        print(json.dumps({"file": str(args.file), "policy_id": policy.policy_id, "remarks": remarks}, indent=2))
    for one in findings:
        print(f"{one.place}: {'DANGEROUS: ' if one.dangerous else ''}{one.text}", file=sys.stderr)
    print(f"{args.file}: {about}; {counted(len(findings), 'remark')}", file=sys.stderr)
    return 1 if args.strict and findings else 0


def summary(policy: EvidencePolicy, references: int) -> str:
    """What the policy is about, in one line."""
    sections = [f"{tee} ({counted(len(one.rules), 'rule')})" for tee, one in policy.sections.items()]
    return f"{', '.join(sections) or 'no TEE'}, {counted(references, 'reference value')}"


def _try_rego(policy: RegoPolicy) -> list[Finding]:
    """Compile a Rego policy by evaluating it on nothing: it should then affirm nothing."""
    try:
        result = evaluate_rego(policy, input_of(Tee.SOFTWARE, {}, {}), {})
    except PolicyError as error:
        if "defines no AR4SI claim" in str(error):
            return []
        raise
    return [
        Finding(policy.place(claim), f"affirms {claim} of evidence that says nothing", dangerous=True)
        for claim, value in result.claims.items()
        if 1 < value < 32
    ]
