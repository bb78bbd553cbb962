"""Shields in sessions: read with file and line, in the session's identity, compared, and filled in with its secrets."""

import json
from typing import Any

import pytest
from tests.forge.results import NOW
from tests.forge.sessions import document, session
from tests.services.start_block import read_again

from cloister._x509 import pem_blocks
from cloister.broker.provision_forms import as_block, as_json
from cloister.broker.session.canonical import document as canonical
from cloister.broker.session.canonical import session_hash
from cloister.broker.session.difference import differences
from cloister.broker.session.key_material import make_certificate, private_der
from cloister.broker.session.provision import Provisioned, provision
from cloister.broker.session.provision_shield import KeptRoot
from cloister.broker.session.read_document import session_of_document
from cloister.broker.session.remarks import remarks
from cloister.broker.session.secret_value import SecretValue
from cloister.broker.session.session import Session
from cloister.errors import ParseError, PolicyError
from cloister.shield_policy.block import ShieldBlock
from cloister.shield_policy.entries import ConnectEntry, ConsoleEntry, FilesEntry, ListenEntry
from cloister.shield_policy.policy import Root

KEY, DIGEST = bytes(range(1, 33)), bytes(range(32, 64))
PIN = "sha256:" + "ab" * 32
VOLUME = {"path": "/data", "kind": "encrypted", "volume": "/srv/v", "key": "disk", "root": "broker", "create": True}
LISTEN = {"port": 8443, "protocol": "tls", "certificate": "web", "clients": [PIN]}
CONNECT = {"address": "127.0.0.1", "port": 6379, "protocol": "tls", "pins": [PIN]}
SHIELD = {"files": [VOLUME], "listen": [LISTEN], "connect": [CONNECT], "console": {"key": "raw"}}
SECRETS = [
    {"name": "disk", "kind": "aes-key", "generate": {}},
    {"name": "raw", "kind": "binary", "generate": {"size": 32}},
    {"name": "web", "kind": "x509", "generate": {"common_name": "web"}},
]


def shielded(shield: Any = SHIELD, *, secrets: Any = SECRETS) -> Session:
    made = document()
    made["services"][0]["shield"] = shield
    made["secrets"] += secrets
    return session(made)


class Kept:
    """A broker's roots."""

    def __init__(self, root: Root | None = None) -> None:
        self.root, self.asked = root, [("", b"")]

    def newest(self, name: str, key: bytes) -> KeptRoot:
        self.asked.append((name, key))
        return KeptRoot(self.root, f"team/app:{name}#1.0", b"w" * 16)


PEM = make_certificate("P-256", lambda size: bytes(range(1, size + 1)), common_name="web", dns=(), start=NOW, days=9)
VALUES = {
    name: SecretValue(value) for name, value in {"token": b"t", "disk": KEY, "raw": DIGEST, "web": PEM}.items()
}  # fmt: skip


def filled(made: Session, roots: Kept | None = None) -> tuple[Provisioned, ShieldBlock]:
    found = provision(made, made.services[0], VALUES, roots or Kept())
    assert found.shield is not None
    return found, ShieldBlock.parse(found.shield.reveal())


def test_the_block_has_the_session_s_keys() -> None:
    _, block = filled(shielded())
    volume, listen, connect, console = block.entries
    assert (block.strict, block.network) == (True, True)
    assert isinstance(volume, FilesEntry)
    assert (volume.key, volume.container, volume.create, volume.report_root) == (KEY, "/srv/v", True, True)
    assert isinstance(listen, ListenEntry)
    assert listen.certificates == tuple(pem_blocks(PEM, "CERTIFICATE"))
    assert listen.private_key == private_der(PEM)
    assert listen.needs_client
    assert isinstance(connect, ConnectEntry)
    assert (connect.host, connect.pins) == ("127.0.0.1", (bytes.fromhex("ab" * 32),))
    assert console == ConsoleEntry(key=DIGEST)


