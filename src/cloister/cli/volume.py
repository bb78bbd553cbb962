"""Volumes: a tree of files in one file of ciphertext, for whoever shall store it and not read it.

Whoever has the key reads the volume; everybody else sees how large it is, and cannot change it unnoticed. An older
volume in place of the newest is noticed by its root (GENERATION:SHA-256), which `create`, `verify` and `rekey` print:
keep it where the administrator of the volume's machine cannot change it, and give it with --root.
"""

import argparse
import contextlib
import json
import os
import stat
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Self

from cloister.cli._actions import add_actions
from cloister.errors import UsageError
from cloister.quantities import counted, human_size
from cloister.seal.core_dump_unsafe import forbid_core_dumps
from cloister.seal.fresh_file import FreshFile, fresh_file
from cloister.shield.volume.building import Builder
from cloister.shield.volume.checking import check
from cloister.shield.volume.container import Container, VolumeRoot
from cloister.shield.volume.importing import import_directory, import_volume
from cloister.shield.volume.keys import VolumeKey
from cloister.shield.volume.layout import Inode, Mode
from cloister.shield.volume.reading import Volume

__all__ = ["build_parser", "run"]

EPILOG: Final = """\
examples:
  cloister volume create --key data.key data.volume                  an empty volume, and its key if there is none
  cloister volume create --key data.key --from ./data data.volume    with everything below ./data
  cloister volume ls --key data.key data.volume                      every path, like ls -l
  cloister volume cat --key data.key data.volume etc/passwd > out    one file
  cloister volume verify --key data.key --root 3:6d0d... data.volume    reads everything; nothing changed, nothing older
  cloister volume rekey --key data.key --new-key new.key data.volume new.volume

The contents of `ls` and `cat` leave the protection of the volume: they go where standard output goes.

exit codes:
  0    done; verify: everything is right, and the root is the given one
  2    the command line, the key or a file is wrong; no volume was written
  5    the volume is not what its key's holder wrote: changed, cut off, moved, older than --root, or of another key
"""
INTERVAL: Final = 0.5


def build_parser(parser: argparse.ArgumentParser) -> None:
    """Options of `cloister volume`."""
    add_actions(parser, EPILOG, {name: (summary, options) for name, (summary, options, _) in ACTIONS.items()})


def run(args: argparse.Namespace) -> int:
    """Do what is asked for; the exit code."""
    forbid_core_dumps()
    ACTIONS[args.action][2](args)
    return 0


def _volume(parser: argparse.ArgumentParser, *, root: bool = True) -> None:
    parser.add_argument("--key", type=Path, required=True, metavar="FILE", help="the volume's key, for its owner only")
    parser.add_argument("volume", type=Path, metavar="VOLUME")
    if root:
        parser.add_argument("--root", metavar="GENERATION:HEX", help="refuse any state but this one")


def _create_options(parser: argparse.ArgumentParser) -> None:
    _volume(parser, root=False)
    parser.add_argument("--from", dest="source", type=Path, metavar="DIR", help="what it shall hold (nothing)")
    parser.add_argument(
        "--authenticated",
        action="store_true",
        help="do not encrypt it: everybody can read it, nobody change it unnoticed",
    )


def _list_options(parser: argparse.ArgumentParser) -> None:
    _volume(parser)
    parser.add_argument("path", nargs="?", default="", metavar="PATH", help="a directory or file in it")
    parser.add_argument("--json", action="store_true", help="print one JSON document on standard output")


def _cat_options(parser: argparse.ArgumentParser) -> None:
    _volume(parser)
    parser.add_argument("path", metavar="PATH")


