"""Programs with injected files. The start block goes through a pipe, so the content stands in no file and no memfd."""

import contextlib
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cloister.launch.command import start_block
from cloister.launch.runtime_file import runtime_path

Files = Mapping[str, bytes]


def _feed(writer: int, block: bytes) -> None:
    with contextlib.suppress(BrokenPipeError), os.fdopen(writer, "wb") as pipe:
        pipe.write(block)


@contextlib.contextmanager
def started(
    argv: Sequence[str],
    files: Files,
    *,
    environment: Mapping[str, str] = os.environ,
    directory: str = "",
    wrapper: Sequence[str] = (),
    **popen: Any,
) -> Iterator[subprocess.Popen[bytes]]:
    """The program of `argv` in the enclave; `wrapper` is a command that executes another, `popen` as Popen has it."""
    program = shutil.which(argv[0])
    assert program, argv[0]
    block = start_block(argv, environment, directory=directory, files=files)
    reader, writer = os.pipe2(os.O_CLOEXEC)
    command = [*wrapper, str(runtime_path()), f"--start-fd={reader}", "--", os.path.realpath(program), argv[0]]
    feeder = threading.Thread(target=_feed, args=(writer, block))
    try:
        process = subprocess.Popen(command, pass_fds=(reader,), **popen)
    finally:
        os.close(reader)
    feeder.start()
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        feeder.join()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream:
                stream.close()


def run(
    argv: Sequence[str], files: Files, *, stdin: bytes = b"", seconds: float = 60, **popen: Any
) -> subprocess.CompletedProcess[bytes]:
    """Run to the end."""
    pipe = subprocess.PIPE
    with started(argv, files, stdin=pipe, stdout=pipe, stderr=pipe, **popen) as process:
        output, errors = process.communicate(stdin, timeout=seconds)
        return subprocess.CompletedProcess(argv, process.returncode, output, errors)
