"""`--kek`: where the key-encryption key of a broker is."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cloister.broker.secrets_key import KeyEncryption
    from cloister.serve.keys.opening import KeksAt

__all__ = ["SPELLING", "add_kek_option", "keks_of"]

SPELLING = "file[=PATH], tpm[=TCTI] or kms=URL,ca=FILE,token=FILE"


def add_kek_option(parser: argparse.ArgumentParser) -> None:
    """The option, which may be repeated."""
    parser.add_argument(
        "--kek", metavar="WHERE", action="append", default=[],
        help=f"key-encryption key: {SPELLING} (default: file, STATE/kek); repeatable: others that the database may be"
        " under while it is being changed",
    )  # fmt: skip


def keks_of(args: argparse.Namespace) -> "KeksAt":
    """What the option names, once it is known where the state is."""
    from cloister.serve.keys.choice import kek_of  # noqa: PLC0415 - an extra
    from cloister.serve.keys.opening import key_file  # noqa: PLC0415

    def found(state: Path) -> "Sequence[KeyEncryption]":
        return [kek_of(one, state, make=number == 0) for number, one in enumerate(args.kek)]

    return found if args.kek else key_file
