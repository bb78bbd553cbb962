"""Shield policies in TOML: what each key becomes, and what is refused, with file and line."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa

from cloister._x509 import Certificate, pem_blocks
from cloister.broker.session.key_material import make_certificate
from cloister.errors import PolicyError, UsageError
from cloister.frameworks.danger_shield import findings_of_shield, unnoticed
from cloister.shield.local_keys import LocalKeys
from cloister.shield.volume.keys import VolumeKey
from cloister.shield_policy.block import MOST, ShieldBlock
from cloister.shield_policy.entries import ConnectEntry, ConsoleEntry, FilesEntry, ListenEntry
from cloister.shield_policy.policy import IdentityAt, KeyAt, Root, ShieldPolicy
from cloister.shield_policy.reading import read_shield_policy
from cloister.shield_policy.resolve import Identity, resolve
from cloister.shield_policy.words import FileKind, Transport

KEY, DIGEST = bytes(range(1, 33)), bytes(range(32, 64))
ROOT = f"12:{DIGEST.hex()}"
VOLUME = '[[shield.files]]\npath = "/data"\nkind = "encrypted"\nvolume = "/srv/v"\nkey = "data-key"\n'
KEPT = VOLUME + 'root = "broker"\n'
LISTEN = '[[shield.listen]]\nport = 8443\nprotocol = "tls"\ncertificate = "web"\n'
CONNECT = f'[[shield.connect]]\naddress = "127.0.0.1"\nport = 6379\nprotocol = "tls"\npins = ["sha256:{KEY.hex()}"]\n'
PLAIN = '[[shield.files]]\npath = "/t"\nkind = "plain"\nunsafe_plain = true\n'
CONSOLE = '[shield.console]\nkey = "data-key"\n'


class Secrets:
    """Keys of a session that has everything; roots as given."""

    def __init__(self, root: Root | None = None) -> None:
        self._root = root

    def key(self, at: KeyAt, place: str) -> bytes:
        assert place.startswith("shield.toml:")
        return {"data-key": KEY, "short": b"short", "zero": bytes(32)}[at.secret]

    def identity(self, at: IdentityAt, place: str) -> Identity:
        assert (at.secret, place.partition(":")[0]) == ("web", "shield.toml")
        return Identity((b"own", b"above"), b"private")

    def certificate(self, path: str, place: str) -> bytes:
        raise AssertionError((path, place))

    def root(self, name: str, place: str) -> Root | None:
        assert (name, place.partition(":")[0]) == ("/data", "shield.toml")
        return self._root


def read(text: str) -> ShieldPolicy:
    return read_shield_policy(text, "shield.toml", "/etc/app")


def block(text: str, root: Root | None = None) -> ShieldBlock:
    made = resolve(read(text), Secrets(root))
    assert ShieldBlock.parse(made.serialize()) == made
    return made


def test_nothing_said_is_everything_refused() -> None:
    assert block("[shield]\n") == ShieldBlock(strict=True, network=True, entries=())
    assert block("[shield]\nstrict = true\n") == ShieldBlock()
    opened = block("[shield]\nunsafe_open_files = true\nunsafe_open_network = true\n")
    assert opened == ShieldBlock(strict=False, network=False)


def test_a_volume() -> None:
    entry = FilesEntry(kind=FileKind.ENCRYPTED, path="/data", container="/srv/v", key=KEY, name="/data")
    assert block(VOLUME).entries == (entry,)
    more = 'root = "' + ROOT + '"\nread_only = true\ncache = "256 MiB"\nname = "shop"\n'
    full = replace(entry, generation=12, digest=DIGEST, read_only=True, cache=1 << 28, name="shop")
    assert block(VOLUME + more).entries == (full,)
    assert block(VOLUME + "cache = 1048576\n").entries == (replace(entry, cache=1 << 20),)
    assert block(VOLUME.replace("encrypted", "authenticated")).entries == (replace(entry, kind=FileKind.AUTHENTICATED),)


def test_a_root_that_the_broker_keeps() -> None:
    text = VOLUME + 'root = "broker"\ncreate = true\n'
    (first,), (later,) = block(text).entries, block(text, Root(12, DIGEST)).entries
    assert isinstance(first, FilesEntry)
    assert isinstance(later, FilesEntry)
    assert (first.create, first.report_root, first.generation, first.digest) == (True, True, 0, bytes(32))
    assert (later.create, later.report_root, later.generation, later.digest) == (False, True, 12, DIGEST)


def test_a_volume_may_stand_beside_the_policy() -> None:
    assert read(VOLUME.replace("/srv/v", "data.volume")).regions[0].volume == "/etc/app/data.volume"
    assert read(VOLUME.replace("/srv/v", "../v")).regions[0].volume == "/etc/v"
    with pytest.raises(PolicyError, match=r"shield.toml:4: shield.files.volume: is not absolute"):
        read_shield_policy(VOLUME.replace("/srv/v", "data.volume"), "shield.toml")


def test_regions_without_a_volume() -> None:
    text = '[[shield.files]]\npath = "/tmp"\nkind = "memory"\n'
    plain = '[[shield.files]]\npath = "/usr"\nkind = "plain"\nunsafe_plain = true\nread_only = true\n'
    assert block(text + plain).entries == (
        FilesEntry(kind=FileKind.MEMORY, path="/tmp", name="/tmp"),
        FilesEntry(kind=FileKind.PLAIN, path="/usr", name="/usr", read_only=True),
    )


def test_ports() -> None:
    entry = ListenEntry(
        transport=Transport.TLS, port=8443, certificates=(b"own", b"above"), private_key=b"private"
    )  # fmt: skip
    assert block(LISTEN).entries == (entry,)
    known = replace(entry, clients=(KEY,), needs_client=True)
    assert block(LISTEN + f'clients = ["sha256:{KEY.hex().upper()}"]\n').entries == (known,)
    text = '[[shield.listen]]\nport = 1\nprotocol = "ra-tls"\nname = "peer"\n'
    text += '[[shield.listen]]\nport = 2\nprotocol = "plain"\nunsafe_plain = true\n'
    assert block(text).entries == (
        ListenEntry(transport=Transport.RA_TLS, port=1, name="peer"), ListenEntry(transport=Transport.PLAIN, port=2)
    )  # fmt: skip


def test_destinations() -> None:
    entry = ConnectEntry(transport=Transport.TLS, host="127.0.0.1", port=6379, pins=(KEY,))
    assert block(CONNECT).entries == (entry,)
    own = replace(entry, server_name="db.internal", certificates=(b"own", b"above"), private_key=b"private")
    assert block(CONNECT + 'server_name = "db.internal"\ncertificate = "web"\n').entries == (own,)
    assert block(CONNECT.replace("127.0.0.1", "any")).entries == (replace(entry, host=""),)
    assert block(CONNECT.replace("127.0.0.1", "0:0::1")).entries == (replace(entry, host="::1"),)
    unpinned = CONNECT.partition("pins")[0] + "unsafe_any_server = true\n"
    assert block(unpinned).entries == (replace(entry, pins=()),)


def test_the_console() -> None:
    assert block(CONSOLE).entries == (ConsoleEntry(key=KEY),)
    full = block(CONSOLE + "terminal = true\nrows = 24\ncolumns = 80\n")
    assert full.entries == (ConsoleEntry(key=KEY, terminal=True, rows=24, columns=80),)
    assert full.console == full.entries[0]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "1: a shield policy has a table"),
        ("[shields]\n", "1: shields: unknown key; did you mean `shield`?"),
        ("[shield]\nfile = 1\n", "2: shield.file: unknown key; did you mean `files`?"),
        ("shield = 1\n", "1: shield: a table is wanted"),
        ("[shield]\nfiles = 1\n", "2: shield.files: write a list of tables"),
        ("[shield]\nstrict = false\n", "2: shield.strict: write unsafe_open_files"),
        ("[shield]\nstrict = 'no'\n", "2: shield.strict: write true or false"),
        ("[shield]\nstrict = true\nunsafe_open_files = true\n", "2: shield.strict: contradicts"),
        (VOLUME.replace('"/data"', '"data"'), "2: shield.files.path: is not absolute"),
        (VOLUME.replace('"/data"', '"/data/"'), "2: shield.files.path: has more than one reading: write /data"),
        (VOLUME.replace('path = "/data"\n', ""), "1: shield.files: path is not absolute"),
        (VOLUME.replace('kind = "encrypted"\n', ""), "1: shield.files: kind: write one of encrypted, authenticated"),
        (VOLUME.replace("encrypted", "secret"), "3: shield.files.kind: kind: write one of"),
        (VOLUME.replace("encrypted", "plain"), "3: shield.files.kind: the host reads and changes"),
        (VOLUME.replace("encrypted", "plain") + "unsafe_plain = true\n", "4: shield.files.volume: a region of kind"),
        (VOLUME + "unsafe_plain = true\n", "6: shield.files.unsafe_plain: contradicts"),
        (VOLUME.replace("encrypted", "memory"), "4: shield.files.volume: a region of kind memory is in no volume"),
        ('[[shield.files]]\npath = "/t"\nkind = "memory"\nread_only = true\n', "4: shield.files.read_only: contr"),
        ('[[shield.files]]\npath = "/t"\nkind = "memory"\nroot = "broker"\n', "4: shield.files.root: a region of"),
        (PLAIN + 'cache = "1 MiB"\n', "5: shield.files.cache"),
        (VOLUME.replace('volume = "/srv/v"\n', ""), "1: shield.files: where is the volume of /data"),
        (VOLUME.replace('key = "data-key"\n', ""), "1: shield.files: a volume needs its key"),
        (VOLUME + 'unsafe_key_file = "k"\n', "6: shield.files.unsafe_key_file: contradicts key"),
        (VOLUME + 'root = "12"\n', "6: shield.files.root: write GENERATION:SHA-256"),
        (VOLUME + f'root = "0:{DIGEST.hex()}"\n', "6: shield.files.root"),
        (VOLUME + f'root = "{ROOT}"\ncreate = true\n', "7: shield.files.create: contradicts root"),
        (VOLUME + "create = true\nread_only = true\n", "6: shield.files.create: contradicts read_only"),
        (VOLUME + 'cache = "1 KiB"\n', "6: shield.files.cache: write a size from 1 MiB"),
        (VOLUME + 'cache = "many"\n', "6: shield.files.cache: write a whole number"),
        (VOLUME + VOLUME, "6: the path /data stands twice"),
        (VOLUME + VOLUME.replace("/data", "/data/sub"), "6: the volume /srv/v stands twice"),
        (
            VOLUME + 'root = "broker"\nname = "x"\n' + VOLUME.replace("/data", "/e").replace("/v", "/w")
            + 'root = "broker"\nname = "x"\n', "8: the name x stands twice",
        ),
        (LISTEN.replace("port = 8443\n", ""), "1: shield.listen: port is missing"),
        (LISTEN.replace("8443", "0"), "2: shield.listen.port: write a whole number from 1"),
        (LISTEN.replace("8443", "true"), "2: shield.listen.port: write a whole number"),
        (LISTEN.replace('certificate = "web"\n', ""), "1: shield.listen: a TLS server needs certificate"),
        (LISTEN.replace('"tls"', '"ra-tls"'), "4: shield.listen.certificate: ra-tls takes no certificate"),
        (LISTEN.replace('"tls"', '"plain"'), "3: shield.listen.protocol: everybody on the way"),
        (LISTEN.replace('"tls"', '"plain"') + "unsafe_plain = true\n", "4: shield.listen.certificate: plain takes no"),
        (LISTEN + "unsafe_plain = true\n", "5: shield.listen.unsafe_plain: contradicts"),
        (LISTEN + 'clients = ["sha256:ab"]\n', "5: shield.listen.clients: a pin is sha256:"),
        (LISTEN + "clients = []\n", "5: shield.listen.clients: write a list"),
        (LISTEN + 'unsafe_key_file = "k"\n', "5: shield.listen.unsafe_key_file: contradicts certificate"),
        (LISTEN.replace("certificate", "unsafe_key_file"), "4: shield.listen.unsafe_key_file: unsafe_certificate"),
        (LISTEN + LISTEN, "5: the port 8443 stands twice"),
        (CONNECT.replace("127.0.0.1", "localhost"), "2: shield.connect.address: write an address in digits"),
        (CONNECT.replace('address = "127.0.0.1"\n', ""), "1: shield.connect: address is missing"),
        (CONNECT.partition("pins")[0], "1: shield.connect: pins are missing"),
        (CONNECT + "unsafe_any_server = true\n", "6: shield.connect.unsafe_any_server: contradicts pins"),
        (CONNECT.replace('"tls"', '"plain"') + "unsafe_plain = true\n", "5: shield.connect.pins: without TLS"),
        (CONNECT + 'server_name = "a b"\n', "6: shield.connect.server_name: is no name"),
        (CONNECT + CONNECT, "6: the address and port 127.0.0.1:6379 stands twice"),
        ("[shield.console]\n", "1: shield.console: the console needs a key"),
        (CONSOLE + "rows = 24\n", "3: shield.console.rows: needs terminal = true"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused(text: str, said: str) -> None:
    with pytest.raises(PolicyError) as caught:
        read(text)
    assert str(caught.value).startswith(f"shield.toml:{said}")


@pytest.mark.parametrize(("one", "key", "most"), [
    ('[[shield.files]]\npath = "/{}"\nkind = "memory"\n', "files", 32),
    ('[[shield.listen]]\nport = {}\nprotocol = "ra-tls"\n', "listen", 64),
    ('[[shield.connect]]\naddress = "any"\nport = {}\nprotocol = "plain"\nunsafe_plain = true\n', "connect", 64),
])  # fmt: skip
def test_no_more_than_the_runtime_has_room_for(one: str, key: str, most: int) -> None:
    assert len(block("".join(one.format(number) for number in range(1, most + 1))).entries) == most
    with pytest.raises(PolicyError, match=rf"shield.{key}: {most + 1} of them; the runtime has room for {most}"):
        read("".join(one.format(number) for number in range(1, most + 2)))


def test_the_limits_are_the_runtimes() -> None:
    header = (Path(__file__).parents[2] / "runtime" / "shield" / "policy.h").read_text()
    assert f"POLICY_FILES_MOST = {MOST[FilesEntry]}" in header
    assert f"POLICY_PORTS_MOST = {MOST[ListenEntry]}" in header
    assert MOST[ListenEntry] == MOST[ConnectEntry]


@pytest.mark.parametrize("name", ["short", "zero"])
def test_keys_are_keys(name: str) -> None:
    with pytest.raises(PolicyError, match=rf"shield.toml:1: the key {name} has not 32 bytes"):
        block(VOLUME.replace("data-key", name))


def test_what_a_policy_refers_to() -> None:
    policy = read(VOLUME + LISTEN + CONSOLE)
    assert policy.secrets() == {"data-key", "web"}
    assert list(policy.local()) == []
    files = VOLUME.replace('key = "data-key"', 'unsafe_key_file = "k"') + LISTEN + 'clients = ["client.pem"]\n'
    assert [(place, what) for place, what in read(files).local()] == [
        ("shield.toml:1", "unsafe_key_file"), ("shield.toml:6", "a certificate's file")
    ]  # fmt: skip


# ---- keys in files of this machine


def test_local_keys(tmp_path: Path, identity_files: tuple[Path, Path]) -> None:
    certificate, key = identity_files
    VolumeKey.make(tmp_path / "app.key").close()
    text = VOLUME.replace('key = "data-key"', 'unsafe_key_file = "app.key"')
    text += LISTEN.replace(
        'certificate = "web"', f'unsafe_certificate_file = "{certificate}"\nunsafe_key_file = "{key}"'
    )
    text += f'clients = ["{certificate}"]\n'
    made = resolve(read_shield_policy(text, "shield.toml", str(tmp_path)), LocalKeys())
    volume, port = made.entries
    assert isinstance(volume, FilesEntry)
    assert isinstance(port, ListenEntry)
    assert volume.key == (tmp_path / "app.key").read_bytes()[16:]
    (der,) = pem_blocks(certificate.read_bytes(), "CERTIFICATE")
    assert port.certificates == (der,)
    assert port.clients == (hashlib.sha256(Certificate.parse(der).spki).digest(),)
    assert port.private_key[:1] == b"\x30"
    assert ShieldBlock.parse(made.serialize()) == made


@pytest.mark.parametrize("text", [VOLUME, LISTEN, CONSOLE])
def test_without_a_session_there_are_no_secrets_of_one(text: str) -> None:
    with pytest.raises(PolicyError, match="is a secret of a session, and there is none here"):
        resolve(read(text), LocalKeys())


def test_without_a_broker_nobody_keeps_roots(tmp_path: Path) -> None:
    text = VOLUME.replace('key = "data-key"', 'unsafe_key_file = "k"') + 'root = "broker"\n'
    with pytest.raises(PolicyError, match="there is no broker here"):
        resolve(read(text), LocalKeys())
    assert not list(tmp_path.iterdir())


def own_files(place: Path, key: Any, *, of: Any = None) -> str:
    """An entry with this key, and a certificate of the same or another one."""
    builder = x509.CertificateBuilder().subject_name(x509.Name([])).issuer_name(x509.Name([]))
    builder = builder.public_key((of or key).public_key()).serial_number(1)
    builder = builder.not_valid_before(datetime(2026, 1, 1, tzinfo=UTC)).not_valid_after(
        datetime(2027, 1, 1, tzinfo=UTC)
    )
    signer = ec.generate_private_key(ec.SECP256R1())
    encoding = serialization.Encoding.PEM
    (place / "cert.pem").write_bytes(builder.sign(signer, hashes.SHA256()).public_bytes(encoding))
    form, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (place / "key.pem").write_bytes(key.private_bytes(encoding, form, plain))
    (place / "key.pem").chmod(0o600)
    files = f'unsafe_certificate_file = "{place / "cert.pem"}"\nunsafe_key_file = "{place / "key.pem"}"'
    return LISTEN.replace('certificate = "web"', files)


@pytest.mark.parametrize(
    "make",
    [
        lambda: ec.generate_private_key(ec.SECP256R1()), lambda: ec.generate_private_key(ec.SECP384R1()),
        ed25519.Ed25519PrivateKey.generate, lambda: rsa.generate_private_key(65537, 2048),
    ],
    ids=["P-256", "P-384", "Ed25519", "RSA"],
)  # fmt: skip
def test_private_keys_of_files_belong_to_their_certificates(tmp_path: Path, make: Callable[[], Any]) -> None:
    key = make()
    (port,) = resolve(read(own_files(tmp_path, key)), LocalKeys()).entries
    assert isinstance(port, ListenEntry)
    with pytest.raises(UsageError, match=r"key\.pem: the first certificate in .*cert\.pem is of another private key"):
        resolve(read(own_files(tmp_path, key, of=make())), LocalKeys())


@pytest.mark.parametrize(
    "make",
    [
        lambda: ec.generate_private_key(ec.SECP521R1()), ed448.Ed448PrivateKey.generate,
        lambda: rsa.generate_private_key(65537, 2056),
    ],
    ids=["P-521", "Ed448", "RSA of an odd size"],
)  # fmt: skip
def test_private_keys_that_the_runtime_cannot_use(tmp_path: Path, make: Callable[[], Any]) -> None:
    with pytest.raises(UsageError, match=r"key\.pem: the runtime signs with P-256, "):
        resolve(read(own_files(tmp_path, make())), LocalKeys())


def test_files_with_keys_are_for_their_owner_only(tmp_path: Path, identity_files: tuple[Path, Path]) -> None:
    certificate, key = identity_files
    text = LISTEN.replace(
        'certificate = "web"', f'unsafe_certificate_file = "{certificate}"\nunsafe_key_file = "{key}"'
    )
    key.chmod(0o644)
    with pytest.raises(UsageError, match="may be used by others"):
        resolve(read(text), LocalKeys())
    key.chmod(0o600)
    key.write_text("no key")
    with pytest.raises(UsageError, match="no private key in PEM"):
        resolve(read(text), LocalKeys())
    (tmp_path / "empty").write_text("")
    with pytest.raises(UsageError, match="no certificate in PEM"):
        resolve(read(text.replace(str(certificate), str(tmp_path / "empty"))), LocalKeys())


@pytest.fixture
def identity_files(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate that signs itself, and its key, as `openssl req` writes them."""
    start = datetime(2026, 1, 1, tzinfo=UTC)
    pem = make_certificate(
        "P-256", lambda size: bytes(range(1, size + 1)), common_name="x", dns=(), start=start, days=9
    )
    at = pem.index(b"-----BEGIN CERTIFICATE")
    certificate, key = tmp_path / "web.pem", tmp_path / "web.key"
    certificate.write_bytes(pem[at:])
    key.write_bytes(pem[:at])
    key.chmod(0o600)
    return certificate, key


