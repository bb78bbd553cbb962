"""Reading policies from disk, in TOML or Rego, with the reference values in the files that they name."""

from datetime import datetime
from pathlib import Path

from cloister.appraise.parse_policy import parse_policy
from cloister.appraise.policy import EvidencePolicy
from cloister.appraise.reference import ReferenceValues
from cloister.appraise.reference_files import read_reference_file, signer_keys
from cloister.appraise.rego import RegoPolicy, parse_rego
from cloister.errors import PolicyError

__all__ = ["Policy", "load_policy", "read_policy", "references_of"]

LONGEST = 16 << 20

Policy = EvidencePolicy | RegoPolicy
"""An appraisal policy for evidence, in either language."""


def load_policy(path: Path, at: datetime) -> tuple[Policy, ReferenceValues]:
    """A policy and the reference values that it names; PolicyError names the file, and the line where there is one.

    Signed reference values (CoRIM) must be valid at that time.
    """
    policy = read_policy(path)
    return policy, references_of(policy, path, at) if isinstance(policy, EvidencePolicy) else ReferenceValues()


def read_policy(path: Path) -> Policy:
    """The policy in a file: Rego if its name ends in `.rego`, else TOML."""
    data = content(path, str(path))
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise PolicyError(f"{path}:{line}: is not UTF-8 text; save it as such") from error
    return parse_rego(text, name=str(path)) if path.suffix == ".rego" else parse_policy(text, name=str(path))


def references_of(policy: EvidencePolicy, path: Path, at: datetime) -> ReferenceValues:
    """The reference values in the files that a policy names, which are valid at that time."""
    wanted = policy.references
    keys = tuple(
        key
        for file, place in wanted.signers
        for key in signer_keys(content(path.parent / file, place), name=str(path.parent / file))
    )
    found = ReferenceValues()
    for file, place in wanted.files:
        data = content(path.parent / file, place)
        found |= read_reference_file(
            data, name=str(path.parent / file), keys=keys, at=at, unsafe_unsigned=bool(wanted.unsafe_unsigned)
        )
    return found


def content(path: Path, place: str) -> bytes:
    """The bytes of a file; `place` is what names it."""
    where = "" if place == str(path) else f"{place}: "
    try:
        with path.open("rb") as file:
            data = file.read(LONGEST + 1)
    except OSError as error:
        raise PolicyError(f"{where}cannot read {path}: {error.strerror}") from error
    if len(data) > LONGEST:
        raise PolicyError(f"{where}{path} is longer than {LONGEST:,} bytes")
    return data
