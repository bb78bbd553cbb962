"""From a program and its arguments to the command line that starts it in the software enclave.

Everything `cloister run` imports delays the program it starts. dataclasses, pathlib and typing, with what they import,
take longer than all the rest, so this package and `cloister.cli.run` do without them.
"""

import os
import stat
from collections.abc import Mapping, Sequence

from cloister.errors import NotExecutable, NotFound, UsageError
from cloister.launch import _abi
from cloister.launch.runtime_file import runtime_path

__all__ = ["RuntimeOptions", "enclave_command", "find_program", "start_block"]

_UNIX_PATH_MAX = 107  # sockaddr_un.sun_path without its NUL, unix(7)

StrPath = str | os.PathLike[str]


class RuntimeOptions:
    """What the runtime is asked for besides running the program (runtime/include/cloister_abi.h).

    start_fd: descriptor from which the runtime reads argv and environment (see `start_block`).
    checkpoint: unix socket on which an observer wants to be asked before a process starts and ends.
    report: file to which each process appends one JSON line of counters when it ends.
    manifest_fd: descriptor of the manifest of measured files: nothing else becomes code (`launch.strict`).
    attester: unix socket of the carrier that provisions the program (runtime/src/provision.h).
    learn: file to which each process appends what it opens and executes (runtime/src/learn.h).
    shield: the start block says what is shielded.
    unsafe_no_guard: leave ptrace open to root and the same user, so that tools like strace can attach.
    console_fd, set later: descriptor of the socket for a shielded console's output (runtime/shield/console.h).
    """

    def __init__(
        self,
        *,
        start_fd: int | None = None,
        checkpoint: StrPath | None = None,
        report: StrPath | None = None,
        manifest_fd: int | None = None,
        attester: StrPath | None = None,
        learn: StrPath | None = None,
        shield: bool = False,
        unsafe_no_guard: bool = False,
    ) -> None:
        self.start_fd = start_fd
        self.checkpoint = checkpoint
        self.report = report
        self.manifest_fd = manifest_fd
        self.attester = attester
        self.learn = learn
        self.shield = shield
        self.console_fd: int | None = None
        self.unsafe_no_guard = unsafe_no_guard

    def words(self) -> list[str]:
        """The options as the runtime's command line spells them."""
        words = []
        if self.start_fd is not None:
            words.append(f"{_abi.OPTION_START_FD}{self.start_fd}")
        if self.checkpoint is not None:
            words.append(_abi.OPTION_CHECKPOINT + _socket_path(self.checkpoint))
        if self.report is not None:
            words.append(_abi.OPTION_REPORT + os.path.join(os.getcwd(), self.report))
        if self.manifest_fd is not None:
            words.append(f"{_abi.OPTION_MANIFEST_FD}{self.manifest_fd}")
        if self.attester is not None:
            words.append(_abi.OPTION_ATTESTER + _socket_path(self.attester))
        if self.learn is not None:
            words.append(_abi.OPTION_LEARN + os.path.join(os.getcwd(), self.learn))
        if self.shield:
            words.append(_abi.OPTION_SHIELD)
        if self.console_fd is not None:
            words.append(f"{_abi.OPTION_CONSOLE_FD}{self.console_fd}")
        if self.unsafe_no_guard:
            words.append(_abi.OPTION_UNSAFE_NO_GUARD)
        return words


def _socket_path(path: StrPath) -> str:
    if len(os.fsencode(path)) > _UNIX_PATH_MAX:
        raise UsageError(f"{path}: a socket path has at most {_UNIX_PATH_MAX} bytes; use a shorter directory")
    return os.fspath(path)


def find_program(name: str, environment: Mapping[str, str] = os.environ) -> str:
    """The path that execvp(3) would execute for `name`: as given if it has a slash, else looked up in PATH.

    Raises `NotFound`, or `NotExecutable` if something is there but may not be executed.
    """
    if not name:
        raise NotFound("the program's name is empty")  # execvp(3): ENOENT
    places = [""] if "/" in name else [f"{place or '.'}/" for place in os.get_exec_path(environment)]
    candidates = [place + name for place in places]
    for path in candidates:
        if _is_executable(path):
            return path
    for path in candidates:
        if os.path.exists(path):
            raise NotExecutable(f"{path}: found, but it is not an executable file; chmod +x makes it one")
    if "/" in name:
        raise NotFound(f"{name}: no such program; check the path")
    raise NotFound(f"{name}: no such program in PATH; give its path, or install it")


def _is_executable(path: str) -> bool:
    try:
        return stat.S_ISREG(os.stat(path).st_mode) and os.access(path, os.X_OK, effective_ids=True)
    except OSError:
        return False


def enclave_command(program: str, args: Sequence[str], options: RuntimeOptions | None = None) -> list[str]:
    """The argument list that starts `program` with `args` (without argv[0]) in the software enclave."""
    path = find_program(program)
    return [runtime_path(), *(options or RuntimeOptions()).words(), "--", path, program, *args]


def start_block(
    argv: Sequence[str],
    environment: Mapping[str, str],
    *,
    directory: str = "",
    files: Mapping[str, bytes] | None = None,
    shield: bytes = b"",
) -> bytes:
    """The bytes that `RuntimeOptions.start_fd` delivers (runtime/include/cloister_abi.h).

    u32 argc, u32 envc, then u32 length + bytes for each string; strings of the environment are NAME=VALUE. With a
    directory to work in, files that exist only inside (absolute path -> content) or a shield block
    (docs/formats/shield.md), these follow. All numbers are little-endian. Raises `UsageError` for a string the kernel
    could not pass either (a NUL in it), for a file's path that is not absolute and plain, or for more than the runtime
    reads.
    """
    strings = [os.fsencode(word) for word in argv]
    strings += [os.fsencode(name) + b"=" + os.fsencode(value) for name, value in environment.items()]
    if any(b"\0" in text for text in [*strings, os.fsencode(directory)]):
        raise UsageError("an argument, an environment variable or the working directory contains a NUL byte")
    if len(strings) > _abi.START_MAX_STRINGS or sum(map(len, strings)) > _abi.START_MAX_BYTES:
        raise UsageError("arguments and environment are larger than a start block may be")
    block = _u32(len(argv)) + _u32(len(environment)) + b"".join(map(_sized, strings))
    if directory or files or shield:
        block += _sized(os.fsencode(directory)) + _files_part(files or {})
    if shield:
        block += _sized(shield)
    if len(block) >= _abi.FRAME_MAX_BYTES:
        raise UsageError("arguments, environment, files and shields are larger than a start block may be")
    return block


def _files_part(files: Mapping[str, bytes]) -> bytes:
    for path in files:
        plain = path.startswith("/") and os.path.normpath(path) == path and "\0" not in path
        if not plain or path.startswith("//") or path == "/":
            raise UsageError("the path of an injected file must be absolute, without '.', '..' and doubled slashes")
    return _u32(len(files)) + b"".join(_sized(os.fsencode(path)) + _sized(data) for path, data in files.items())


def _u32(number: int) -> bytes:
    return number.to_bytes(4, "little")


def _sized(data: bytes) -> bytes:
    return _u32(len(data)) + data
