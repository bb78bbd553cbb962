"""A shield policy from a document: TOML, or the table `shield` of a session's service."""

import ipaddress
import posixpath
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Final

from cloister._toml import Document, Path, read_toml
from cloister.errors import PolicyError
from cloister.shield_policy.block import MOST
from cloister.shield_policy.entries import ConnectEntry, FilesEntry, ListenEntry
from cloister.shield_policy.policy import ConsolePlan, IdentityAt, KeyAt, Peer, Pin, Port, Region, Root, ShieldPolicy
from cloister.shield_policy.section import Section
from cloister.shield_policy.words import FileKind, Transport, path_fault

__all__ = ["BROKER", "KNOWN", "read_shield_policy", "shield_policy_of"]

BROKER: Final = "broker"
ANY: Final = "any"
TABLE: Final = "shield"
KNOWN: Final[Mapping[str, tuple[str, ...]]] = {
    "": ("strict", "unsafe_open_files", "unsafe_open_network", "files", "listen", "connect", "console"),
    "files": (
        "path", "kind", "volume", "key", "unsafe_key_file", "root", "create", "read_only", "cache", "name",
        "unsafe_plain",
    ),
    "listen": (
        "port", "protocol", "certificate", "unsafe_certificate_file", "unsafe_key_file", "clients", "name",
        "unsafe_plain",
    ),
    "connect": (
        "address", "port", "protocol", "server_name", "pins", "certificate", "unsafe_certificate_file",
        "unsafe_key_file", "name", "unsafe_plain", "unsafe_any_server",
    ),
    "console": ("key", "unsafe_key_file", "terminal", "rows", "columns"),
}  # fmt: skip
"""The keys of each table; those of `[shield]` itself under the empty name."""
FILE_KINDS: Final = {one.word: one for one in FileKind}
TRANSPORTS: Final = {one.word: one for one in Transport}
ROOT: Final = re.compile(r"([1-9][0-9]{0,18}):([0-9a-f]{64})")
SIZE: Final = re.compile(r"([1-9][0-9]{0,9}) ?(KiB|MiB|GiB)")
UNITS: Final = {"KiB": 10, "MiB": 20, "GiB": 30}
LEAST_CACHE: Final = 1 << 20
MOST_CACHE: Final = 1 << 40
PIN: Final = re.compile(r"sha256:([0-9a-fA-F]{64})")
SERVER_NAME: Final = re.compile(r"(?=.{1,253}$)[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*")
LARGEST_PORT: Final = 65535
LARGEST_SCREEN: Final = 65535
OF_A_VOLUME: Final = ("volume", "key", "unsafe_key_file", "root", "create")


def read_shield_policy(text: str, name: str, directory: str = "") -> ShieldPolicy:
    """The policy in a TOML file; paths of files may begin at its `directory`. PolicyError with file and line."""
    document = read_toml(text, name)
    Section(document, (), (TABLE,))
    if TABLE not in document.values:
        raise PolicyError(f"{name}:1: a shield policy has a table [shield]; see docs/formats/shield.md")
    return shield_policy_of(document, (TABLE,), directory)


def shield_policy_of(document: Document, at: Path, directory: str = "") -> ShieldPolicy:
    """The policy in the table at `at`. Without a `directory`, paths on the host must be absolute. PolicyError."""
    return _Reading(Section(document, at, KNOWN[""]), directory).policy()


