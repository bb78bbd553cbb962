"""Programs in the enclave with regions of files, started from a shield block: without a policy and `cloister run`."""

import os
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cloister.launch import _abi
from cloister.launch.command import find_program, start_block
from cloister.launch.runtime_file import runtime_path
from cloister.launch.start_pipe import filled_pipe
from cloister.shield.volume.checking import check
from cloister.shield.volume.container import Container, VolumeRoot
from cloister.shield.volume.keys import VolumeKey
from cloister.shield.volume.reading import Volume
from cloister.shield_policy.block import ShieldBlock
from cloister.shield_policy.entries import FilesEntry
from cloister.shield_policy.words import FileKind

__all__ = ["Shielded"]

KEY_SIZE = 32


@dataclass
class Shielded:
    """A volume at /data in `directory`, made when it is first used, and whatever else `regions` says."""

    directory: Path
    kind: FileKind = FileKind.ENCRYPTED
    cache: int = 0
    generation: int = 0
    digest: bytes = bytes(32)
    read_only: bool = False
    memory: bool = False
    environment: dict[str, str] = field(default_factory=lambda: {"PATH": "/usr/bin:/bin"})

    @property
    def volume(self) -> Path:
        """The container."""
        return self.directory / "volume"

    @property
    def key(self) -> Path:
        """The key file, made when it is first asked for."""
        path = self.directory / "key"
        if not path.exists():
            VolumeKey.make(path).close()
        return path

    def block(self) -> bytes:
        """What the runtime is told."""
        data = FilesEntry(
            kind=self.kind, path="/data", container=str(self.volume), key=self.key.read_bytes()[-KEY_SIZE:],
            create=not self.generation and not self.read_only, read_only=self.read_only, generation=self.generation,
            digest=self.digest, cache=self.cache, name="/data",
        )  # fmt: skip
        entries = [data]
        if self.memory:
            entries.append(FilesEntry(kind=FileKind.MEMORY, path="/memory", name="/memory"))
        return ShieldBlock(strict=False, network=False, entries=tuple(entries)).serialize()

    def start(self, words: Sequence[str], **more: Any) -> "subprocess.Popen[str]":
        """The program, with pipes."""
        pipe = filled_pipe(start_block([*words], self.environment, shield=self.block(), directory="/"))
        runtime, start = str(runtime_path()), f"{_abi.OPTION_START_FD}{pipe}"
        command = [runtime, start, _abi.OPTION_SHIELD, "--", str(find_program(words[0])), words[0]]
        kinds: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE) | more
        try:
            return subprocess.Popen(
                command, text=True, pass_fds=(pipe,), env=self.environment, start_new_session=True, **kinds
            )
        finally:
            os.close(pipe)

    def run(self, *words: str, given: str = "", seconds: float = 60.0) -> "subprocess.CompletedProcess[str]":
        """The program, to its end."""
        with self.start(words) as process:
            try:
                output, errors = process.communicate(given, timeout=seconds)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                output, errors = process.communicate()
                raise AssertionError(f"{words}: not done after {seconds} s; so far:\n{output}{errors}") from None
        return subprocess.CompletedProcess(words, process.returncode, output, errors)

    def tree(self) -> "dict[bytes, bytes | None]":
        """What is in the volume, after the Python reader has checked all of it."""
        with VolumeKey.read(self.key) as key, Container(self.volume, key) as container:
            reader = Volume(container)
            check(reader)
            return {
                path: None if reader.inode(number).is_directory else b"".join(reader.content(number))
                for path, number in reader.walk()
            }

    def root(self) -> VolumeRoot:
        """That of the newest committed state."""
        with VolumeKey.read(self.key) as key, Container(self.volume, key) as container:
            return container.root
