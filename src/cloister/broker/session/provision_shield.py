"""The shield block of a service: its policy with keys from the session's secrets, and roots that the broker keeps."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

from cloister._x509 import pem_blocks
from cloister.broker.session import key_material
from cloister.broker.session.secret_value import SecretValue
from cloister.broker.session.session import Session
from cloister.errors import PolicyError
from cloister.shield_policy.entries import Entry, FilesEntry
from cloister.shield_policy.fields import WRITER
from cloister.shield_policy.policy import IdentityAt, KeyAt, Root, ShieldPolicy
from cloister.shield_policy.resolve import Identity, resolve

__all__ = ["NO_ROOTS", "KeptRoot", "Roots", "shield_block"]


@dataclass(frozen=True, slots=True)
class KeptRoot:
    """What a start is told of a volume: the newest root, if there is one yet, and the name to report under.

    `writer`: by whom later states must be, if there are any: by the start that reported that root.
    """

    root: Root | None
    name: str
    writer: bytes = bytes(WRITER)


class Roots(Protocol):
    """What the broker keeps of volumes."""

    def newest(self, name: str, key: bytes) -> KeptRoot:
        """Of the volume that the session calls so, under this key."""


class _NoRoots:
    """For whoever keeps none."""

    def newest(self, name: str, key: bytes) -> KeptRoot:
        """Refuse: PolicyError."""
        del key
        raise PolicyError(f"nobody here keeps the root of {name}")


NO_ROOTS: Final = _NoRoots()


def shield_block(
    policy: ShieldPolicy, session: Session, values: Mapping[str, SecretValue], roots: Roots
) -> SecretValue:
    """Its bytes. PolicyError if a value is missing, or is no key."""
    made = resolve(policy, _SessionKeys(session, values))
    return SecretValue(replace(made, entries=tuple(_with_root(one, roots) for one in made.entries)).serialize())


def _with_root(entry: Entry, roots: Roots) -> Entry:
    """A volume whose root is known is never made anew: an emptied file would pass for a new volume."""
    if not isinstance(entry, FilesEntry) or not entry.report_root:
        return entry
    kept = roots.newest(entry.name, entry.key)
    if kept.root is None:
        return replace(entry, name=kept.name)
    root = kept.root
    return replace(
        entry, name=kept.name, create=False, generation=root.generation, digest=root.digest, writer=kept.writer
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _SessionKeys:
    session: Session
    values: Mapping[str, SecretValue] = field(repr=False)

    def key(self, at: KeyAt, place: str) -> bytes:
        return self._value(at.secret, place)

    def identity(self, at: IdentityAt, place: str) -> Identity:
        value = self._value(at.secret, place)
        certificates = b"".join(key_material.certificates_in(value))
        return Identity(tuple(pem_blocks(certificates, "CERTIFICATE")), key_material.private_der(value))

    def certificate(self, path: str, place: str) -> bytes:
        raise PolicyError(f"{place}: {path}: the broker reads no files of the program's machine")

    def root(self, name: str, place: str) -> None:
        """Put in later, when the key is known by which it is reported."""
        del name, place

    def _value(self, name: str, place: str) -> bytes:
        if name not in self.values:
            raise PolicyError(f"{place}: `{name}` has no value yet: it was not made, or not exported to here")
        return self.values[name].reveal()
