"""Be the person at the console of an enclaved program: type and read over an attested, encrypted channel.

The other end is `cloister run --console ADDRESS PROGRAM`, on a host that need not be trusted with what is typed and
printed. This side, which runs where you sit, demands evidence of what runs there, verifies it, and seals a fresh key
for the console to that very enclave. Then whatever the program and its children read and print passes as encrypted
records; what was changed, replayed, reordered or cut off on the way ends the session with a message.

With a terminal as standard input the program has one too: line editing, echo and keys like ^C are done by your
terminal, in the modes that the program sets. Otherwise its standard input is yours, and its outputs are yours, as in
`cloister attach ADDRESS < file | consumer`.
"""

import argparse
import os
import re
import sys
from pathlib import Path

from cloister.app.console.calling import Judge, Wish, attach
from cloister.app.console.judging import judge_by, unsafe_judge
from cloister.app.console.local_terminal import LocalTerminal
from cloister.app.console.session import Session
from cloister.appraise.parse_policy import parse_policy
from cloister.appraise.reference import ReferenceValues
from cloister.appraise.write_policy import policy_for_measurements
from cloister.broker.sender import Sender
from cloister.cli._arguments import time_of
from cloister.cli._shield_file import read_policy_file
from cloister.cli._terminal import clean
from cloister.cli._verify_inputs import add_trust_options, anchors_and_keys, anchors_named, endorsements_of
from cloister.errors import UsageError
from cloister.model import Tee
from cloister.shield.local_keys import LocalKeys
from cloister.shield_policy.block import ShieldBlock
from cloister.shield_policy.resolve import resolve
from cloister.verification.recipe import Allowances
from cloister.verifier import Verifier
from cloister.verifier.many import Job
from cloister.verifier.policy_files import load_policy

__all__ = ["build_parser", "run"]

KEPT = ("LANG", "TERM", "TZ")
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
DIGEST = re.compile("[0-9a-fA-F]{64}")
EPILOG = """\
examples:
  cloister attach ./app.console --measurement 8f34f158... --trust-host-key host.pem
  cloister attach 127.0.0.1:7000 --policy app.toml --trust-host-key host.pem -- app --verbose
  cloister attach ./app.console --policy app.toml --trust-host-key host.pem < names.txt | sort
  cloister attach ./app.console --policy app.toml --trust-host-key host.pem --shield volumes.toml
  cloister attach --make-key me.key                     once; the program's manifest names me.key.pub
  cloister attach ./app.console --policy app.toml --trust-host-key host.pem --key me.key

The measurement is what `cloister measure PROGRAM` prints, the host's key what `cloister host-key` writes there. What
follows -- is the program's whole command line, its own name first; without it the host says what the arguments are.
Of variables the program gets PATH, your LANG, LC_*, TERM and TZ, and what --env says: none of the host's.

exit codes:
  the program's own (128 and the number of the signal that ended it), as its guard confirmed it; or
  2  the command line cannot work, or nobody waits at ADDRESS
  4  denied: what runs there is authentic, but not what you asked for
  5  not authentic: the evidence is not, or what came was changed, replayed, reordered or cut off on the way
  6  undecided: the host does not answer, or something that vouches is missing
"""