# ---- what is dangerous


def severities(text: str) -> list[tuple[str, str]]:
    return [(one.severity.value, one.key) for one in findings_of_shield(read(text))]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[shield]\n", [("note", "shield.files")]),
        ("[shield]\nunsafe_open_files = true\n", [("dangerous", "shield.unsafe_open_files")]),
        (VOLUME, [("risky", "shield.files.root")]),
        (VOLUME + 'root = "broker"\ncreate = true\n', []),
        (VOLUME + f'root = "{ROOT}"\n', [("risky", "shield.files.root")]),
        (VOLUME + f'root = "{ROOT}"\nread_only = true\n', []),
        (VOLUME + "create = true\n", [("risky", "shield.files.create"), ("risky", "shield.files.root")]),
        (VOLUME.replace('key = "data-key"', 'unsafe_key_file = "k"') + 'root = "broker"\n',
         [("dangerous", "shield.unsafe_key_file")]),
        (VOLUME.replace("encrypted", "authenticated") + 'root = "broker"\n', [("risky", "shield.files")]),
        ('[[shield.files]]\npath = "/usr"\nkind = "plain"\nunsafe_plain = true\nread_only = true\n',
         [("risky", "shield.files")]),
        ('[[shield.files]]\npath = "/srv"\nkind = "plain"\nunsafe_plain = true\n' + VOLUME + 'root = "broker"\n',
         [("dangerous", "shield.files"), ("risky", "shield.files.volume")]),
        ("[shield]\nunsafe_open_files = true\n" + LISTEN,
         [("dangerous", "shield.unsafe_open_files"), ("note", "shield.listen")]),
        (KEPT + CONNECT.replace('"tls"', '"plain"').partition("pins")[0] + "unsafe_plain = true\n",
         [("dangerous", "shield.connect")]),
        (VOLUME + 'root = "broker"\n' + CONNECT.partition("pins")[0] + "unsafe_any_server = true\n",
         [("dangerous", "shield.connect.unsafe_any_server")]),
        (VOLUME + 'root = "broker"\n' + CONNECT, []),
    ],
)  # fmt: skip
def test_what_is_dangerous(text: str, expected: list[tuple[str, str]]) -> None:
    assert severities(text) == expected


def test_older_volumes_that_would_not_be_noticed() -> None:
    assert [line[:21] for line in unnoticed(read(VOLUME))] == ["shield.toml:1: /data:"]
    assert not list(unnoticed(read(VOLUME + f'root = "{ROOT}"\n')))
    assert not list(unnoticed(read('[[shield.files]]\npath = "/tmp"\nkind = "memory"\n')))
