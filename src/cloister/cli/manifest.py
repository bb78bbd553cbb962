"""Learn a program's configuration from a run, or check one for what is dangerous.

Formats are those of `cloister convert`: manifests of Gramine, sessions of SCONE, enclave.json, Occlum.json,
Enclave.config.xml, and Cloister's own.
"""

import argparse

from cloister.cli import _manifest_check, _manifest_learn
from cloister.cli._actions import add_actions

__all__ = ["build_parser", "run"]

EPILOG = """\
examples:
  cloister manifest learn -- ./server --port 8080             runs it, and writes a Gramine manifest of what it used
  cloister manifest learn --to cloister-manifest -o app.toml -- python3 app.py
  cloister manifest learn --timeout 30 -o app.manifest -- ./server   a server ends by itself, by Ctrl-C, or so
  cloister manifest learn --to cloister-shield -o shield.toml -- ./server   for `cloister run --shield`
  cloister manifest learn --to ego -o enclave.json -- ./app   JSON has no comments: they go to standard error
  cloister manifest check app.manifest                        what is dangerous, in which line, why, and what to do
  cloister manifest check --strict --json session.yml scone.env

exit codes:
    0  `check`: nothing dangerous (with --strict: nothing risky either); `learn`: written
    2  the command line or a file is wrong, or is in no known format
   10  `check`: something is dangerous, or with --strict risky
  120  `learn`: this machine lacks what the software enclave needs; 121: the program cannot be enclaved
  127  `learn`: the program, or a file that it used, was not found
"""
ACTIONS = {
    "learn": ("write a minimal configuration from a run in the software enclave, each line explained", _manifest_learn),
    "check": ("say what is dangerous in a configuration, why, and what to do", _manifest_check),
}


def build_parser(parser: argparse.ArgumentParser) -> None:
    """Declare the actions of `cloister manifest` and their options."""
    add_actions(parser, EPILOG, {name: (summary, module.add_options) for name, (summary, module) in ACTIONS.items()})


def run(args: argparse.Namespace) -> int:
    """Do what was asked for and return the exit code."""
    code: int = ACTIONS[args.action][1].run(args)
    return code
