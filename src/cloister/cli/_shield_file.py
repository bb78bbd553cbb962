"""A shield policy in a file, as commands read it."""

from pathlib import Path
from typing import Final

from cloister.cli._arguments import read_input
from cloister.errors import UsageError
from cloister.shield_policy.policy import ShieldPolicy
from cloister.shield_policy.reading import read_shield_policy

__all__ = ["read_policy_file"]

LONGEST: Final = 1 << 20


def read_policy_file(path: Path) -> ShieldPolicy:
    """The policy; paths of files on the host may begin at its directory. UsageError, PolicyError with file and line."""
    try:
        text = read_input(str(path), LONGEST).decode()
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: not UTF-8 text, so it is no shield policy") from error
    return read_shield_policy(text, str(path), str(path.absolute().parent))
