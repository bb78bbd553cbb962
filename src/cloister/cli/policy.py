"""Write, check and try policies: what evidence must say before it is believed.

A policy is one readable TOML file (docs/policy-file.md). It names the program by its measurement, and everything else
that matters: who vouches, how up to date the platform is, which settings are right. What it does not name, it refuses.
Rego policies of Trustee and Veraison are understood by `check` and `test` too (pip install 'cloister[rego]').
"""

import argparse

from cloister.cli import _policy_check, _policy_init, _policy_test
from cloister.cli._actions import add_actions

__all__ = ["build_parser", "run"]

EPILOG = """\
examples:
  cloister policy init --from quote.bin --at 2026-01-31 -o app.toml   the strictest policy that this sample passes
  cloister policy init --measurement sgx:mrenclave=00ff... -o app.toml
  cloister policy check app.toml                       does it parse, and is anything in it dangerous or without effect
  cloister policy test app.toml evidence/*.bin         what it makes of recorded evidence
  cloister policy test app.toml bad.bin --expect contraindicated

exit codes:
  0  written; parses (and, with --strict, without a remark); affirming, or as --expect says
  1  `check --strict`: there are remarks. `test --expect`: an outcome is another
  2  the command line, the policy or a file of reference values is wrong; evidence in no known format
  3  `test`: the worst outcome is a warning
  4  `test`: the worst outcome is contraindicated
  5  evidence is not authentic
  6  could not decide: collateral or a CoRIM is missing or outside its validity
"""
ACTIONS = {
    "init": ("write a policy from evidence or measurements, every line explained", _policy_init),
    "check": ("say what is wrong, dangerous or without effect in a policy", _policy_check),
    "test": ("try a policy on recorded evidence", _policy_test),
}


def build_parser(parser: argparse.ArgumentParser) -> None:
    """Declare the three actions of `cloister policy` and their options."""
    add_actions(parser, EPILOG, {name: (summary, module.add_options) for name, (summary, module) in ACTIONS.items()})


def run(args: argparse.Namespace) -> int:
    """Do what was asked for and return the exit code."""
    code: int = ACTIONS[args.action][1].run(args)
    return code