def build_parser(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `cloister attach`."""
    parser.epilog = EPILOG
    parser.usage = "cloister attach [options] ADDRESS [-- COMMAND...]"
    parser.add_argument("address", metavar="ADDRESS", nargs="?", help="where `cloister run --console` waits")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--policy", metavar="FILE", help="what the evidence must say (TOML; docs/policy-file.md)")
    what.add_argument("--measurement", metavar="HEX", help="the program, as `cloister measure` prints it")
    what.add_argument(
        "--unsafe-accept-anything", action="store_true",
        help="do not verify anything: whoever runs the host may read along",
    )  # fmt: skip
    parser.add_argument(
        "--env", metavar="NAME=VALUE", action="append", default=[], help="a variable for the program; repeatable"
    )
    parser.add_argument(
        "--key", metavar="FILE", help="your key, for a program whose manifest names it (default: a fresh one)"
    )
    parser.add_argument(
        "--make-key", metavar="FILE", help="make a key, and FILE.pub for `cloister measure --broker-key`; no ADDRESS"
    )
    parser.add_argument(
        "--shield", metavar="FILE",
        help="what else is shielded, with keys from your side: a policy for files and network (docs/formats/shield.md)",
    )  # fmt: skip
    add_trust_options(parser)
    parser.add_argument(
        "command", nargs="*", metavar="COMMAND", help="the program's command line, its name first (default: the host's)"
    )


def run(args: argparse.Namespace) -> int:
    """Verify, seal, attach; returns the program's exit status."""
    if args.make_key is not None:
        return make_key(args)
    if args.address is None:
        raise UsageError("where does the program wait? give the ADDRESS that `cloister run --console` printed")
    judge, environment = judge_of(args), yours() | dict(map(variable, args.env))
    terminal = LocalTerminal(0) if os.isatty(0) else None
    rows, columns = (0, 0) if terminal is None else terminal.size
    if args.unsafe_accept_anything:
        say("WARNING: nothing is verified; what you type and read may be anybody's")
    wish = Wish(
        terminal=terminal is not None, rows=rows, columns=columns, command=args.command, environment=environment,
        shield=shield_of(args),
    )  # fmt: skip
    sender = Sender.fresh() if args.key is None else Sender.of_file(Path(args.key))
    return Session(attach(args.address, wish, judge, sender), terminal, say).run()


def make_key(args: argparse.Namespace) -> int:
    """A key file, and nothing else."""
    if args.address is not None:
        raise UsageError("--make-key FILE makes a key and attaches to nothing; leave out the ADDRESS")
    public = Sender.make_file(Path(args.make_key))
    say(f"{args.make_key} is your key; with `cloister measure --broker-key {public}` a program takes nobody else's")
    return 0


def shield_of(args: argparse.Namespace) -> ShieldBlock:
    """What is shielded besides the console. UsageError, PolicyError."""
    if args.shield is None:
        return ShieldBlock(strict=False, network=False)
    policy = read_policy_file(Path(args.shield))
    block = resolve(policy, LocalKeys())
    if block.console is not None:
        raise UsageError(f"{args.shield}: the console is shielded by attaching; leave out [shield.console]")
    return block


def say(text: str) -> None:
    """Tell the person, on standard error; a terminal may be in any mode."""
    print(f"cloister attach: {clean(text)}", file=sys.stderr, end="\r\n" if os.isatty(2) else "\n", flush=True)


def judge_of(args: argparse.Namespace) -> Judge:
    """What decides whether this is the program. UsageError, PolicyError."""
    if args.unsafe_accept_anything:
        return unsafe_judge
    if args.policy is None and args.measurement is None:
        raise UsageError(
            "which program do you expect? --measurement HEX (`cloister measure PROGRAM`), or --policy FILE"
        )
    anchors, keys = anchors_and_keys(args)
    at = time_of(args.at)
    if args.policy is not None:
        policy, references = load_policy(Path(args.policy), at)
    else:
        if not DIGEST.fullmatch(args.measurement):
            raise UsageError("--measurement takes 64 hexadecimal digits, as `cloister measure PROGRAM` prints them")
        text = policy_for_measurements([(Tee.SOFTWARE, "measurement", args.measurement.lower())])
        policy, references = parse_policy(text, name="--measurement"), ReferenceValues()
    return judge_by(
        Job(
            verifier=Verifier(anchors=anchors, endorsements=endorsements_of(args) | keys), policy=policy,
            references=references, at=at, accept_anchors=anchors_named(args),
            allow=Allowances(
                unsafe_allow_debug=args.unsafe_allow_debug, unsafe_skip_revocation=args.unsafe_skip_revocation
            ),
        )
    )  # fmt: skip


def yours() -> dict[str, str]:
    """What a program gets of this side's environment, as of ssh's; the host's it does not get."""
    kept = {name: value for name, value in os.environ.items() if name in KEPT or name.startswith("LC_")}
    return {"PATH": PATH} | kept


def variable(text: str) -> tuple[str, str]:
    """NAME=VALUE. UsageError."""
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise UsageError(f"--env {text}: give NAME=VALUE")
    return name, value
