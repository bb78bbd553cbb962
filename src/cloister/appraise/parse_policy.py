"""From a TOML file to an EvidencePolicy. Every error names file and line; an unknown key is an error, never ignored.

The file is described key by key in docs/policy-file.md.
"""

import datetime as dt
import hashlib
from collections.abc import Iterable, Mapping
from typing import Final

from cloister._toml import Document, Path, read_toml
from cloister.appraise.parse_rules import ruled
from cloister.appraise.policy import (
    HARDWARE_ONLY,
    NEVER_TOLERABLE,
    TOLERABLE,
    EvidencePolicy,
    ReferenceFiles,
    Section,
    TcbPolicy,
)
from cloister.endorse.anchors import AnchorKind
from cloister.errors import PolicyError
from cloister.model import Tee

__all__ = ["parse_policy"]

TIERS: Final = {"warning": 32, "contraindicated": 96}


def parse_policy(text: str, *, name: str = "policy.toml") -> EvidencePolicy:
    """Read a policy; `name` is what messages and checks call the file. PolicyError if anything in it is wrong."""
    document = read_toml(text, name)
    top = Table(document, ())
    policy = EvidencePolicy(
        name=name,
        policy_id=f"sha256:{hashlib.sha256(text.encode()).hexdigest()}",
        accept_anchors=_anchors(top),
        anchors_place=document.place(("accept_anchors",))
        if "accept_anchors" in document.values
        else f"{name} (default)",
        tcb=_tcb(top.table("tcb")),
        sections={tee: _section(top.table(tee), tee) for tee in Tee if tee in document.values},
        references=_references(top.table("reference_values")),
    )
    top.finish("a policy has accept_anchors, [tcb], [reference_values] and one section for each TEE: " + ", ".join(Tee))
    return policy


class Table:
    """A table of the document, whose keys are taken one by one; `finish` refuses those that nobody took."""

    def __init__(self, document: Document, path: Path) -> None:
        self.document, self.path = document, path
        values: object = document.values
        for key in path:
            values = values.get(key, {}) if isinstance(values, dict) else values
        if not isinstance(values, dict):
            raise document.error(path, f"{path[-1]} is a table: write [{path[-1]}] and its keys below")
        self.values: Mapping[str, object] = values
        self._taken: set[str] = set()

    def table(self, key: str) -> "Table":
        """The table under `key`; an empty one if there is none."""
        self._taken.add(key)
        return Table(self.document, (*self.path, key))

    def take(self, key: str) -> object:
        """The value under `key`, or None."""
        self._taken.add(key)
        return self.values.get(key)

    def place(self, key: str = "") -> str:
        """Where the table or one of its keys stands."""
        return self.document.place((*self.path, key) if key else self.path)

    def error(self, key: str, reason: str) -> PolicyError:
        """A PolicyError about a key, to be raised."""
        return self.document.error((*self.path, key), reason)

    def switch(self, key: str) -> str:
        """The place of a key that is `true`; empty if it is `false` or not there."""
        value = self.take(key)
        if value is not None and not isinstance(value, bool):
            raise self.error(key, f"{key} is true or false")
        return self.place(key) if value else ""

    def texts(self, key: str) -> tuple[tuple[str, str], ...]:
        """The strings of a list, each with its place."""
        value = self.take(key)
        if value is None:
            return ()
        if not isinstance(value, list) or not all(isinstance(one, str) and one for one in value):
            raise self.error(key, f'{key} is a list of strings: {key} = ["..."]')
        return tuple((one, self.document.place((*self.path, key, index))) for index, one in enumerate(value))

    def named(self, key: str, allowed: Iterable[str], hint: str = "") -> dict[str, str]:
        """The strings of a list, all of them among `allowed`."""
        found = dict(self.texts(key))
        unknown = sorted(found.keys() - set(allowed))
        if unknown:
            raise self.error(key, f"{key} does not take {unknown[0]!r}{hint}; it takes {', '.join(sorted(allowed))}")
        return found

    def left(self) -> list[str]:
        """The keys that nobody took."""
        return [key for key in self.values if key not in self._taken]

    def finish(self, hint: str) -> None:
        """Refuse keys that nobody took."""
        for key in self.left():
            raise self.error(key, f"unknown key {key!r}; {hint}")


def _anchors(top: Table) -> frozenset[AnchorKind]:
    if "accept_anchors" not in top.values:
        return HARDWARE_ONLY
    return frozenset(AnchorKind(one) for one in top.named("accept_anchors", AnchorKind))


def _tcb(table: Table) -> TcbPolicy:
    hint = "" if "tolerated" not in table.values else _never(table)
    policy = TcbPolicy(
        place=table.place() if table.values else f"{table.document.name} (default)",
        tolerated=table.named("tolerated", TOLERABLE, hint),
        unsafe_tolerated=table.named("unsafe_tolerated", NEVER_TOLERABLE),
        tolerated_advisories=dict(table.texts("tolerated_advisories")),
        unsafe_any_advisory=table.switch("unsafe_any_advisory"),
        oldest=_moment(table, "oldest"),
        oldest_place=table.place("oldest"),
        on_failure=TIERS[_word(table, "on_failure", TIERS, "warning")],
    )
    table.finish(
        "[tcb] has tolerated, tolerated_advisories, unsafe_tolerated, unsafe_any_advisory, oldest and on_failure"
    )
    return policy


def _never(table: Table) -> str:
    value = table.values["tolerated"]
    if isinstance(value, list) and any(one in NEVER_TOLERABLE for one in value if isinstance(one, str)):
        return " (its vendor does not vouch for such a platform; if you must, name it in unsafe_tolerated)"
    return ""


def _moment(table: Table, key: str) -> dt.datetime | None:
    value = table.take(key)
    if value is None:
        return None
    if isinstance(value, dt.datetime):
        return value if value.tzinfo else value.replace(tzinfo=dt.UTC)
    if isinstance(value, dt.date):
        return dt.datetime(value.year, value.month, value.day, tzinfo=dt.UTC)
    raise table.error(key, f"{key} is a date without quotes: {key} = 2025-01-31")


def _word(table: Table, key: str, allowed: Mapping[str, int], default: str) -> str:
    value = table.take(key)
    if value is None:
        return default
    if not isinstance(value, str) or value not in allowed:
        raise table.error(key, f"{key} is one of {', '.join(allowed)}")
    return value


def _references(table: Table) -> ReferenceFiles:
    found = ReferenceFiles(
        files=table.texts("files"), signers=table.texts("signers"), unsafe_unsigned=table.switch("unsafe_unsigned")
    )
    table.finish("[reference_values] has files, signers and unsafe_unsigned")
    return found


def _section(table: Table, tee: Tee) -> Section:
    switches = {key: table.switch(key) for key in ("unsafe_any_measurement", "unsafe_allow_debug")}
    unknown = [key for key in table.left() if key.startswith("unsafe_")]
    if unknown:
        raise table.error(unknown[0], f"unknown key {unknown[0]!r}; [{tee}] has {' and '.join(switches)}")
    rules = [rule for key in table.left() for rule in ruled(table.document, tee, (*table.path, key), table.values[key])]
    return Section(tee=tee, place=table.place(), rules=tuple(rules), **switches)
