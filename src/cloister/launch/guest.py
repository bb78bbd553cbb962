"""A confidential virtual machine as its owner wants it, before any hypervisor's words for it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

__all__ = ["DEFAULT_MEMORY", "Confidential", "Guest", "Need"]

DEFAULT_MEMORY: Final = 2048


@dataclass(frozen=True, slots=True)
class Guest:
    """What shall boot, and on what. `memory` in MiB; what is None is the machine's own choice, or left out.

    `policy` and `attributes` are the words of SEV and TDX that are part of the evidence. `host_data`, `id_block` and
    `id_auth` are the bytes that SNP takes; `mr_config_id` is TDX's; `personalization` is CCA's.
    """

    firmware: Path
    kernel: Path | None = None
    initrd: Path | None = None
    command_line: str | None = None
    name: str = "cloister"
    memory: int = DEFAULT_MEMORY
    processors: int = 1
    cpu: str | None = None
    disks: tuple[Path, ...] = ()
    encryption_bit: int = 51
    reduced_bits: int = 1
    debug: bool = False
    host_data: bytes = b""
    id_block: bytes = b""
    id_auth: bytes = b""
    author_key: bool = False
    mr_config_id: bytes = b""
    personalization: bytes = b""
    more: tuple[str, ...] = ()
    """Words for QEMU as they are, after all others."""


@dataclass(frozen=True, slots=True)
class Need:
    """Something that must be there: a device or a module's parameter, and what it takes."""

    path: str
    takes: str
    enabled: frozenset[str] = frozenset()
    """What the file must say; empty: that it is there is enough."""


@dataclass(frozen=True, slots=True)
class Confidential:
    """How one TEE is asked for.

    `object` and `properties` are QEMU's; values that are mappings are objects in QEMU's JSON. `measured_by` are the
    words of `cloister measure` that foretell its measurement. `element` is libvirt's launchSecurity: its attributes,
    and its children.
    """

    object: str
    properties: Mapping[str, "str | int | bool | Mapping[str, str]"]
    cpu: str
    since: str
    """The first release of QEMU that knows the object."""
    element: tuple[Mapping[str, str], Mapping[str, str]] | None
    emulator: str = "qemu-system-x86_64"
    machine: str = "q35"
    machine_options: Mapping[str, str] = field(default_factory=dict)
    firmware_in_flash: bool = False
    shared_memory: bool = False
    needs: tuple[Need, ...] = ()
    measured_by: tuple[str, ...] = ()
