"""All formats by name, and which one a file is in."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from cloister.errors import PolicyError, UsageError
from cloister.frameworks import (
    cloister_files,
    cloister_shield,
    ego,
    gramine,
    occlum,
    occlum_bom,
    scone,
    scone_environment,
    sgx_sdk,
)
from cloister.frameworks.model import Configuration
from cloister.frameworks.source import LONGEST
from cloister.frameworks.table import Key

__all__ = ["FORMATS", "Format", "detect", "format_called", "read_configuration"]


class ReadsService(Protocol):
    """A reader of a file that may have several services."""

    def __call__(self, text: str, name: str, service: str | None = None) -> Configuration:
        """The configuration of one of them."""


@dataclass(frozen=True, kw_only=True)
class Format:
    """One format. `cannot` says of fields why it has no such thing; `otherwise` of all others."""

    name: str
    title: str
    table: tuple[Key, ...]
    write: Callable[[Configuration], str]
    read: Callable[[str, str], Configuration] | None = None
    read_service: ReadsService | None = None
    cannot: Mapping[str, str] = field(default_factory=dict)
    otherwise: str = ""
    needs: Mapping[str, str] = field(default_factory=dict)
    """What a file of this format is of no use without, and where to get it."""
    comments: bool = False


PROGRAM: Final = {"program": "which program is run"}
WHO: Final = {
    "identities": "who may be the service: its MRENCLAVE, or its signer; `cloister measure` computes the first",
}
FORMATS: Final[Mapping[str, Format]] = {
    one.name: one
    for one in (
        Format(
            name=gramine.NAME, title="Gramine's manifest", table=gramine.TABLE, read=gramine.read,
            write=gramine.write, cannot=gramine.CANNOT, comments=True, needs=PROGRAM,
        ),
        Format(
            name=scone.NAME, title="SCONE's session", table=scone.TABLE, read_service=scone.read,
            write=scone.write, cannot=scone.CANNOT, comments=True, needs=WHO,
        ),
        Format(
            name=scone_environment.NAME, title="SCONE's environment file", table=scone_environment.TABLE,
            read=scone_environment.read, write=scone_environment.write, cannot=scone_environment.CANNOT,
            otherwise=scone_environment.ELSE,
        ),
        Format(
            name=ego.NAME, title="EGo's enclave.json", table=ego.TABLE, read=ego.read, write=ego.write,
            cannot=ego.CANNOT, needs=PROGRAM,
        ),
        Format(
            name=occlum.NAME, title="Occlum.json", table=occlum.TABLE, read=occlum.read, write=occlum.write,
            cannot=occlum.CANNOT,
        ),
        Format(
            name=occlum_bom.NAME, title="Occlum's bom.yaml", table=occlum_bom.TABLE, read=occlum_bom.read,
            write=occlum_bom.write, cannot=occlum_bom.CANNOT, otherwise=occlum_bom.ELSE, comments=True,
        ),
        Format(
            name=sgx_sdk.NAME, title="the SGX SDK's Enclave.config.xml", table=sgx_sdk.TABLE, read=sgx_sdk.read,
            write=sgx_sdk.write, cannot=sgx_sdk.CANNOT, otherwise=sgx_sdk.ELSE,
        ),
        Format(
            name=cloister_files.SESSION, title="Cloister's session", table=cloister_files.SESSION_TABLE,
            read_service=cloister_files.read_session, write=cloister_files.write_session,
            cannot=cloister_files.SESSION_CANNOT, comments=True, needs=WHO,
        ),
        Format(
            name=cloister_files.MANIFEST, title="Cloister's manifest", table=cloister_files.MANIFEST_TABLE,
            read=cloister_files.read_manifest, write=cloister_files.write_manifest,
            cannot=cloister_files.MANIFEST_CANNOT, otherwise=cloister_files.MANIFEST_ELSE, comments=True,
            needs={**PROGRAM, "measured_files": "the SHA-256 of the program and of what it loads: cloister measure"},
        ),
        Format(
            name=cloister_shield.NAME, title="Cloister's shield policy", table=cloister_shield.TABLE,
            read=cloister_shield.read, write=cloister_shield.write, cannot=cloister_shield.CANNOT,
            otherwise=cloister_shield.ELSE, comments=True,
        ),
    )
}  # fmt: skip

MARKS: Final = (
    (gramine.NAME, r"^[ \t]*\[?\[?(libos|loader|sgx|fs)[ \t]*[.\]]"),
    (cloister_files.MANIFEST, r"^(sha256[ \t]*=[ \t]*\"[0-9a-f]{64}\"|\[files\])[ \t]*$"),
    (cloister_shield.NAME, r"^[ \t]*\[?\[shield\b|^[ \t]*shield\.files\b"),
    (ego.NAME, r"^[ \t]*\"(exe|heapSize|securityVersion)\"[ \t]*:|^\{.*\"(exe|heapSize)\"[ \t]*:"),
    (occlum.NAME, r"\"(resource_limits|entry_points)\"[ \t]*:|^(resource_limits|entry_points)[ \t]*:"),
    (occlum_bom.NAME, r"^targets[ \t]*:|^[ \t]*(-[ \t]*)?(mkdirs|createlinks)[ \t]*:"),
    (sgx_sdk.NAME, r"<EnclaveConfiguration\b"),
    (scone_environment.NAME, r"^(export[ \t]+)?SCONE_[A-Z_]+="),
    (cloister_files.SESSION, r"^version:[ \t]*[\"']1[\"'][ \t]*(#.*)?$|^[ \t]*(-[ \t]*)?tee:"),
    (
        scone.NAME,
        r"^version:[ \t]*[\"']?0\.[0-9]|^[ \t]*(-[ \t]*)?(\{[ \t]*)?(mrenclaves?|mrsigner|fspf_path|image_name)[ \t]*:",
    ),
)
"""By what each is recognised, line by line: keys that no other has."""


def detect(text: str, name: str) -> str:
    """The format of a file; PolicyError if it has marks of none, or of several."""
    found = [one for one, mark in MARKS if re.search(mark, text[:LONGEST], re.MULTILINE)]
    if len(found) == 1:
        return found[0]
    why = f"could be {' or '.join(found)}" if found else "is in no format that is recognised"
    raise PolicyError(f"{name}: {why}; say which it is with --from {'|'.join(found or FORMATS)}")


def format_called(name: str) -> Format:
    """A format by its name; UsageError if there is none."""
    try:
        return FORMATS[name]
    except KeyError:
        raise UsageError(f"there is no format {name!r}; there are {', '.join(FORMATS)}") from None


def read_configuration(text: str, name: str, form: str | None = None, service: str | None = None) -> Configuration:
    """Read a file called `name`, in the format `form` or the one that it is in."""
    chosen = format_called(form or detect(text, name))
    if chosen.read_service is not None:
        return chosen.read_service(text, name, service)
    if service is not None:
        raise UsageError(f"{name}: {chosen.title} is of one program; --service is for sessions")
    if chosen.read is None:  # pragma: no cover - every format has one of the two
        raise UsageError(f"{chosen.title} is not read")
    return chosen.read(text, name)
