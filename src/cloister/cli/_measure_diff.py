"""`cloister measure diff`: which input makes two measurements differ."""

import argparse
import json
from typing import Final

from cloister.cli._arguments import read_input
from cloister.cli._measure_software import print_changes, printable
from cloister.errors import UsageError
from cloister.launch.strict import read_manifest_file
from cloister.measure.components import Difference, differences, read_measured
from cloister.measure.software import difference

__all__ = ["compare"]

LARGEST: Final = 8 << 20
SHOWN: Final = 40
"""Characters of a value in what is printed for people."""


def compare(args: argparse.Namespace) -> int:
    """`cloister measure diff A B`: 0 if they measure the same, else 1 and the components that do not."""
    if len(args.arguments) != 2:
        raise UsageError("diff takes two measurements: cloister measure diff OLD NEW, both .toml or both --json")
    texts = [read_text(name) for name in args.arguments]
    documents = [text.lstrip().startswith("{") for text in texts]
    if not any(documents):
        changes = difference(*map(read_manifest_file, args.arguments))
        print_changes(changes, args)
        return 1 if changes else 0
    if not all(documents):
        raise UsageError(f"{' and '.join(args.arguments)}: one is a manifest, the other a measurement in JSON")
    found = differences(*(read_measured(text, name) for text, name in zip(texts, args.arguments, strict=True)))
    print_differences(found, args)
    return 1 if found else 0


def read_text(name: str) -> str:
    """A file's text. UsageError."""
    try:
        return read_input(name, LARGEST).decode()
    except UnicodeDecodeError as error:
        raise UsageError(f"{name}: is not UTF-8, so neither a manifest nor a measurement in JSON") from error


def print_differences(found: list[Difference], args: argparse.Namespace) -> None:
    """One line for each, or one JSON document."""
    if args.json:
        print(json.dumps([{"component": one.name, "before": one.before, "after": one.after} for one in found]))
        return
    for one in found:
        print(f"{printable(one.name)}: {shown(one.before)} -> {shown(one.after)}")


def shown(value: str | None) -> str:
    """A value's beginning, for people."""
    if value is None:
        return "not there"
    return printable(value if len(value) <= SHOWN else f"{value[:SHOWN]}...")