def _verify_options(parser: argparse.ArgumentParser) -> None:
    _volume(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON document on standard output")


def _rekey_options(parser: argparse.ArgumentParser) -> None:
    _volume(parser)
    parser.add_argument("--new-key", type=Path, required=True, metavar="FILE", help="made if there is none")
    parser.add_argument("new_volume", type=Path, metavar="NEW-VOLUME")


def _create(args: argparse.Namespace) -> None:
    mode = Mode.AUTHENTICATED if args.authenticated else Mode.ENCRYPTED
    with fresh_file(args.volume) as file, _key(args.key) as key:
        builder = Builder(file, key, mode)
        with _Progress("read") as progress:
            import_directory(builder, args.source, progress.bytes)
        _publish(file, builder, args.volume)


def _list(args: argparse.Namespace) -> None:
    with _opened(args) as volume:
        start = volume.find(args.path)
        if volume.inode(start).is_directory:
            found = list(volume.walk(start, _prefix(args.path)))
        else:
            found = [(os.fsencode(args.path), start)]
        rows = [(path, volume.inode(number), _target(volume, number)) for path, number in found]
    if args.json:
        print(json.dumps([_as_json(*row) for row in rows], indent=2))
        return
    for path, inode, target in rows:
        when = time.strftime("%Y-%m-%d %H:%M", time.gmtime(inode.mtime // 10**9))
        arrow = f" -> {_shown(target)}" if target is not None else ""
        owner = f"{inode.uid}:{inode.gid}"
        print(f"{stat.filemode(inode.mode)} {inode.links:2} {owner:>9} {inode.size:>12} {when} {_shown(path)}{arrow}")


def _cat(args: argparse.Namespace) -> None:
    with _opened(args) as volume:
        number = volume.find(args.path)
        if not stat.S_ISREG(volume.inode(number).mode):
            raise UsageError(f"{args.path} is no file in {args.volume}: `cloister volume ls` shows what is there")
        for piece in volume.content(number):
            sys.stdout.buffer.write(piece)


def _verify(args: argparse.Namespace) -> None:
    with _opened(args) as volume, _Progress("verified") as progress:
        checked, root, torn = check(volume, progress.blocks), volume.container.root, volume.container.torn
    if args.json:
        facts = {"root": str(root), "files": checked.files, "directories": checked.directories, "bytes": checked.bytes}
        print(json.dumps({"verified": True, **facts, "blocks": checked.blocks, "one_superblock": torn}, indent=2))
        return
    directories = counted(checked.directories, "directory", "directories")
    print(f"{args.volume}: right, {counted(checked.files, 'file')} in {directories}, {human_size(checked.bytes)}")
    print(f"root {root}" + ("" if args.root else "; nobody said which is the newest: --root"))
    if torn:
        print("one of its two superblocks is not right: writing was cut off, or somebody changed it", file=sys.stderr)


def _rekey(args: argparse.Namespace) -> None:
    with _opened(args) as volume, fresh_file(args.new_volume) as file, _key(args.new_key) as key:
        builder = Builder(file, key, volume.container.superblock.mode)
        with _Progress("written") as progress:
            import_volume(builder, volume, progress.bytes)
        _publish(file, builder, args.new_volume)
    print(f"{args.volume} is as it was: remove it, and its key, when the new one is in use", file=sys.stderr)


def _publish(file: FreshFile, builder: Builder, path: Path) -> None:
    root = builder.finish()
    file.publish()
    print(root)
    print(f"{path} is made; above stands its root", file=sys.stderr)


def _key(path: Path) -> VolumeKey:
    """The key in that file, or a new one if there is none."""
    if os.path.lexists(path):
        return VolumeKey.read(path)
    key = VolumeKey.make(path)
    print(f"made the key {path}: whoever has it reads the volume, and without it nobody does", file=sys.stderr)
    return key


@contextlib.contextmanager
def _opened(args: argparse.Namespace) -> Iterator[Volume]:
    with VolumeKey.read(args.key) as key, Container(args.volume, key) as container:
        if args.root:
            VolumeRoot.parse(args.root).require(container.root, args.volume)
        yield Volume(container)


def _prefix(path: str) -> bytes:
    parts = [part for part in path.split("/") if part not in {"", "."}]
    return os.fsencode("/".join(parts) + "/") if parts else b""


def _target(volume: Volume, number: int) -> bytes | None:
    return volume.link_target(number) if stat.S_ISLNK(volume.inode(number).mode) else None


def _shown(path: bytes) -> str:
    """Names are bytes; what would steer a terminal is written with escapes."""
    text = path.decode(errors="surrogateescape")
    return text if text.isprintable() else ascii(text)[1:-1]


def _as_json(path: bytes, inode: Inode, target: bytes | None) -> dict[str, object]:
    known = {"mode": f"{inode.mode:o}", "links": inode.links, "uid": inode.uid, "gid": inode.gid, "size": inode.size}
    return {"path": _shown(path), **known, "mtime_ns": inode.mtime} | (
        {"target": _shown(target)} if target is not None else {}
    )


class _Progress:
    """A line on a terminal, twice a second; nothing anywhere else."""

    def __init__(self, what: str) -> None:
        self._what, self._terminal, self._next, self._said = (
            what,
            sys.stderr.isatty(),
            time.monotonic() + INTERVAL,
            False,
        )

    def bytes(self, done: int) -> None:
        self._say(human_size(done))

    def blocks(self, done: int, total: int) -> None:
        self._say(f"{done:,} of {total:,} blocks")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._said:
            print(file=sys.stderr)

    def _say(self, amount: str) -> None:
        if self._terminal and time.monotonic() >= self._next:
            self._next, self._said = time.monotonic() + INTERVAL, True
            print(f"\r{self._what} {amount}", end="", file=sys.stderr, flush=True)


ACTIONS: Final = {
    "create": ("make a volume", _create_options, _create),
    "ls": ("list what is in a volume", _list_options, _list),
    "cat": ("write a file of a volume to standard output", _cat_options, _cat),
    "verify": ("read a whole volume, and say whether everything is right", _verify_options, _verify),
    "rekey": ("write a volume anew under another key", _rekey_options, _rekey),
}
