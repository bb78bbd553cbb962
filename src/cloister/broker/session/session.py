"""A session as data: services, the attestation that each demands, secrets, and the people who may change all that.

Made by `read.py` only, which checks what belongs together. Texts of services hold references to secrets, never values;
the values that the owner wrote are in `Session.values`, wrapped.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from cloister._yaml import Place
from cloister.broker.session.references import Template
from cloister.broker.session.secret_value import SecretValue
from cloister.model import Tee
from cloister.shield_policy.policy import ShieldPolicy

__all__ = [
    "AccessPolicy",
    "Approvals",
    "Export",
    "Generated",
    "Given",
    "Imported",
    "InjectedFile",
    "KeyHolder",
    "Rule",
    "Secret",
    "Service",
    "Session",
    "Template",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One way to be a service: everything in it must hold. `None` and empty: not demanded, except of `measurements`.

    There is always a measurement or a signer. Digests are lowercase hexadecimal digits, as in claims.
    """

    tee: Tee
    place: Place = field(compare=False)
    places: Mapping[str, Place] = field(compare=False, repr=False)
    """Where each key stands."""
    measurements: frozenset[str] = frozenset()
    signer: str = ""
    product: int | None = None
    minimum_security_version: int | None = None
    tolerate: frozenset[str] = frozenset()
    ignore_advisories: frozenset[str] = frozenset()
    claims: Mapping[str, str | int | bool] = field(default_factory=dict)
    anchors: frozenset[str] = frozenset({"hardware"})
    """Kinds of trust anchors that may vouch; `testing` among them is unsafe."""
    unsafe_allow_debug: bool = False

    def set_by(self, key: str) -> str:
        """Who demanded it: `session.yaml:12`."""
        place = self.places.get(key, self.place)
        return f"{place.file}:{place.line}" + ("" if key in self.places else f" (default of `{key}`)")


@dataclass(frozen=True, slots=True, kw_only=True)
class InjectedFile:
    """A file that exists inside the TEE only. The host can see its path."""

    path: str
    content: Template


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A program that gets secrets, and what it must attest: the `attestation` entries are alternatives."""

    name: str
    place: Place = field(compare=False)
    attestation: tuple[Rule, ...]
    command: tuple[Template, ...] = ()
    """The program, which the host sees, and its arguments, which it does not; empty if the session does not say."""
    environment: Mapping[str, Template] = field(default_factory=dict)
    pwd: str = ""
    files: tuple[InjectedFile, ...] = ()
    asks_for: tuple[str, ...] = ()
    shield: ShieldPolicy | None = None

    @property
    def templates(self) -> tuple[Template, ...]:
        """Every text that may refer to secrets."""
        return (*self.command, *self.environment.values(), *(one.content for one in self.files))


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """The owner wrote the value. `composed_of`: secrets that it refers to."""

    composed_of: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Generated:
    """The broker makes the value. `size` counts characters or bytes; `days`, `common_name` and `dns` are x509's."""

    size: int = 0
    algorithm: str = ""
    days: int = 0
    common_name: str = ""
    dns: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """Another session makes it. `session_hash` pins a version of that session; empty if any will do."""

    session: str
    secret: str
    session_hash: str = ""


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Export:
    """A session that may import the secret; only the version `session_hash`, if that is not empty."""

    session: str
    session_hash: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Secret:
    """A secret: what it is, where it comes from, who else may have it. Never its value."""

    name: str
    kind: str
    origin: Given | Generated | Imported
    place: Place = field(compare=False)
    exports: frozenset[Export] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyHolder:
    """Somebody with a public key: `spki` is DER SubjectPublicKeyInfo, `fingerprint` its SHA-256 in hexadecimal."""

    name: str
    spki: bytes = field(repr=False)
    fingerprint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessPolicy:
    """Who may read the session and propose updates: CREATOR, ANY, NONE, or fingerprints of public keys."""

    read: frozenset[str] = frozenset({"CREATOR"})
    update: frozenset[str] = frozenset({"CREATOR"})

    def allows(self, action: str, *, fingerprint: str, is_creator: bool) -> bool:
        """Whether somebody who proved to hold the key with this fingerprint may `read` or `update`."""
        if action not in {"read", "update"}:
            raise ValueError(f"an action is read or update, not {action}")
        entities = self.read if action == "read" else self.update
        return "ANY" in entities or fingerprint in entities or (is_creator and "CREATOR" in entities)


@dataclass(frozen=True, slots=True, kw_only=True)
class Approvals:
    """How many of which owners must sign an update before it takes effect."""

    threshold: int
    owners: tuple[KeyHolder, ...]


@dataclass(frozen=True, kw_only=True)
class Session:
    """What the owner demands. `predecessor` and `salt` are empty if there is none."""

    name: str
    version: str
    file: str = field(compare=False)
    predecessor: str = ""
    services: tuple[Service, ...] = ()
    secrets: tuple[Secret, ...] = ()
    access: AccessPolicy = AccessPolicy()
    approvals: Approvals | None = None
    verifiers: tuple[KeyHolder, ...] = ()
    """Empty: whoever the broker trusts."""
    values: Mapping[str, SecretValue] = field(default_factory=dict, repr=False)
    """What the owner wrote, by the secret's name; of a composed secret the text with its references."""
    salt: SecretValue | None = field(default=None, repr=False)

    @cached_property
    def by_name(self) -> Mapping[str, Secret]:
        """The secrets by name."""
        return {one.name: one for one in self.secrets}

    def service(self, name: str) -> Service | None:
        """The service of that name; None if there is none."""
        return next((one for one in self.services if one.name == name), None)

    def secrets_of(self, service: Service) -> tuple[str, ...]:
        """The names of all secrets that the service gets: it refers to them, with their parts, asks, or is shielded."""
        wanted = [*(one.name for template in service.templates for one in template.references), *service.asks_for]
        wanted += service.shield.secrets() if service.shield else ()
        found: set[str] = set()
        while wanted:
            name = wanted.pop()
            if name not in found:
                found.add(name)
                origin = self.by_name[name].origin
                wanted += origin.composed_of if isinstance(origin, Given) else ()
        return tuple(sorted(found))

    def recipients_of(self, secret: str) -> tuple[Service, ...]:
        """The services that get a secret."""
        return tuple(one for one in self.services if secret in self.secrets_of(one))

    def exports_of(self, secret: str) -> frozenset[Export]:
        """The sessions that may get a secret: by its exports, and those of secrets put together with it."""
        found = set(self.by_name[secret].exports)
        for one in self.secrets:
            if isinstance(one.origin, Given) and secret in one.origin.composed_of:
                found |= self.exports_of(one.name)
        return frozenset(found)