def test_the_newest_root_goes_to_the_start_with_the_name_to_report_under() -> None:
    roots = Kept(Root(7, DIGEST))
    volume = filled(shielded(), roots)[1].entries[0]
    assert isinstance(volume, FilesEntry)
    assert (volume.generation, volume.digest, volume.writer, volume.create) == (7, DIGEST, b"w" * 16, False)
    assert (volume.name, volume.report_root) == ("team/app:/data#1.0", True)
    assert roots.asked[1:] == [("/data", KEY)]


def test_a_root_that_the_owner_gives_is_not_asked_for() -> None:
    roots = Kept()
    volume = dict(VOLUME, root=f"3:{DIGEST.hex()}", create=False)
    entry = filled(shielded({"files": [volume]}), roots)[1].entries[0]
    assert isinstance(entry, FilesEntry)
    assert (entry.generation, entry.digest, entry.report_root, entry.name) == (3, DIGEST, False, "/data")
    assert len(roots.asked) == 1


def test_who_keeps_no_roots_gives_nothing_away() -> None:
    made = shielded()
    with pytest.raises(PolicyError, match="nobody here keeps the root of /data"):
        provision(made, made.services[0], VALUES)


def test_both_forms_carry_the_block() -> None:
    found, block = filled(shielded())
    assert found.shield is not None
    assert read_again(as_block(found))["shield"] == block.serialize()
    assert b'"shield"' in as_json(found)
    plain = provision(session(), session().services[0], VALUES)
    assert "shield" not in read_again(as_block(plain))
    assert b'"shield"' not in as_json(plain)


def test_values_are_not_shown() -> None:
    found, _ = filled(shielded())
    assert repr(KEY)[2:20] not in repr(found)


def test_its_keys_are_secrets_that_the_service_gets() -> None:
    made = shielded()
    assert made.secrets_of(made.services[0]) == ("disk", "pin", "raw", "token", "web")


def test_a_value_that_is_not_there() -> None:
    made = shielded()
    with pytest.raises(PolicyError, match="`disk` has no value yet"):
        provision(made, made.services[0], {name: one for name, one in VALUES.items() if name != "disk"}, Kept())


@pytest.mark.parametrize(
    ("shield", "said"),
    [
        ({"file": []}, "did you mean `files`"),
        ({"files": [dict(VOLUME, key="none")]}, "no secret of this session"),
        ({"files": [dict(VOLUME, key="token")]}, "the secret token is of kind ascii; aes-key or binary"),
        ({"files": [dict(VOLUME, key="web")]}, "of kind x509"),
        ({"files": [dict(VOLUME, key="unshared")]}, ""),
        ({"files": [dict(VOLUME, key="short")]}, "the secret short has 16 bytes; a key here has 32"),
        ({"files": [dict(VOLUME, key="given")]}, "the secret given has 3 bytes"),
        ({"files": [dict(VOLUME, key="$$SCONE::disk$$")]}, "not a name"),
        ({"files": [dict(VOLUME, volume="/srv/$$SCONE::token$$")]}, "the host sees this"),
        ({"files": [dict(VOLUME, volume="srv/v")]}, "absolute path"),
        ({"files": [dict(VOLUME, unsafe_key_file="/k")]}, "the broker reads no files"),
        ({"files": [dict(VOLUME, kind="tmpfs")]}, "write memory"),
        ({"files": [dict(VOLUME, kind="plain")]}, "shield.files.kind: the host reads"),
        ({"files": [dict(VOLUME, read_only=True)]}, "shield.files.create: contradicts read_only"),
        ({"files": [VOLUME, VOLUME]}, "the path /data stands twice"),
        ({"listen": [dict(LISTEN, certificate="disk")]}, "the secret disk is of kind aes-key; x509 is wanted"),
        ({"listen": [dict(LISTEN, clients=["client.pem"])]}, "not sha256"),
        ({"connect": [dict(CONNECT, pins=[])]}, "write 1 to 64"),
        ({"connect": [dict(CONNECT, address="db.example")]}, "not an address in digits"),
        ({"connect": [dict(CONNECT, address="1::2::3")]}, "shield.connect.address"),
        ({"console": {}}, "`key` is missing"),
        ({"strict": False}, "write unsafe_open_files"),
    ],
)
def test_what_is_refused(shield: dict[str, Any], said: str) -> None:
    secrets = [
        *SECRETS, {"name": "short", "kind": "aes-key", "generate": {"algorithm": "AES-128"}},
        {"name": "given", "kind": "binary", "value": "hex:010203"},
    ]  # fmt: skip
    if not said:
        assert shielded(shield, secrets=secrets).services[0].shield
        return
    with pytest.raises(PolicyError, match=said) as caught:
        shielded(shield, secrets=secrets)
    assert str(caught.value).startswith("session.yaml:")


