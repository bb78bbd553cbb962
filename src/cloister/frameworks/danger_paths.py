"""Mistakes in Gramine's lists of files: what no mount shows, what nothing lists, a program that cannot be opened.

A file has to stand in a mount, which says where the program sees it, and in a list, which says that it may be opened
(Documentation/manifest-syntax.rst, "FS mount points" and "Trusted files"). One without the other is a "permission
denied" at run time, with the reason in a trace of some thousand lines.
"""

import posixpath
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Final

from cloister.frameworks import gramine
from cloister.frameworks.findings import Finding, Severity
from cloister.frameworks.model import Backing, Configuration, Item

__all__ = ["ENTRY", "findings_of_paths"]

ROOT: Final = "/"
HERE: Final = "."
FILE: Final = "file:"
LOADER: Final = ("loader", "entrypoint")
ENTRY: Final = "libos.entrypoint"
"""What other frameworks measure by itself, and Gramine only if it is listed."""


def findings_of_paths(configuration: Configuration) -> Iterator[Finding]:
    """What does not fit together; only for files that are whole manifests."""
    if configuration.format != gramine.NAME or configuration.program is None:
        return
    shown = dict(_shown(configuration))
    listed = {_plain(path): path for path in (*configuration.measured_files, *configuration.host_files)}
    listed |= {_plain(m.source): target for target, m in configuration.mounts.items() if m.backing is Backing.HOST}
    yield from _unseen(configuration, shown.values())
    yield from _unlisted(configuration, listed)
    yield from _program(configuration, shown, listed)


def _shown(configuration: Configuration) -> Iterator[tuple[str, str]]:
    """Where the program sees which path of the host. Without a root of its own, the working directory is the root."""
    if ROOT not in configuration.mounts:
        yield ROOT, HERE
    for target, mount in configuration.mounts.items():
        if mount.source is not None:
            yield target, _plain(mount.source)
    for path, file in configuration.measured_files.items():
        yield from ((target, _plain(path)) for target in file.targets)


def _plain(path: str | None) -> str:
    """A path without what means the same; `file:./a/` is `a`."""
    return posixpath.normpath(path or HERE)


def _inside(path: str, directory: str) -> bool:
    if directory == HERE:
        return not path.startswith((ROOT, ".."))
    return path == directory or path.startswith(f"{directory.rstrip(ROOT)}{ROOT}")


def _remark(configuration: Configuration, item: Item, key: str, reason: str, advice: str) -> Finding:
    place = configuration.place(item)
    return Finding(severity=Severity.NOTE, key=key, place=place, reason=reason, advice=advice)


def _unseen(configuration: Configuration, sources: Iterable[str]) -> Iterator[Finding]:
    """Listed files that are in no mount. Gramine's library OS needs none: its loader opens it."""
    loader = [str(one.value) for one in configuration.kept if one.path[:2] == LOADER]
    known = [*sources, *(_plain(one.removeprefix(FILE)) for one in loader)]
    for field, key in (("measured_files", "sgx.trusted_files"), ("host_files", "sgx.allowed_files")):
        for path in getattr(configuration, field):
            plain = _plain(path)
            if not any(_inside(plain, source) or _inside(source, plain) for source in known):
                yield _remark(
                    configuration, (field, path), f"{key}: {path}", "no mount shows it, so the program never sees it",
                    f'add {{ path = "...", uri = "file:{path}" }} to fs.mounts, or take it out',
                )  # fmt: skip


def _unlisted(configuration: Configuration, listed: Iterable[str]) -> Iterator[Finding]:
    """Mounts of which nothing is listed."""
    known = list(listed)
    for target, mount in configuration.mounts.items():
        if mount.backing is not Backing.MAPPED or target == ROOT or _allows_all(configuration):
            continue
        source = _plain(mount.source)
        if not any(_inside(path, source) or _inside(source, path) for path in known):
            yield _remark(
                configuration, ("mounts", target), f"fs.mounts: {target}",
                "nothing in it is trusted or allowed, so nothing in it can be opened",
                f'trust what is read there: sgx.trusted_files = ["file:{mount.source}/"]',
            )  # fmt: skip


def _allows_all(configuration: Configuration) -> bool:
    return any(one.path == ("sgx", "file_check_policy") and one.value != "strict" for one in configuration.kept)


def _program(configuration: Configuration, shown: dict[str, str], listed: dict[str, str]) -> Iterator[Finding]:
    """A program whose file is not listed."""
    program = posixpath.normpath(posixpath.join(configuration.working_directory or ROOT, configuration.program or ""))
    target = max((one for one in shown if _inside(program, posixpath.normpath(one))), key=len, default=None)
    mount = configuration.mounts.get(target or "")
    if target is None or _allows_all(configuration) or (mount is not None and mount.backing is Backing.ENCRYPTED):
        return
    path = posixpath.normpath(posixpath.join(shown[target], posixpath.relpath(program, target)))
    if any(_inside(path, _plain(one)) for one in configuration.measured_files):
        return
    advice = f'add "file:{path}" to sgx.trusted_files'
    if any(_inside(path, one) for one in listed):
        yield replace(
            _remark(configuration, ("program", ""), ENTRY, f"the host may change it: it is the host's {path}", advice),
            severity=Severity.DANGEROUS,
        )
        return
    reason = f"it is the host's {path}, which is not trusted: the program cannot be started"
    yield _remark(configuration, ("program", ""), ENTRY, reason, advice)
