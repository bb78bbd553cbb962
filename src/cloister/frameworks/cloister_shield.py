"""Cloister's shield policies (docs/formats/shield.md) as configurations: regions of paths are what others call mounts.

Where something else is meant it is not written, and so reported as lost: a directory of the host that the program sees
elsewhere, and files of which only listed ones can be opened, which is the manifest's matter. Nobody else's encrypted
files are a volume: the region is made, its volume is a new one.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Final

from cloister.frameworks.draft import Draft, Values
from cloister.frameworks.model import Backing, Configuration, Mount, Secret
from cloister.frameworks.source import read_toml_file
from cloister.frameworks.table import Key, Kind, Sheet
from cloister.frameworks.writing import write_toml
from cloister.shield_policy.reading import KNOWN
from cloister.shield_policy.words import path_fault

__all__ = ["CANNOT", "ELSE", "NAME", "SESSION", "TABLE", "key_secrets", "read", "read_regions", "regions", "write"]

NAME: Final = "cloister-shield"
SESSION: Final = "cloister-session"
PAGE: Final = "docs/formats/shield.md"
CANNOT: Final = {
    "mounts": "a region has a volume and a key of its own, into which files are copied; plain files of the host are "
    "seen where they are; listed files are the manifest's",
    "measured_files": "a manifest lists them: `cloister measure`, `cloister run --manifest`",
}
ELSE: Final = "a shield policy says what is shielded; the program is the command line's or the session's"
KINDS: Final = {"encrypted": Backing.ENCRYPTED, "memory": Backing.MEMORY, "plain": Backing.HOST}
SHARED: Final[Mapping[str, Kind]] = {
    "path": Kind.TEXT, "kind": Kind.TEXT, "volume": Kind.TEXT, "key": Kind.TEXT, "read_only": Kind.TRUTH,
    "unsafe_plain": Kind.TRUTH,
}  # fmt: skip
UNNAMED: Final = re.compile(r"[^A-Za-z0-9._-]+")


def table(at: str, *, elsewhere: frozenset[str] = frozenset()) -> tuple[Key, ...]:
    """The keys below the table `at`, but those that only files of another form have."""
    files = [Key(f"{at}.files[].{one}", SHARED.get(one, Kind.ANY), "mounts" if one in SHARED else "", PAGE)
             for one in KNOWN["files"] if one not in elsewhere]  # fmt: skip
    return (*files, *(Key(f"{at}.{one}", Kind.ANY, "", PAGE) for one in KNOWN[""] if one != "files"))


TABLE: Final = table("shield")


def read(text: str, name: str) -> Configuration:
    """The regions of a policy; whether it holds together says `cloister shield check`."""
    draft = Draft(NAME, Sheet(read_toml_file(text, name), TABLE))
    read_regions(draft, "shield")
    return draft.finish()


def read_regions(draft: Draft, *at: str | int) -> None:
    """The regions of the shield there, as mounts; those of a kind that others do not have are kept."""
    sheet = draft.sheet
    for number in range(sheet.count(*at, "files")):
        where = (*at, "files", number)
        path, kind = sheet.text(*where, "path"), sheet.text(*where, "kind")
        backing = KINDS.get(kind or "")
        if path is None or backing is None:
            for member in ("path", "kind"):
                sheet.release(*where, member)
            continue
        draft.element(*where)
        source = path if backing is Backing.HOST else sheet.text(*where, "volume")
        key, read_only = sheet.text(*where, "key"), sheet.truth(*where, "read_only")
        sheet.truth(*where, "unsafe_plain")
        draft.add("mounts", path, Mount(backing, source, key, bool(read_only)), *where)


def write(configuration: Configuration) -> str:
    """A shield policy of what can be said in one."""
    made = Values()
    for values, note in regions(configuration, NAME):
        made.append(("shield", "files"), values, note)
    made.put_kept(configuration, NAME)
    if not made.values:
        made.put(("shield", "strict"), value=True)
    return write_toml(made.values, made.comments)


def regions(configuration: Configuration, form: str) -> Iterator[tuple[dict[str, object], str | None]]:
    """What stands under `files`, with a note for each; roots and creation where the file is of another form."""
    words = {backing: word for word, backing in KINDS.items()}
    for target, mount in configuration.mounts.items():
        if not meant(target, mount, configuration):
            continue
        values: dict[str, object] = {"path": target, "kind": words[mount.backing]}
        if mount.backing is Backing.HOST:
            values["unsafe_plain"] = True
        if mount.backing is Backing.ENCRYPTED:
            key = key_of(target, mount, configuration)
            values |= {"volume": volume_of(target, mount, configuration)} | ({} if key is None else {"key": key})
            if configuration.format != form:
                values |= {"root": "broker"} | ({} if mount.read_only else {"create": True})
        if mount.read_only:
            values["read_only"] = True
        yield values, configuration.notes.get(("mounts", target))


def is_own(configuration: Configuration) -> bool:
    """Whether it was said in these words: then they are repeated as they are."""
    return configuration.format in {NAME, SESSION}


def meant(target: str, mount: Mount, configuration: Configuration) -> bool:
    """Whether a region is the same: a path with one reading, and plain files where the program sees them."""
    if mount.backing not in KINDS.values():
        return False
    return is_own(configuration) or (
        not path_fault(target) and (mount.backing is not Backing.HOST or mount.source in {None, target})
    )


def volume_of(target: str, mount: Mount, configuration: Configuration) -> str:
    """The volume's file: as it is said, or a new one that is called as the region."""
    return mount.source if is_own(configuration) and mount.source is not None else f"/srv/{named(target)}.volume"


def key_of(target: str, mount: Mount, configuration: Configuration) -> str | None:
    """The name of the secret that is the key; None if it is said in another way, which is kept."""
    return mount.key if is_own(configuration) else named(mount.key or target)


def named(text: str) -> str:
    """A name for a text that may be none."""
    return UNNAMED.sub("-", text).strip("-._")[:64] or "root"


def key_secrets(configuration: Configuration) -> Iterator[tuple[str, Secret]]:
    """The keys of volumes that no secret is yet: the broker makes them."""
    known = {*configuration.secrets}
    for target, mount in configuration.mounts.items():
        key = key_of(target, mount, configuration) if mount.backing is Backing.ENCRYPTED else None
        if key is not None and meant(target, mount, configuration) and key not in known:
            known.add(key)
            yield key, Secret("aes-key")
