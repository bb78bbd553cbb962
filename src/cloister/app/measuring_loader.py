"""What the dynamic loader would load for a program, asked of the loader itself; the program does not run.

A program names its loader (PT_INTERP), and would so have any program run in the name of whoever measures it. So only
the loaders of the C libraries are asked.
"""

import os
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

from cloister.errors import CannotEnclave, NotFound

__all__ = ["loaded_by"]

LOADERS: Final = {
    "/lib64/ld-linux-x86-64.so.2": ("/etc/ld.so.cache", "/etc/ld.so.preload"),
    "/lib/ld-musl-x86_64.so.1": (),
}
"""loader -> what it reads to find libraries."""
DEPTH: Final = 5
"""Scripts in a row that the kernel follows."""
ELF, CLASS_64, PT_INTERP, HEADER, SEGMENT, LONGEST = b"\x7fELF", 2, 3, 64, 56, 4096


def loaded_by(program: str) -> list[str]:
    """The files that come in when this program starts, by the names that they are opened by, without itself.

    For a script: its interpreter, and what that loads. NotFound for a library that the loader does not find.
    """
    found: list[str] = []
    for _ in range(DEPTH):
        interpreter = _script_interpreter(program)
        if not interpreter:
            break
        found.append(program := interpreter)
    loader = _loader(program)
    if loader:
        found += [loader, *filter(os.path.exists, LOADERS[loader]), *_listed(loader, program)]
    return list(dict.fromkeys(found))


def _script_interpreter(path: str) -> str:
    """What the `#!` line names; empty if there is none."""
    with _opened(path) as file:
        line = file.read(LONGEST).partition(b"\n")[0]
    words = line[2:].split(maxsplit=1) if line.startswith(b"#!") else []
    return os.fsdecode(words[0]) if words else ""


def _loader(path: str) -> str:
    """The program's own loader, one of those that are asked; empty for a static program."""
    with _opened(path) as file:
        header = file.read(HEADER)
        if not header.startswith(ELF) or len(header) < HEADER or header[4] != CLASS_64:
            raise CannotEnclave(f"{path}: not a 64-bit ELF program or a #! script, so it cannot be enclaved")
        (start,), (count,) = struct.unpack_from("<Q", header, 32), struct.unpack_from("<H", header, 56)
        file.seek(start)
        table = file.read(count * SEGMENT)
        for kind, _, offset, _, _, size in struct.iter_unpack("<IIQQQQ16x", table[: len(table) // SEGMENT * SEGMENT]):
            if kind == PT_INTERP:
                file.seek(offset)
                name = os.fsdecode(file.read(min(size, LONGEST)).rstrip(b"\0"))
                if name not in LOADERS:
                    raise CannotEnclave(
                        f"{path}: names {name} as its loader, which is not asked because it could be any program; "
                        f"if you trust it: cloister measure --learn {path}"
                    )
                return name
    return ""


def _listed(loader: str, program: str) -> Iterator[str]:
    """The paths in the loader's list: `libz.so.1 => /lib/libz.so.1 (0x...)` or `/lib64/ld.so (0x...)`."""
    kept = {name: os.environ[name] for name in ("LD_LIBRARY_PATH", "LD_PRELOAD") if name in os.environ}
    done = subprocess.run([loader, "--list", program], capture_output=True, check=False, env={"LC_ALL": "C", **kept})
    if done.returncode != 0:
        message = os.fsdecode(done.stderr).strip()
        raise NotFound(f"{program}: its loader does not find what it needs: {message}")
    for line in os.fsdecode(done.stdout).splitlines():
        name, _, target = line.strip().rpartition(" (")[0].partition(" => ")
        if line.endswith("not found"):
            raise NotFound(f"{line.strip().partition(' ')[0]}: {program} needs it, and its loader does not find it")
        path = target or name
        if path.startswith("/"):
            yield os.path.normpath(path)


def _opened(path: str) -> BinaryIO:
    try:
        return Path(path).open("rb")
    except OSError as error:
        raise NotFound(f"{path}: {error.strerror}") from error
