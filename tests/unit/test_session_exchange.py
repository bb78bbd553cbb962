"""Secrets between sessions: both must agree, and a pinned version is the only one."""

from typing import Any

import pytest
from tests.forge.sessions import session

from cloister.broker.session.canonical import session_hash
from cloister.broker.session.exchange import granted
from cloister.broker.session.session import Session
from cloister.errors import Denied

AES = {"kind": "aes-key", "generate": {}}


def exporter(name: str = "hospital", **export: Any) -> Session:
    exports = [{"session": "study"} | export]
    return session({"name": name, "version": "1", "secrets": [
        {"name": "key", "export": exports, **AES}, {"name": "private", **AES},
    ]})  # fmt: skip


def importer(name: str = "study", kind: str = "aes-key", **source: Any) -> Session:
    wanted = {"session": "hospital", "secret": "key"} | source
    return session({"name": name, "version": "1", "secrets": [
        {"name": "k", "kind": kind, "import": wanted}, {"name": "own", **AES},
    ]})  # fmt: skip


def test_both_agree() -> None:
    assert granted(importer(), "k", exporter()).name == "key"
    assert granted(importer(session_hash=session_hash(exporter())), "k", exporter()).name == "key"
    assert granted(importer(), "k", exporter(session_hash=session_hash(importer()))).name == "key"


@pytest.mark.parametrize(
    ("wants", "has", "says"),
    [
        (importer("other"), exporter(), "does not export"),
        (importer(secret="private"), exporter(), "does not export"),
        (importer(secret="nowhere"), exporter(), "does not export"),
        (importer(), exporter(session="other"), "does not export"),
        (importer(), exporter(session_hash="00" * 32), "does not export"),
        (importer(session_hash="00" * 32), exporter(), "another version"),
        (importer(session="clinic"), exporter(), "not from hospital"),
        (importer(), exporter("clinic"), "not from clinic"),
        (importer(kind="ascii"), exporter(), "of kind aes-key"),
    ],
)
def test_one_of_them_does_not(wants: Session, has: Session, says: str) -> None:
    with pytest.raises(Denied, match=says) as caught:
        granted(wants, "k", has)
    assert caught.value.set_by


def test_what_is_not_there_and_what_is_not_exported_sound_alike() -> None:
    said = []
    for name in ("private", "nowhere"):
        with pytest.raises(Denied) as caught:
            granted(importer(secret=name), "k", exporter())
        said.append(str(caught.value).replace(name, "?"))
    assert said[0] == said[1]


def test_what_is_no_import() -> None:
    with pytest.raises(ValueError, match="not imported"):
        granted(importer(), "own", exporter())
