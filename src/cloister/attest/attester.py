"""The host's attester: what it saw of an enclave, and what the runtime in it states, signed by the host's key.

The host sees itself which runtime runs, by which kernel, under which guard (`tree`). Which program that runtime
measured, only the runtime knows. It is believed once: the first statement of a tree, from the process that was started
as the runtime, before the program in it has run. Everything later is evidence for that same statement.
"""

import contextlib
import hashlib
import os
import threading
from dataclasses import replace
from pathlib import Path
from typing import Final

from cloister.attest.frames import Statement
from cloister.attest.host_key import HostKey
from cloister.attest.peer import Process
from cloister.attest.tree import Tree
from cloister.errors import NotAttested
from cloister.evidence.software import BOOT_ID, DIGEST, LONGEST_KERNEL, Admission, SoftwareEvidence

__all__ = ["Attester", "boot_id", "secure_boot"]

SECURE_BOOT: Final = Path("/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c")
"""UEFI specification, 3.3: global variables. Four bytes of attributes stand before the value."""


class Attester:
    """Makes the evidence of one tree. `libraries` is the digest of the manifest that the runtime was given."""

    def __init__(self, key: HostKey, tree: Tree, libraries: bytes) -> None:
        self._key, self._key_id = key, hashlib.sha256(key.spki).digest()
        self._tree, self._libraries = tree, libraries
        self._statement: Statement | None = None
        self._lock = threading.Lock()

    def begin(self, peer: Process, *, guarded: bool) -> None:
        """The runtime greets. NotAttested if it is not the tree's first process, or greets again."""
        with self._lock:
            self._tree.begin(peer, guarded=guarded)

    def expect(self, peer: Process) -> None:
        """NotAttested for a stranger."""
        with self._lock:
            self._tree.expect(peer)

    def believe(self, statement: Statement) -> None:
        """The statement of who greeted: the first, with the manifest that it was given. NotAttested."""
        with self._lock:
            if self._statement is not None:
                raise NotAttested("this enclave has made its statement; a second one is not believed")
            if statement.libraries != self._libraries:
                raise NotAttested("the statement is about another list of files than the enclave was given")
            self._statement = statement

    def end(self) -> None:
        """The start failed: nothing more is vouched for."""
        with self._lock:
            self._statement = None

    def check(self, peer: Process, statement: Statement | None = None) -> None:
        """NotAttested if the peer is not of the tree, or what it states of the program is not what was stated first."""
        with self._lock:
            self._tree.check(peer)
            if self._statement is None:
                raise NotAttested("the program has not been attested yet")
            if statement is not None and statement.measured != self._statement.measured:
                raise NotAttested("the statement is about another program than the one that was attested")

    def evidence(self, report_data: bytes) -> bytes:
        """Signed evidence with these report data, for the statement that was believed."""
        stated = self._statement
        if stated is None:
            raise NotAttested("the program has not been attested yet")
        unsigned = SoftwareEvidence(
            algorithm=self._key.algorithm, key_id=self._key_id, report_data=report_data, executable=stated.executable,
            libraries=stated.libraries, runtime=self._tree.runtime, loaded=bytes(DIGEST), guard=self._tree.state,
            admission=Admission.STRICT, kernel=os.uname().release[:LONGEST_KERNEL], boot_id=boot_id(),
            secure_boot=secure_boot(),
        )  # fmt: skip
        signature = self._key.sign(unsigned.message.to_be_signed())
        return replace(unsigned, signature=signature).serialize()


def boot_id() -> bytes:
    """The kernel's identifier of this boot; empty if it does not say."""
    with contextlib.suppress(OSError, ValueError):
        found = bytes.fromhex(Path("/proc/sys/kernel/random/boot_id").read_text().strip().replace("-", ""))
        return found if len(found) == BOOT_ID else b""
    return b""


def secure_boot(variable: Path = SECURE_BOOT) -> bool | None:
    """Whether the firmware says that it booted with Secure Boot; None if there is no such firmware."""
    try:
        content = variable.read_bytes()
    except OSError:
        return None
    return content[4:] == b"\1" if len(content) == 5 else None
