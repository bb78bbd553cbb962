"""A key in a TPM 2.0: the database's key sealed to this one chip, by the programs of tpm2-tools.

    tpm2_createprimary    the parent, which the TPM derives anew from its owner seed: TPM2_Clear ends it
    tpm2_create           SHA-256 of the context and the key, sealed; what comes out, only this TPM opens
    tpm2_load, _unseal    back

On the bus they are encrypted, by a session that is salted to the parent: against who listens, not who sits between. The
sealed object is not bound to PCRs: whoever may talk to the TPM of the running machine (root, the group `tss`) has it.
`cloister.seal.tpm` is another way to a TPM, through a library; this one needs programs that every distribution has.
"""

import contextlib
import hashlib
import threading
from collections.abc import Iterator
from typing import Final

from cloister.broker.secrets_key import SecretUnreadable
from cloister.errors import Undecided
from cloister.serve.keys.tpm_tools import DEFAULT_TCTI, TpmFailed, TpmTools

__all__ = ["TpmKey"]

SHA256: Final = 32
LARGEST: Final = 128 - SHA256
"""Bytes of a key: a TPM seals 128 (MAX_SYM_DATA, TPM 2.0 Library, part 2)."""
PARENT, SESSION, OBJECT, PUBLIC, PRIVATE = "parent", "session", "object", "public", "private"


class TpmKey:
    """The TPM at a TCTI, as a `KeyEncryption`."""

    def __init__(self, tcti: str = DEFAULT_TCTI) -> None:
        self.tcti = tcti
        self._turn, self._name = threading.Lock(), ""

    @property
    def identifier(self) -> str:
        """The TPM's, by the name of its parent key. TpmFailed, which is Undecided, if there is no TPM."""
        if not self._name:
            with self._turn, TpmTools(self.tcti) as tools:
                _make_parent(tools)
                tools.run("tpm2_readpublic", "-c", tools.file(PARENT), "-n", tools.file("name"))
                self._name = tools.content("name").hex()
        return f"tpm {self._name}"

    def wrap(self, key: bytes, context: bytes) -> bytes:
        """The key, sealed: the public and the private area of the object."""
        if len(key) > LARGEST:
            raise ValueError(f"a TPM seals keys of {LARGEST} bytes at most")
        with self._tools() as tools:
            tools.run(
                "tpm2_create", "-C", tools.file(PARENT), "-i", "-", "-u", tools.file(PUBLIC), "-r",
                tools.file(PRIVATE), "-P", f"session:{tools.file(SESSION)}", data=_bound(context) + key,
            )  # fmt: skip
            return tools.content(PUBLIC) + tools.content(PRIVATE)

    def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        """The key again."""
        public, private = _parts(wrapped)
        with self._tools() as tools:
            try:
                tools.run(
                    "tpm2_load", "-C", tools.file(PARENT), "-u", tools.file(PUBLIC, public), "-r",
                    tools.file(PRIVATE, private), "-c", tools.file(OBJECT),
                )  # fmt: skip
            except TpmFailed:  # it made the parent a moment ago
                raise SecretUnreadable(
                    f"the TPM {self.tcti} does not take what the database holds: it was changed, or another TPM made it"
                ) from None
            found = tools.run("tpm2_unseal", "-c", tools.file(OBJECT), "-p", f"session:{tools.file(SESSION)}")
        if found[:SHA256] != _bound(context):
            raise SecretUnreadable("what the database holds stands in another's place: it was changed")
        return found[SHA256:]

    @contextlib.contextmanager
    def _tools(self) -> Iterator[TpmTools]:
        """The parent, and a session that encrypts: one user of the TPM at a time."""
        with self._turn, TpmTools(self.tcti) as tools:
            _make_parent(tools)
            session = tools.file(SESSION)
            tools.run("tpm2_startauthsession", "--hmac-session", "-c", tools.file(PARENT), "-S", session)
            try:
                tools.run("tpm2_sessionconfig", "--enable-encrypt", "--enable-decrypt", session)
                yield tools
            finally:
                with contextlib.suppress(Undecided):
                    tools.run("tpm2_flushcontext", session)

    def __repr__(self) -> str:
        return f"TpmKey({self.tcti})"


def _make_parent(tools: TpmTools) -> None:
    tools.run("tpm2_createprimary", "-C", "o", "-g", "sha256", "-G", "ecc256", "-c", tools.file(PARENT))


def _bound(context: bytes) -> bytes:
    return hashlib.sha256(b"cloister sealed key 1\n" + context).digest()


def _parts(wrapped: bytes) -> tuple[bytes, bytes]:
    """TPM2B_PUBLIC and TPM2B_PRIVATE, each with its length in front (TPM 2.0 Library, part 2)."""
    end = 2 + int.from_bytes(wrapped[:2])
    public, private = wrapped[:end], wrapped[end:]
    if len(public) != end or len(private) != 2 + int.from_bytes(private[:2]):
        raise SecretUnreadable("what the database holds is nothing that a TPM sealed: it was changed")
    return public, private
