"""The `cloister` command: one module per subcommand, imported only when it is asked for.

A subcommand module defines `build_parser(parser)`, which fills an `argparse.ArgumentParser`, and
`run(args) -> int`, which returns the exit code. `run` may raise `CloisterError`; it is printed here.
"""

import argparse
import importlib
import os
import sys

from cloister import __version__
from cloister.errors import CloisterError

__all__ = ["COMMANDS", "command_parser", "main", "module_name"]

COMMANDS: dict[str, str] = {
    "run": "run a program in the software enclave, or in an emulated TEE",
    "attach": "be the person at an enclaved program's console, over an attested, encrypted channel",
    "prove": "controlled experiment: is the program's secret readable by the administrator?",
    "lab": "the exercise, end to end, with an HTML report; seven attacks and defences by hand",
    "dump": "dump what is readable of a running process tree: ELF core and JSON map",
    "scan": "look for a known secret in a process, core or file",
    "trace": "list the system calls of a program and what they reveal",
    "launch": "launch an emulated TEE step by step: owner, hypervisor, security processor",
    "vm": "define and run confidential virtual machines, with QEMU or libvirt",
    "measure": "compute what a program must measure in each TEE, offline",
    "convert": "write a program's configuration for another framework: Gramine, SCONE, EGo, Occlum",
    "manifest": "learn a program's configuration from a run; check one for what is dangerous",
    "sigstruct": "sign SGX enclaves, view and verify what their authors signed",
    "id-block": "sign what an SEV-SNP host may launch, view and verify it",
    "attack": "attack a program as its administrator: in the software enclave, or in an emulated TEE",
    "host": "be the administrator of a running emulated machine",
    "attest": "write evidence: of a program in an emulated TEE, or of the confidential guest this runs in",
    "verify": "verify evidence from any TEE, offline, and explain the verdict",
    "tls": "attested TLS: verify the evidence of a server that you connect to",
    "policy": "write, check and try policies: what evidence must say",
    "collateral": "fetch, import and show what vouches for evidence: certificates, lists, TCB info",
    "result": "show and verify attestation results (EAR tokens)",
    "seal": "seal data to a program on this platform",
    "unseal": "unseal it there, or say why not",
    "shield": "check and show which files, ports and destinations of a program are shielded",
    "volume": "make, read and check volumes: a tree of files in one file of ciphertext",
    "host-key": "make or show this host's attestation key, which vouches for software enclaves",
    "serve": "run the verifier and the key broker: secrets only for programs that attest",
    "secret": "store, list, rotate and revoke the secrets of a broker",
    "log": "verify and read a broker's audit log: who got which secret, and why",
    "flow": "draw how secrets came into an enclave, from the messages that were sent",
    "session": "write, check, compare and sign sessions: which program gets which secrets",
    "doctor": "what this machine offers for confidential computing, and what is missing",
}

INTERRUPTED = 130  # the shell's convention: 128 + SIGINT
PIPE_CLOSED = 141  # 128 + SIGPIPE


def main(argv: list[str] | None = None) -> int:
    """Run one subcommand and return its exit code (docs/exit-codes.md). --help and wrong usage raise SystemExit."""
    words = sys.argv[1:] if argv is None else argv
    if not words:
        _overview().print_help(sys.stderr)
        return 2
    if words[0] not in COMMANDS:
        _overview().parse_args(words)
    try:
        code = _run(words[0], words[1:])
        sys.stdout.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of stdout has gone; Python would complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED
    return code


def module_name(name: str) -> str:
    """Where a subcommand, a key of `COMMANDS`, is: a dash is an underscore there."""
    return f"cloister.cli.{name.replace('-', '_')}"


def command_parser(name: str) -> argparse.ArgumentParser:
    """The complete parser of one subcommand, a key of `COMMANDS`."""
    module = importlib.import_module(module_name(name))
    parser = argparse.ArgumentParser(
        prog=f"cloister {name}",
        description=module.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    module.build_parser(parser)
    return parser


def _run(name: str, words: list[str]) -> int:
    try:
        args = command_parser(name).parse_args(words)
        return int(importlib.import_module(module_name(name)).run(args))
    except CloisterError as error:
        from cloister.cli._terminal import clean_lines  # noqa: PLC0415 - only when something is wrong

        print(f"cloister {name}: {clean_lines(str(error))}", file=sys.stderr)
        return error.exit_code


def _overview() -> argparse.ArgumentParser:
    """The parser behind `cloister --help`: lists the subcommands without importing them."""
    listing = "\n".join(f"  {name:<10} {summary}" for name, summary in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="cloister",
        description="Run a program where even the machine's administrator cannot read its secrets,\n"
        "prove that to others, and see it for yourself.",
        epilog=f"commands:\n{listing}\n\n`cloister COMMAND --help` explains each.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"cloister {__version__}")
    parser.add_argument("command", choices=list(COMMANDS), metavar="COMMAND", help="one of the commands below")
    return parser
