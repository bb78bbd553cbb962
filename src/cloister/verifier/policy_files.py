"""Reading a policy from disk: its text, and the reference values in the files that it names."""

from pathlib import Path
from typing import Final

from cloister.appraise.parse_policy import parse_policy
from cloister.appraise.policy import EvidencePolicy
from cloister.appraise.reference import ReferenceValues, read_reference_values
from cloister.errors import PolicyError

__all__ = ["load_policy"]

LONGEST: Final = 16 << 20


def load_policy(path: Path) -> tuple[EvidencePolicy, ReferenceValues]:
    """A policy file and everything that it refers to; PolicyError names the file, and the line where there is one."""
    text = _read(path, "")
    try:
        policy = parse_policy(text.decode("utf-8"), name=str(path))
    except UnicodeDecodeError as error:
        raise PolicyError(f"{path}: is not UTF-8 text: {error}") from error
    references = ReferenceValues()
    for name, place in policy.references.files:
        references |= read_reference_values(_read(path.parent / name, place), name=name)
    return policy, references


def _read(path: Path, place: str) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(LONGEST + 1)
    except OSError as error:
        raise PolicyError(f"{place or path}: cannot read {path}: {error.strerror}") from error
    if len(data) > LONGEST:
        raise PolicyError(f"{place or path}: {path} is longer than {LONGEST:,} bytes")
    return data