class _Reading:
    """One policy being read."""

    def __init__(self, whole: Section, directory: str) -> None:
        self._whole, self._directory = whole, directory

    def policy(self) -> ShieldPolicy:
        """Everything in one order: that of the file has no meaning."""
        whole = self._whole
        if not whole.flag("strict", default=True):
            raise whole.error("strict", "write unsafe_open_files = true: paths in no region are then the host's")
        found = ShieldPolicy(
            place=whole.place,
            regions=tuple(self._region(one) for one in whole.sections("files", KNOWN["files"])),
            ports=tuple(self._port(one) for one in whole.sections("listen", KNOWN["listen"])),
            peers=tuple(self._peer(one) for one in whole.sections("connect", KNOWN["connect"])),
            console=self._console(whole.section("console", KNOWN["console"])),
            unsafe_open_files=whole.flag("unsafe_open_files"), unsafe_open_network=whole.flag("unsafe_open_network"),
        )  # fmt: skip
        _refuse_too_many(whole, "files", len(found.regions), MOST[FilesEntry])
        _refuse_too_many(whole, "listen", len(found.ports), MOST[ListenEntry])
        _refuse_too_many(whole, "connect", len(found.peers), MOST[ConnectEntry])
        if found.unsafe_open_files and "strict" in whole:
            raise whole.error("strict", "contradicts unsafe_open_files; keep one of them")
        _refuse_twice("path", ((one.place, one.path) for one in found.regions))
        volumes = ((one.place, one.volume) for one in found.regions if one.volume)
        _refuse_twice("volume", volumes, "one volume is one region; make another volume for the other path")
        names = ((one.place, one.name) for one in found.regions if one.root_at_broker)
        _refuse_twice("name", names, "the broker keeps one root under one name")
        _refuse_twice("port", ((one.place, str(one.number)) for one in found.ports))
        _refuse_twice("address and port", ((one.place, f"{one.address}:{one.port}") for one in found.peers))
        return replace(
            found, regions=tuple(sorted(found.regions, key=lambda one: one.path)),
            ports=tuple(sorted(found.ports, key=lambda one: one.number)),
            peers=tuple(sorted(found.peers, key=lambda one: (one.address, one.port))),
        )  # fmt: skip

    # ---- files

    def _region(self, found: Section) -> Region:
        path, kind = found.text("path"), found.choice("kind", FILE_KINDS)
        if fault := path_fault(path):
            raise found.error("path" if "path" in found else "", f"{'' if 'path' in found else 'path '}{fault}")
        if kind is FileKind.PLAIN and not found.flag("unsafe_plain"):
            raise found.error("kind", "the host reads and changes what is plain: write unsafe_plain = true beside it")
        if kind is not FileKind.PLAIN and "unsafe_plain" in found:
            raise found.error("unsafe_plain", f"contradicts kind = {kind.word!r}; remove one of them")
        for key in () if kind.on_a_volume else OF_A_VOLUME:
            if key in found:
                raise found.error(key, f"a region of kind {kind.word} is in no volume; remove this key, or change kind")
        if kind is FileKind.PLAIN and "cache" in found:
            raise found.error("cache", "plain files are cached by the host's kernel; remove this key")
        if kind is FileKind.MEMORY and found.flag("read_only"):
            raise found.error("read_only", "contradicts kind = 'memory': nothing could ever be in it")
        region = Region(
            place=found.place, kind=kind, path=path, name=found.text("name") or path, cache=_cache(found),
            read_only=found.flag("read_only"),
        )  # fmt: skip
        return self._on_a_volume(found, region) if kind.on_a_volume else region

    def _on_a_volume(self, found: Section, region: Region) -> Region:
        root = found.text("root")
        match = ROOT.fullmatch(root)
        if root and root != BROKER and match is None:
            raise found.error("root", "write GENERATION:SHA-256 as `cloister volume` prints it, or broker")
        create = found.flag("create")
        if create and match:
            raise found.error("create", "contradicts root: a new volume has no such root; remove one of them")
        if create and found.flag("read_only"):
            raise found.error("create", "contradicts read_only: nothing could ever be in the new volume")
        key = self._key(found, "a volume needs its key")
        volume = self._host_path(found, "volume", f'where is the volume of {region.path}? volume = "/path/of/its/file"')
        return replace(
            region, volume=volume, key=key, create=create, root_at_broker=root == BROKER,
            root=Root(int(match[1]), bytes.fromhex(match[2])) if match else None,
        )  # fmt: skip

    # ---- network

    def _port(self, found: Section) -> Port:
        transport, number = _transport(found), found.whole("port", 1, LARGEST_PORT)
        if not number:
            raise found.error("", "port is missing")
        identity = self._identity(found)
        if transport is Transport.TLS and identity is None:
            raise found.error(
                "", 'a TLS server needs certificate = "NAME" of an x509 secret (protocol = "ra-tls" does not)'
            )
        clients = self._pins(found, "clients")
        _refuse_beside_plain(found, transport, "clients")
        return Port(
            place=found.place, transport=transport, number=number, identity=identity, clients=clients,
            name=found.text("name"),
        )  # fmt: skip

    def _peer(self, found: Section) -> Peer:
        transport, port = _transport(found), found.whole("port", 1, LARGEST_PORT)
        if not port:
            raise found.error("", "port is missing")
        pins, any_server = self._pins(found, "pins"), found.flag("unsafe_any_server")
        _refuse_beside_plain(found, transport, "pins", "server_name", "unsafe_any_server")
        if transport is not Transport.PLAIN and bool(pins) == any_server:
            reason = "contradicts pins" if pins else "pins are missing: whose key does the server have?"
            raise found.error("unsafe_any_server" if pins else "", reason)
        server_name = found.text("server_name")
        if server_name and not SERVER_NAME.fullmatch(server_name):
            raise found.error("server_name", "is no name of a server")
        return Peer(
            place=found.place, transport=transport, address=_address(found), port=port, server_name=server_name,
            pins=pins, unsafe_any_server=any_server, identity=self._identity(found), name=found.text("name"),
        )  # fmt: skip

    def _identity(self, found: Section) -> IdentityAt | None:
        files = [key for key in ("unsafe_certificate_file", "unsafe_key_file") if key in found]
        if files and "certificate" in found:
            raise found.error(files[0], "contradicts certificate; keep one of them")
        if len(files) == 1:
            raise found.error(files[0], "unsafe_certificate_file and unsafe_key_file go together")
        if not files and "certificate" not in found:
            return None
        if (protocol := found.any("protocol")) != Transport.TLS.word:
            raise found.error((files or ["certificate"])[0], f"{protocol} takes no certificate; remove it")
        if not files:
            return IdentityAt(secret=found.text("certificate"))
        return IdentityAt("", *(self._host_path(found, key, "") for key in files))

    def _pins(self, found: Section, key: str) -> tuple[Pin, ...]:
        pins = []
        for word in found.texts(key):
            match = PIN.fullmatch(word)
            if match is None and word.startswith("sha256:"):
                raise found.error(key, "a pin is sha256: and 64 hexadecimal digits of a SubjectPublicKeyInfo's SHA-256")
            pins.append(Pin(bytes.fromhex(match[1])) if match else Pin(b"", self._absolute(found, key, word)))
        return tuple(sorted(set(pins)))

    # ---- console

    def _console(self, found: Section | None) -> ConsolePlan | None:
        if found is None:
            return None
        rows, columns = (found.whole(one, 1, LARGEST_SCREEN) for one in ("rows", "columns"))
        terminal = found.flag("terminal")
        if not terminal and (rows or columns):
            raise found.error("rows" if rows else "columns", "needs terminal = true")
        key = self._key(found, "the console needs a key")
        return ConsolePlan(place=found.place, key=key, terminal=terminal, rows=rows, columns=columns)

    # ---- where things are

    def _key(self, found: Section, missing: str) -> KeyAt:
        if "key" in found and "unsafe_key_file" in found:
            raise found.error("unsafe_key_file", "contradicts key; keep one of them")
        if "key" not in found and "unsafe_key_file" not in found:
            raise found.error("", f'{missing}: key = "NAME" of a secret of the session, or unsafe_key_file')
        if "key" in found:
            return KeyAt(secret=found.text("key"))
        return KeyAt(unsafe_file=self._host_path(found, "unsafe_key_file", ""))

    def _host_path(self, found: Section, key: str, missing: str) -> str:
        if key not in found:
            raise found.error("", missing)
        return self._absolute(found, key, found.text(key))

    def _absolute(self, found: Section, key: str, path: str) -> str:
        whole = posixpath.normpath(posixpath.join(self._directory, path))
        if fault := path_fault(whole):
            raise found.error(key, fault)
        return whole


