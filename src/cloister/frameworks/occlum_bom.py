"""Occlum's bom.yaml: what `copy_bom` copies into the image, which is measured as a whole.

Keys: Occlum, tools/copy_bom/src/bom.rs and tools/copy_bom/example.yaml. A target is a directory of the image; what is
copied there comes from the host, below `from`. A directory that ends with a slash is copied without its own name.
`copy_bom` adds the libraries that a program needs, unless `autodep: false` says otherwise; they are not listed.
"""

import posixpath
import re
from collections.abc import Mapping
from typing import Final

from cloister.frameworks.draft import Draft, Values
from cloister.frameworks.model import Configuration, MeasuredFile
from cloister.frameworks.source import read_yaml_file
from cloister.frameworks.table import Key, Kind, Sheet
from cloister.frameworks.writing import write_yaml

__all__ = ["CANNOT", "ELSE", "NAME", "TABLE", "read", "write"]

NAME: Final = "occlum-bom"
SOURCE: Final = "tools/copy_bom/src/bom.rs"
SHA256: Final = re.compile("[0-9a-fA-F]{64}")
TEXT, TRUTH = Kind.TEXT, Kind.TRUTH


def _key(path: str, kind: Kind = TEXT, concept: str = "") -> Key:
    return Key(path, kind, concept, SOURCE)


COPY: Final = "targets[].copy[]"
TABLE: Final[tuple[Key, ...]] = (
    _key("includes[]"),
    _key("excludes[]"),
    _key("targets[].target", TEXT, "measured_files"),
    _key("targets[].mkdirs[]", TEXT, "directories"),
    _key("targets[].createlinks[].src", TEXT, "links"),
    _key("targets[].createlinks[].linkname", TEXT, "links"),
    _key(f"{COPY}.from", TEXT, "measured_files"),
    _key(f"{COPY}.dirs[]", TEXT, "measured_files"),
    _key(f"{COPY}.files[]", TEXT, "measured_files"),
    _key(f"{COPY}.files[].name", TEXT, "measured_files"),
    _key(f"{COPY}.files[].hash", TEXT, "measured_files"),
    _key(f"{COPY}.files[].autodep", TRUTH, "measured_files"),
    _key(f"{COPY}.files[].rename", TEXT, "measured_files"),
)
ELSE: Final = "bom.yaml lists what is in the image; the rest stands in Occlum.json: --to occlum"
CANNOT: Final[Mapping[str, str]] = {
    "measured_files": "in the image every file has an absolute path: a relative one is taken to be in /",
}


def read(text: str, name: str) -> Configuration:
    """A bom.yaml; PolicyError with file and line if it is none. Files that it includes are not read, but named."""
    draft = Draft(NAME, Sheet(read_yaml_file(text, name), TABLE))
    for number in range(draft.sheet.count("targets")):
        at = ("targets", number)
        target = draft.sheet.text(*at, "target")
        if target is None:
            raise draft.sheet.error(at, "has no target")
        draft.element(*at)
        _read_made(draft, target, *at)
        for index in range(draft.sheet.count(*at, "copy")):
            _read_copied(draft, target, *at, "copy", index)
    return draft.finish()


def _read_made(draft: Draft, target: str, *at: str | int) -> None:
    """Directories and links that are made there."""
    sheet = draft.sheet
    for number in range(sheet.count(*at, "mkdirs")):
        path = posixpath.join(target, sheet.text(*at, "mkdirs", number) or "")
        draft.add("directories", path, "", *at, "mkdirs", number)
    for number in range(sheet.count(*at, "createlinks")):
        where = (*at, "createlinks", number)
        source, link = sheet.text(*where, "src"), sheet.text(*where, "linkname")
        if source is None or link is None:
            raise sheet.error(where, "needs src and linkname")
        draft.element(*where)
        draft.add("links", posixpath.join(target, link), source, *where)


def _read_copied(draft: Draft, target: str, *at: str | int) -> None:
    sheet = draft.sheet
    start = sheet.text(*at, "from")
    draft.element(*at)
    if not sheet.count(*at, "dirs") and not sheet.count(*at, "files"):
        if start is None:
            raise sheet.error(at, "copies nothing: it needs from, dirs or files")
        _add(draft, f"{start.rstrip('/')}/", target, MeasuredFile(), *at)
    for number in range(sheet.count(*at, "dirs")):
        path = posixpath.join(start or "", sheet.text(*at, "dirs", number) or "")
        inside = target if path.endswith("/") else posixpath.join(target, posixpath.basename(path))
        _add(draft, f"{path.rstrip('/')}/", inside, MeasuredFile(), *at, "dirs", number)
    for number in range(sheet.count(*at, "files")):
        _read_file(draft, target, start or "", *at, "files", number)


def _read_file(draft: Draft, target: str, start: str, *at: str | int) -> None:
    sheet = draft.sheet
    name = sheet.text(*at) or sheet.text(*at, "name")
    digest, own = sheet.text(*at, "hash"), sheet.truth(*at, "autodep")
    if name is None or (digest is not None and not SHA256.fullmatch(digest)):
        raise sheet.error(at, "needs a name, and may have a hash of 64 hexadecimal digits")
    draft.element(*at)
    path = posixpath.join(start, name)
    inside = posixpath.join(target, sheet.text(*at, "rename") or posixpath.basename(path))
    options = () if own is None else (("autodep", own),)
    file = MeasuredFile(sha256=None if digest is None else digest.lower(), options=options)
    _add(draft, path, inside, file, *at)


def _add(draft: Draft, path: str, inside: str, file: MeasuredFile, *at: str | int) -> None:
    draft.add_file(path, MeasuredFile((inside,), file.sha256, file.options), *at)


def write(configuration: Configuration) -> str:
    """A bom.yaml of the files that are measured: one target for each directory of the image."""
    made = Values()
    places: dict[str, int] = {}

    def at(target: str) -> tuple[str | int, ...]:
        """The target of that directory, begun if there is none."""
        if target not in places:
            places[target] = len(places)
            made.append(("targets",), {"target": target})
        return ("targets", places[target])

    for path in configuration.directories:
        made.append((*at(posixpath.dirname(path) or "/"), "mkdirs"), posixpath.basename(path))
    for path, source in configuration.links.items():
        link = {"src": source, "linkname": posixpath.basename(path)}
        made.append((*at(posixpath.dirname(path) or "/"), "createlinks"), link)
    for path, file in configuration.measured_files.items():
        comment = configuration.notes.get(("measured_files", path))
        for target in file.targets or (path,):
            inside = posixpath.join("/", target)
            if path.endswith("/"):
                made.append((*at(inside.rstrip("/") or "/"), "copy", 0, "dirs"), path, comment)
                continue
            entry = _entry(path, inside, file, own=configuration.format == NAME)
            made.append((*at(posixpath.dirname(inside) or "/"), "copy", 0, "files"), entry, comment)
    made.put_kept(configuration, NAME)
    made.put_needed({"targets": []})
    return write_yaml(made.values, made.comments)


def _entry(path: str, inside: str, file: MeasuredFile, *, own: bool) -> object:
    """A file as its name alone, if there is no more to say."""
    more: dict[str, object] = {"name": path}
    if file.sha256 is not None:
        more["hash"] = file.sha256
    if posixpath.basename(inside) != posixpath.basename(path):
        more["rename"] = posixpath.basename(inside)
    if own:
        more |= dict(file.options)
    return more if len(more) > 1 else path
