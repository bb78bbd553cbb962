"""`cloister secret rekey`: the database's keys come under another key-encryption key."""

import argparse
import json
from pathlib import Path

from cloister.cli._serve_keys import SPELLING
from cloister.cli._terminal import clean
from cloister.errors import UsageError

__all__ = ["add_rekey_options", "rekey"]


def add_rekey_options(parser: argparse.ArgumentParser) -> None:
    """The options that only `rekey` has."""
    parser.add_argument("--state", metavar="DIR", default="", help="rekey: the broker's --state")
    parser.add_argument("--database", metavar="URL", default="", help="rekey: the broker's --database")
    parser.add_argument(
        "--kek", metavar="WHERE", action="append", default=[], help="rekey: the old key (default: file); repeatable"
    )
    parser.add_argument("--new-kek", metavar="WHERE", default="", help=f"rekey: the new key: {SPELLING}")


def rekey(args: argparse.Namespace) -> int:
    """Change it, and say what came of it."""
    try:
        from cloister.serve.keys.changing import change_key  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise UsageError(f"this needs an extra: pip install 'cloister[serve]' ({error.name})") from error
    if args.name is not None or not args.state or not args.new_kek:
        raise UsageError("`cloister secret rekey` takes --state DIR and --new-kek WHERE, and no NAME")
    if args.to or args.anchor or args.expires or args.unsafe_accept_testing:
        raise UsageError("--to, --anchor, --unsafe-accept-testing and --expires are for `cloister secret put`")
    old = tuple(args.kek) or ("file",)
    done = change_key(Path(args.state).expanduser(), args.database, old=old, new=args.new_kek)
    if args.json:
        print(json.dumps({"before": done.before, "after": done.after, "keys": done.keys, "resumed": done.resumed}))
        return 0
    went = "an unfinished change was finished" if done.resumed else "changed"
    print(f"{went}: {done.keys} keys are under {clean(done.after)}, none under {clean(done.before)}")
    print(f"Next: start brokers with --kek {clean(args.new_kek)} alone; then the old key can be destroyed")
    return 0