def _transport(found: Section) -> Transport:
    transport = found.choice("protocol", TRANSPORTS)
    if transport is Transport.PLAIN and not found.flag("unsafe_plain"):
        raise found.error("protocol", "everybody on the way reads and changes it: write unsafe_plain = true beside it")
    if transport is not Transport.PLAIN and "unsafe_plain" in found:
        raise found.error("unsafe_plain", f"contradicts protocol = {transport.word!r}; remove one of them")
    return transport


def _refuse_beside_plain(found: Section, transport: Transport, *keys: str) -> None:
    for key in keys:
        if transport is Transport.PLAIN and key in found:
            raise found.error(key, "without TLS nobody shows a certificate; remove this key, or change protocol")


def _address(found: Section) -> str:
    text = found.text("address")
    if text == ANY:
        return ""
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        reason = "write an address in digits, such as 127.0.0.1, or any: the host would say what a name means"
        raise found.error("address" if text else "", reason if text else f"address is missing: {reason}") from None


def _cache(found: Section) -> int:
    value = found.any("cache")
    match = SIZE.fullmatch(value) if isinstance(value, str) else None
    size = int(match[1]) << UNITS[match[2]] if match else found.whole("cache", LEAST_CACHE, MOST_CACHE)
    if match and not LEAST_CACHE <= size <= MOST_CACHE:
        raise found.error("cache", "write a size from 1 MiB to 1,024 GiB")
    return size


def _refuse_too_many(whole: Section, key: str, count: int, most: int) -> None:
    if count > most:
        raise whole.error(key, f"{count} of them; the runtime has room for {most}")


def _refuse_twice(what: str, values: Iterable[tuple[str, str]], advice: str = "keep one of them") -> None:
    pairs = list(values)
    counts = Counter(value for _, value in pairs)
    for place, value in reversed(pairs):
        if counts[value] > 1:
            raise PolicyError(f"{place}: the {what} {value} stands twice; {advice}")
