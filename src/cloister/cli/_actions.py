"""Commands that have actions: `cloister policy init`, `cloister id-block create`."""

import argparse
from collections.abc import Callable, Mapping

__all__ = ["Options", "add_actions"]

Options = Callable[[argparse.ArgumentParser], None]
"""Declares the options of one action."""


def add_actions(parser: argparse.ArgumentParser, epilog: str, actions: Mapping[str, tuple[str, Options]]) -> None:
    """A parser for each action: its name, what it does, and its options. All show the command's epilog."""
    parser.epilog = epilog
    made = parser.add_subparsers(
        dest="action", required=True, metavar="ACTION", help=f"{', '.join(actions)}; each has its own --help"
    )
    for name, (summary, add_options) in actions.items():
        action = made.add_parser(
            name, help=summary, description=f"{summary[:1].upper()}{summary[1:]}.", epilog=epilog, allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )  # fmt: skip
        add_options(action)