def test_the_line_of_what_is_wrong() -> None:
    with pytest.raises(PolicyError) as caught:
        shielded({"files": [dict(VOLUME, read_only=True)]})
    line = int(str(caught.value).split(":")[1])
    text = document()
    text["services"][0]["shield"] = {"files": [dict(VOLUME, read_only=True)]}
    from tests.forge.sessions import text as written  # noqa: PLC0415

    assert b'"create"' in written(text).splitlines()[line - 1]


# ---- identity


def test_a_session_without_shields_keeps_its_identity() -> None:
    assert session_hash(session()) == "2fdc93e84573708109c514d06c4ddb5cd4a954ea65af26f6f218639fd689fa7c"
    assert all("shield" not in one for one in canonical(session())["services"])  # type: ignore[union-attr,operator]


def test_the_identity_covers_the_shield() -> None:
    identities = {session_hash(shielded()), session_hash(shielded({}))}
    for change in ({"key": "raw"}, {"path": "/other"}, {"volume": "/srv/w"}, {"create": False}, {"cache": "2 MiB"}):
        identities.add(session_hash(shielded({**SHIELD, "files": [VOLUME | change]})))
    identities.add(session_hash(shielded({**SHIELD, "listen": [LISTEN | {"clients": ["sha256:" + "cd" * 32]}]})))
    identities.add(session_hash(shielded({**SHIELD, "unsafe_open_network": True})))
    assert len(identities) == 9


def test_what_has_no_order_in_meaning_has_none_in_the_identity() -> None:
    other = {"path": "/tmp", "kind": "memory"}
    pins = [PIN, "sha256:" + "cd" * 32]
    one = shielded({"files": [VOLUME, other], "listen": [LISTEN | {"clients": pins}]})
    two = shielded({"listen": [LISTEN | {"clients": pins[::-1]}], "files": [other, VOLUME]})
    assert session_hash(one) == session_hash(two)
    assert session_hash(shielded({"strict": True})) == session_hash(shielded({}))


@pytest.mark.parametrize("shield", [
    SHIELD, {}, {"unsafe_open_network": True, "unsafe_open_files": True},
    {"console": {"key": "raw", "terminal": True, "rows": 2}},
    {"files": [VOLUME | {"root": f"7:{DIGEST.hex()}", "create": False, "cache": "3 MiB", "read_only": True}]},
    {"files": [VOLUME | {"name": "x"}]},
    {"files": [{"path": "/u", "kind": "plain", "unsafe_plain": True}, {"path": "/t", "kind": "memory"}]},
    {"listen": [LISTEN | {"clients": [PIN, "sha256:" + "01" * 32]}, {"port": 1, "protocol": "ra-tls"}]},
    {"connect": [{"address": "any", "port": 1, "protocol": "tls", "unsafe_any_server": True, "server_name": "x"},
                 {"address": "::1", "port": 2, "protocol": "plain", "unsafe_plain": True, "name": "dns"}]},
])  # fmt: skip
def test_what_a_broker_shows_reads_as_the_same(shield: Any) -> None:
    made = shielded(shield)
    shown = json.loads(json.dumps(canonical(made)))
    again = session_of_document(shown, "shown", known=made)
    assert again.services[0].shield == made.services[0].shield
    assert not differences(made, again)


@pytest.mark.parametrize("shield", [1, [], {"file": 1}, {"files": 1}, {"files": [1]}, {"files": [{"path": "x"}]}])
def test_what_is_shown_and_is_no_shield(shield: Any) -> None:
    shown = json.loads(json.dumps(canonical(shielded())))
    shown["services"][0]["shield"] = shield
    with pytest.raises(ParseError, match="session in canonical form: shield"):
        session_of_document(shown, "shown")


