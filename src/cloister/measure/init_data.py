"""Init data: what a confidential guest's host hands it at its launch, and the field of its evidence that says which.

A TOML file: `version` (0.1.0), `algorithm`, and `data`, texts by name (Trustee, kbs/docs/initdata.md). The field has
the hash of the file's very bytes, cut off or followed by zeros (Trustee, attestation-service/src/lib.rs and
deps/verifier/src/lib.rs; the document speaks of canonical JSON, which its implementation does not hash).
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from cloister._toml import Document, read_toml
from cloister.errors import PolicyError

__all__ = ["FIELDS", "InitData", "as_field", "init_data_field", "read_init_data"]

VERSION: Final = "0.1.0"
ALGORITHMS: Final = {"sha256": "sha256", "sha384": "sha384", "sha512": "sha512"}
LOOKS_LIKE: Final = re.compile(rb"^algorithm[ \t]*=", re.MULTILINE)
LONGEST: Final = 512 << 10
"""Characters: policies of kata's agent are long. Anybody may send one, and each costs its reading."""
FIELDS: Final[Mapping[str, tuple[str, int]]] = {
    "snp": ("host_data", 32), "tdx": ("mrconfigid", 48), "cca": ("rpv", 64), "sgx": ("configid", 64),
}  # fmt: skip
"""By the protocol's name of the TEE: the claim that has it, and its size in bytes."""


@dataclass(frozen=True, slots=True)
class InitData:
    """The texts by name, and the hash of the file."""

    digest: bytes
    entries: Mapping[str, str] = field(repr=False)


def read_init_data(text: str, name: str) -> InitData:
    """Read one; PolicyError with its line for what is none."""
    document = read_toml(text, name, LONGEST)
    if document.values.keys() - {"version", "algorithm", "data"}:
        raise document.error((), "has other members than version, algorithm and data")
    if _text(document, "version") != VERSION:
        raise document.error(("version",), f"version is not {VERSION}")
    algorithm = ALGORITHMS.get(_text(document, "algorithm").lower().replace("-", ""))
    if algorithm is None:
        raise document.error(("algorithm",), f"algorithm is not one of {', '.join(ALGORITHMS)}")
    entries = document.values.get("data")
    if not isinstance(entries, dict) or not all(isinstance(one, str) for one in entries.values()):
        raise document.error(("data",), "data is no table of texts")
    return InitData(hashlib.new(algorithm, text.encode()).digest(), entries)


def init_data_field(data: bytes, tee: str) -> bytes:
    """What a guest's evidence says of this file. One that is no init data counts by its hash of the field's size.

    PolicyError for init data that is not as it must be.
    """
    size = FIELDS[tee][1]
    if LOOKS_LIKE.search(data) is None:
        return hashlib.new(f"sha{size * 8}", data).digest()
    try:
        return as_field(read_init_data(data.decode(), "the init data").digest, size)
    except UnicodeDecodeError as error:
        raise PolicyError(f"the init data: byte {error.start} is not UTF-8") from error


def as_field(digest: bytes, size: int) -> bytes:
    """A digest as a field of that size has it."""
    return digest[:size].ljust(size, b"\0")


def _text(document: Document, key: str) -> str:
    found = document.values.get(key)
    if not isinstance(found, str):
        raise PolicyError(f"{document.name}: init data needs {key}, as text")
    return found
