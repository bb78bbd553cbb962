"""The programs of tpm2-tools, started with lists of arguments.

A secret goes in and comes out by a pipe. Contexts and blobs, of which the one of a session is secret too, are in memory
files that have no name, and end with the object. The environment is empty: variables of tpm2-tss can have it log bytes.
"""

import contextlib
import os
import subprocess
from typing import Final, Self

from cloister.errors import Undecided, UsageError

__all__ = ["DEFAULT_TCTI", "TpmFailed", "TpmTools"]

DEFAULT_TCTI: Final = "device:/dev/tpmrm0"
SECONDS: Final = 60.0
"""For one program. Discrete TPMs take seconds for a primary key."""
LARGEST: Final = 1 << 16
ENVIRONMENT: Final = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/bin", "TSS2_LOG": "all+none", "LC_ALL": "C"}


class TpmFailed(Undecided):
    """A program could not do it: no TPM, a busy one, or something that this TPM did not make."""


class TpmTools:
    """A context manager: the TPM at one TCTI, as tpm2-tss names it, and memory files for what the programs hand on."""

    def __init__(self, tcti: str = DEFAULT_TCTI) -> None:
        self.tcti, self._files = tcti, dict[str, int]()
        # Without a resource manager, what a program leaves in the TPM stays there until nothing more has room.
        self._unmanaged = not tcti.startswith("tabrmd") and "tpmrm" not in tcti

    def file(self, name: str, data: bytes = b"") -> str:
        """The path of a memory file, under which the programs know it."""
        if name not in self._files:
            self._files[name] = os.memfd_create(name)
        if data:
            os.pwrite(self._files[name], data, 0)
        return f"/proc/self/fd/{self._files[name]}"

    def content(self, name: str) -> bytes:
        """What a program wrote into a memory file."""
        return os.pread(self._files[name], LARGEST, 0)

    def run(self, program: str, *arguments: str, data: bytes = b"") -> bytes:
        """Its standard output. TpmFailed if it fails, UsageError if it is not installed."""
        words = [program, "-T", self.tcti, "-Q", *arguments]
        try:
            done = subprocess.run(
                words, input=data, capture_output=True, timeout=SECONDS, check=False, env=ENVIRONMENT, cwd="/",
                pass_fds=tuple(self._files.values()),
            )  # fmt: skip
        except FileNotFoundError:
            raise UsageError(f"a TPM needs {program}: install tpm2-tools") from None
        except (OSError, subprocess.TimeoutExpired) as error:
            raise TpmFailed(f"the TPM {self.tcti}: {program} did not end ({type(error).__name__})") from None
        if self._unmanaged and program != "tpm2_flushcontext":
            with contextlib.suppress(TpmFailed):
                self.run("tpm2_flushcontext", "-t")
        if done.returncode != 0:  # its words are not repeated: they are for the log of a person who looks at no secret
            raise TpmFailed(
                f"the TPM {self.tcti}: {program} failed with exit status {done.returncode};"
                f" `tpm2_getcap -T {self.tcti} properties-fixed` tells whether there is one"
            )
        return done.stdout

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        for descriptor in self._files.values():
            with contextlib.suppress(OSError):
                os.close(descriptor)
        self._files.clear()
