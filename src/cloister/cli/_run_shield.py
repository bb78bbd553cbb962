"""What `cloister run --shield FILE` does: the policy becomes a block, which goes to the runtime through a pipe."""

import argparse
import os
import sys
from pathlib import Path

from cloister.cli._shield_file import read_policy_file
from cloister.cli._terminal import clean_lines
from cloister.errors import PolicyError, UsageError
from cloister.frameworks.danger_shield import unnoticed
from cloister.launch.command import start_block
from cloister.launch.start_pipe import filled_pipe
from cloister.shield.local_keys import LocalKeys
from cloister.shield_policy.policy import Peer, Port
from cloister.shield_policy.resolve import resolve
from cloister.shield_policy.words import Transport

__all__ = ["shield_block", "start_with"]


def shield_block(args: argparse.Namespace) -> bytes:
    """The block of --shield, with keys from this machine; what it cannot protect is said on stderr."""
    for given, option in (
        (args.tee is not None, "--tee"), (args.broker, "--broker"), (args.start_fd is not None, "--start-fd"),
        (args.unsafe_no_guard, "--unsafe-no-guard"),
    ):  # fmt: skip
        if given:
            raise UsageError(f"--shield and {option} exclude each other: {REASONS[option]}")
    policy = read_policy_file(Path(args.shield))
    ends: tuple[Port | Peer, ...] = (*policy.ports, *policy.peers)
    for place in (one.place for one in ends if one.transport is Transport.RA_TLS):
        raise PolicyError(
            f"{place}: ra-tls shows evidence, which only an attester makes: give the policy to a session, and run with "
            '--broker and --session; or write protocol = "tls"'
        )
    block = resolve(policy, LocalKeys()).serialize()
    for line in () if args.quiet else unnoticed(policy):
        print(clean_lines(f"cloister: {line}"), file=sys.stderr)
    return block


REASONS = {
    "--tee": "shields are of the software enclave",
    "--broker": "the session says what is shielded, under its service's `shield`",
    "--start-fd": "both give the runtime its start block; `--start-fd` may have the shield block in it",
    "--unsafe-no-guard": "shields stand on the guard",
}


def start_with(block: bytes, words: list[str]) -> int:
    """A descriptor from which the runtime reads this process's environment, these words and the block."""
    return filled_pipe(start_block(words, os.environ, shield=block))
