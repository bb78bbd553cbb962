"""What configurations of confidential programs have in common, whatever the framework calls it.

`None`, or an empty mapping, means that a file does not say it: the framework's default holds, and is not made up here.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Final

from cloister._toml import Path

__all__ = [
    "NAMES_ONLY",
    "NO_ITEMS",
    "SINGLE",
    "Backing",
    "Configuration",
    "Identity",
    "Item",
    "Kept",
    "MeasuredFile",
    "Mount",
    "Secret",
    "Variable",
    "refers",
    "shown",
]

Item = tuple[str, str]
"""A field and, in a mapping, its key: `("debug", "")`, `("environment", "PATH")`."""


class Backing(StrEnum):
    """What is behind a directory that a program sees."""

    HOST = "plain files of the host, which it reads and changes"
    MAPPED = "files of the host, of which only listed ones can be opened"
    ENCRYPTED = "encrypted files on the host"
    MEMORY = "memory of the enclave"


@dataclass(frozen=True, slots=True)
class Variable:
    """An environment variable: its `value`, and whether the host's comes first."""

    value: str | None = None
    from_host: bool = False


@dataclass(frozen=True, slots=True)
class MeasuredFile:
    """A file that is part of the measurement. `targets` are where the program sees it, sorted; none: it is not said.

    `options` are the format's own.
    """

    targets: tuple[str, ...] = ()
    sha256: str | None = None
    options: tuple[tuple[str, object], ...] = ()


@dataclass(frozen=True, slots=True)
class Mount:
    """What the program sees under a directory. `options` are the format's own; `key` names the one that encrypts."""

    backing: Backing
    source: str | None = None
    key: str | None = None
    read_only: bool = False
    options: tuple[tuple[str, object], ...] = ()


@dataclass(frozen=True, slots=True)
class Identity:
    """Who may be this program: a measurement, or a signer with its product and the least security version."""

    measurement: str | None = None
    signer: str | None = None
    product: int | None = None
    security_version: int | None = None


@dataclass(frozen=True, slots=True)
class Secret:
    """A secret that a key service makes or holds. Its `value` is never shown."""

    kind: str
    size: int | None = None
    value: str | None = field(default=None, repr=False)
    algorithm: str | None = None


@dataclass(frozen=True, slots=True)
class Kept:
    """What only one format has: kept for that format. `known` if it is documented there."""

    format: str
    path: Path
    value: object = field(repr=False)
    known: bool


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """A program's configuration. Each field says which question it answers; sizes are in bytes."""

    format: str = ""
    name: str | None = None
    """What the configuration is called: a session's name."""
    service: str | None = None
    program: str | None = None
    argument_zero: str | None = None
    """What the program is told that it is called, where that is not its path."""
    arguments: tuple[str, ...] | None = None
    host_arguments: bool | None = None
    """Whether whoever starts the enclave chooses the arguments."""
    working_directory: str | None = None
    environment: Mapping[str, Variable] = field(default_factory=dict)
    host_environment: bool | None = None
    """Whether every variable of the host comes in."""
    measured_files: Mapping[str, MeasuredFile] = field(default_factory=dict)
    """By the host's path."""
    directories: Mapping[str, str] = field(default_factory=dict)
    """Empty directories that are made, by their path inside."""
    links: Mapping[str, str] = field(default_factory=dict)
    """Symbolic links that are made, by their path inside: where they lead."""
    host_files: Mapping[str, str] = field(default_factory=dict)
    """Files that the host may change, and the program opens nevertheless."""
    injected_files: Mapping[str, str | None] = field(default_factory=dict)
    """Files that exist inside only, with their content, or None where the framework fills a template."""
    mounts: Mapping[str, Mount] = field(default_factory=dict)
    """By the path inside."""
    memory: int | None = None
    stack: int | None = None
    threads: int | None = None
    dynamic_memory: bool | None = None
    """Whether pages are added while the enclave runs (EDMM, SGX2)."""
    subprocesses: bool | None = None
    executable_heap: bool | None = None
    debug: bool | None = None
    product_id: int | None = None
    security_version: int | None = None
    family_id: str | None = None
    extended_product_id: str | None = None
    attestation: str | None = None
    simulation: bool | None = None
    cpu_features: Mapping[str, str] = field(default_factory=dict)
    log_level: str | None = None
    identities: Mapping[str, Identity] = field(default_factory=dict)
    """Who may get the secrets; alternatives, numbered."""
    tolerated: Mapping[str, str] = field(default_factory=dict)
    """Platform statuses and advisories (INTEL-SA-...) that are accepted though they are not the best."""
    accept_debug: bool | None = None
    """Whether secrets go to debug enclaves too."""
    salt: str | None = None
    """What makes a session's identity say nothing of its secrets' values."""
    secrets: Mapping[str, Secret] = field(default_factory=dict)
    readers: tuple[str, ...] | None = None
    updaters: tuple[str, ...] | None = None
    kept: tuple[Kept, ...] = ()
    orders: Mapping[Path, tuple[int, ...]] = field(default_factory=dict, compare=False)
    """Which items of its lists were understood, in this order: the others stand behind them when they are written."""
    places: Mapping[Item, str] = field(default_factory=dict, compare=False)
    """File and line of each item."""
    notes: Mapping[Item, str] = field(default_factory=dict, compare=False)
    """Why each item is there, for whoever reads what is written."""

    def items(self) -> Iterator[tuple[Item, object]]:
        """Everything that is said, one by one; not what is kept for one format only."""
        for one in fields(self):
            if one.name in NO_ITEMS:
                continue
            value = getattr(self, one.name)
            if isinstance(value, Mapping):
                yield from (((one.name, key), found) for key, found in value.items())
            elif value is not None:
                yield (one.name, ""), value

    def place(self, item: Item) -> str:
        """Where an item stands, or an empty text."""
        return self.places.get(item) or self.places.get((item[0], ""), "")


NO_ITEMS: Final = frozenset({"format", "kept", "orders", "places", "notes"})
SINGLE: Final = frozenset(one.name for one in fields(Configuration) if one.default is None)
"""Fields that have one value."""
NAMES_ONLY: Final = frozenset({"arguments", "environment", "injected_files", "secrets"})
"""Fields whose values may be secret: reports name them, and never show what they hold."""


REFERENCE: Final = re.compile(r"\$\$(?:SCONE|CLOISTER)::|@@")


def refers(*texts: str | None) -> bool:
    """Whether a text is completed by a key service or by the host: elsewhere it would stand there as it is."""
    return any(text is not None and REFERENCE.search(text) for text in texts)


def shown(item: Item, value: object) -> str:
    """A value for a report; what may be secret, or is long, is not shown."""
    if item[0] in NAMES_ONLY or isinstance(value, Secret):
        return ""
    if isinstance(value, MeasuredFile):
        return " ".join(value.targets)
    if isinstance(value, Mount):
        parts = [value.backing.name.lower(), value.source, value.key, "read-only" if value.read_only else None]
        return " ".join(part for part in [*parts, *(name for name, _ in value.options)] if part)
    if isinstance(value, Identity):
        return value.measurement or value.signer or ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return " ".join(value) if isinstance(value, tuple) else str(value)
