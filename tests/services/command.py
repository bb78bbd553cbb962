"""Runs `cloister collateral` inside the test's process, as the command line would."""

from dataclasses import dataclass

import pytest

from cloister import cli

__all__ = ["Ran", "collateral"]


@dataclass(frozen=True, kw_only=True)
class Ran:
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str


def collateral(capsys: pytest.CaptureFixture[str], *words: object) -> Ran:
    """Run it with these words."""
    capsys.readouterr()
    try:
        code = cli._run("collateral", [str(one) for one in words])
    except SystemExit as refused:
        code = int(refused.code or 0)
    printed = capsys.readouterr()
    return Ran(code=code, out=printed.out, err=printed.err)