# ---- updates


def changes(old: Any, new: Any) -> list[tuple[str, bool]]:
    before, after = (session() if one is None else shielded(one) for one in (old, new))
    found = differences(before, after)
    return [(one.text, one.weakens) for one in found if "shield" in one.text]


MEMORY = {"path": "/data", "kind": "memory"}
PLAIN = {"path": "/data", "kind": "plain", "unsafe_plain": True}
OPEN = {"unsafe_open_files": True, "unsafe_open_network": True}


@pytest.mark.parametrize(
    ("old", "new", "weakens"),
    [
        (None, {}, False),
        ({}, None, True),
        ({}, OPEN, True),
        (OPEN, {}, False),
        ({}, {"files": [MEMORY]}, False),
        ({}, {"files": [PLAIN]}, True),
        ({"unsafe_open_files": True}, {"unsafe_open_files": True, "files": [PLAIN]}, False),
        ({"files": [VOLUME]}, {"files": [PLAIN]}, True),
        ({"files": [PLAIN]}, {"files": [VOLUME]}, True),  # another key, and anew
        ({"files": [VOLUME]}, {"files": [VOLUME | {"key": "raw"}]}, True),
        ({"files": [VOLUME]}, {"files": [VOLUME | {"kind": "authenticated"}]}, True),
        ({"files": [VOLUME | {"kind": "authenticated"}]}, {"files": [VOLUME]}, False),
        ({"files": [VOLUME]}, {"files": [{key: VOLUME[key] for key in VOLUME if key != "root"}]}, True),
        ({"files": [VOLUME]}, {"files": [VOLUME | {"create": False}]}, False),
        ({"files": [VOLUME | {"create": False}]}, {"files": [VOLUME]}, True),
        ({"files": [VOLUME]}, {}, False),
        ({"files": [VOLUME]}, {"files": [PLAIN | {"path": "/"}]}, True),
        ({"files": [VOLUME]}, {"files": [VOLUME | {"cache": "2 MiB"}]}, False),
        ({}, {"listen": [LISTEN]}, True),
        ({"listen": [LISTEN]}, {}, False),
        ({"listen": [LISTEN]}, {"listen": [LISTEN | {"clients": [PIN, "sha256:" + "cd" * 32]}]}, True),
        ({"listen": [LISTEN | {"clients": [PIN, "sha256:" + "cd" * 32]}]}, {"listen": [LISTEN]}, False),
        ({"listen": [LISTEN]}, {"listen": [{"port": 8443, "protocol": "plain", "unsafe_plain": True}]}, True),
        ({"connect": [CONNECT]}, {"connect": [CONNECT | {"pins": ["sha256:" + "cd" * 32]}]}, True),
        ({"connect": [CONNECT]}, {"connect": [CONNECT | {"server_name": "db"}]}, False),
        ({}, {"console": {"key": "raw"}}, False),
        ({"console": {"key": "raw"}}, {}, True),
        ({"console": {"key": "raw"}}, {"console": {"key": "disk"}}, True),
    ],
)
def test_what_weakens(old: Any, new: Any, weakens: bool) -> None:  # noqa: FBT001 - a table
    found = changes(old, new)
    assert found
    assert any(weaker for _, weaker in found) is weakens, found


def test_a_change_in_the_words_of_a_person() -> None:
    was = "encrypted, key disk, /srv/v, root at the broker, created"
    assert changes({"files": [VOLUME]}, {"files": [PLAIN]}) == [(
        f"the shield of `web`: region /data changed from {was} to plain", True
    )]  # fmt: skip
    assert not changes(SHIELD, SHIELD)


def test_what_is_dangerous_is_remarked() -> None:
    found = [(one.text, one.dangerous) for one in remarks(shielded({"files": [PLAIN]})) if "shield" in one.text]
    assert found == [("shield.files: everything that is written below /data is the host's to read", True)]
    assert not [one for one in remarks(shielded()) if one.dangerous]
