"""A platform key that never leaves a TPM 2.0, and a counter in its non-volatile memory.

The key is an HMAC-SHA256 key that the TPM derives from its owner seed (TPM2_CreatePrimary; TPM 2.0 Library, part 1,
"Hierarchies"; part 3, "TPM2_CreatePrimary", "TPM2_HMAC"): nothing is kept outside, and TPM2_Clear ends it. One block of
HKDF-Expand is HMAC(key, info || 01) (RFC 5869, section 2.3), so the TPM itself derives the keys of each seal. What it
answers is encrypted on the bus, by a session salted to a key of this TPM: against who listens, not who sits between.

Whoever may talk to the TPM (root, the group `tss`) and knows the owner's password, if there is one, can have keys
derived, but only on this machine. `tcti` names the TPM as tpm2-tss does: `device:/dev/tpmrm0`, `swtpm:port=2321`.
Needs the extra `tpm` (tpm2-pytss, and tpm2-tss in the system).
"""

import contextlib
import hashlib
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final, Self

from cloister.errors import UsageError
from cloister.seal.keys import KEY_SIZE, Binding
from cloister.seal.wiping import wipe

if TYPE_CHECKING:
    from tpm2_pytss.ESAPI import ESAPI

__all__ = ["DEFAULT_TCTI", "FIRST_INDEX", "LAST_INDEX", "TpmCounter", "TpmPlatformKey"]

DEFAULT_TCTI: Final = "device:/dev/tpmrm0"
UNIQUE: Final = b"cloister platform key 1"
"""Mixed into the key, so that nobody else's template gives the same one."""
LONGEST_INFO: Final = 1023
"""TPM2B_MAX_BUFFER has 1,024 bytes (part 2), one of them is HKDF's."""
FIRST_INDEX: Final = 0x01800000
LAST_INDEX: Final = 0x01BFFFFF
"""NV indices that are the owner's to give (TCG Registry of Reserved TPM 2.0 Handles)."""
VALUE_SIZE: Final = 8


@contextlib.contextmanager
def _told(what: str, tcti: str) -> Iterator[None]:
    """Every failure of the TPM as a UsageError."""
    tss = _pytss()
    try:
        yield
    except (tss.TSS2_Exception, OSError, RuntimeError) as error:
        raise UsageError(f"cannot {what} by the TPM {tcti}: {error}") from error


def _pytss() -> Any:  # noqa: ANN401 - an extra, half typed
    try:
        import tpm2_pytss  # noqa: PLC0415 - an extra
    except (ImportError, NotImplementedError) as error:  # the latter without the system's libraries
        raise UsageError(f"a TPM needs `pip install 'cloister[tpm]'` and the system's tpm2-tss: {error}") from error
    return tpm2_pytss


def _template(tss: Any) -> Any:  # noqa: ANN401
    """An HMAC key that the TPM makes itself and never gives away (fixedTPM, fixedParent, sensitiveDataOrigin)."""
    bits = tss.TPMA_OBJECT
    template = tss.TPM2B_PUBLIC(
        tss.TPMT_PUBLIC(
            type=tss.TPM2_ALG.KEYEDHASH,
            nameAlg=tss.TPM2_ALG.SHA256,
            objectAttributes=bits.FIXEDTPM | bits.FIXEDPARENT | bits.SENSITIVEDATAORIGIN | bits.USERWITHAUTH
            | bits.NODA | bits.SIGN_ENCRYPT,
        )
    )  # fmt: skip
    scheme = template.publicArea.parameters.keyedHashDetail.scheme
    scheme.scheme, scheme.details.hmac.hashAlg = tss.TPM2_ALG.HMAC, tss.TPM2_ALG.SHA256
    template.publicArea.unique.keyedHash = tss.TPM2B_DIGEST(UNIQUE)
    return template


class TpmPlatformKey:
    """A context manager; it holds three of the TPM's places for objects and sessions until it is closed. UsageError."""

    binds_identity = False

    def __init__(self, tcti: str = DEFAULT_TCTI) -> None:
        self.tcti, self.name = tcti, f"the platform key of the TPM {tcti}"
        tss = self._tss = _pytss()
        self._open, self._lock = contextlib.ExitStack(), threading.Lock()  # ESAPI contexts are not for two threads
        with contextlib.ExitStack() as opened, _told("make a platform key", tcti):
            self._tpm: ESAPI = opened.enter_context(tss.ESAPI(tcti))
            salting, *_ = self._tpm.create_primary(None, "ecc")
            opened.callback(self._tpm.flush_context, salting)
            self._key, public, *_ = self._tpm.create_primary(None, _template(tss), tss.ESYS_TR.OWNER)
            opened.callback(self._tpm.flush_context, self._key)
            if public.publicArea.objectAttributes != _template(tss).publicArea.objectAttributes:
                raise UsageError(f"{self.name} is another kind of key than was asked for")
            self._session = self._tpm.start_auth_session(
                tpm_key=salting, bind=tss.ESYS_TR.NONE, session_type=tss.TPM2_SE.HMAC,
                symmetric=_aes_cfb(tss), auth_hash=tss.TPM2_ALG.SHA256,
            )  # fmt: skip
            opened.callback(self._tpm.flush_context, self._session)
            bits = tss.TPMA_SESSION
            self._tpm.trsess_set_attributes(self._session, bits.CONTINUESESSION | bits.DECRYPT | bits.ENCRYPT, 0xFF)
            self._open = opened.pop_all()

    def derive(self, info: bytes, binding: Binding) -> bytearray:
        """HKDF-Expand in the TPM. ValueError for too long an info. UsageError."""
        del binding
        if len(info) > LONGEST_INFO:
            raise ValueError(f"{len(info)} bytes of info; a TPM takes {LONGEST_INFO}")
        with self._lock, _told("derive a key", self.tcti):
            answer = self._tpm.hmac(self._key, info + b"\1", self._tss.TPM2_ALG.SHA256, session1=self._session)
        made = bytearray(bytes(answer))
        if len(made) != KEY_SIZE:
            wipe(made)
            raise UsageError(f"{self.name} answers with {len(made)} bytes; {KEY_SIZE} are expected")
        return made

    def close(self) -> None:
        """Take everything out of the TPM again. May be repeated."""
        self._open.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def _aes_cfb(tss: Any) -> Any:  # noqa: ANN401
    """What encrypts parameters on the bus: AES-128-CFB, which every TPM 2.0 has (PC Client Platform TPM Profile)."""
    return tss.TPMT_SYM_DEF(
        algorithm=tss.TPM2_ALG.AES, keyBits=tss.TPMU_SYM_KEY_BITS(aes=128), mode=tss.TPMU_SYM_MODE(aes=tss.TPM2_ALG.CFB)
    )


class TpmCounter:
    """An NV index of type counter, made on first use: the TPM lets nobody set it back, not even by making it again.

    TPM 2.0 Library, part 1, "NV Counter": a new counter begins above every counter that the TPM ever had.
    """

    def __init__(self, index: int, tcti: str = DEFAULT_TCTI) -> None:
        """UsageError if `index` is not the owner's, or is something else."""
        if not FIRST_INDEX <= index <= LAST_INDEX:
            raise UsageError(f"NV index {index:#x} is not between {FIRST_INDEX:#x} and {LAST_INDEX:#x}")
        self.index, self.tcti = index, tcti
        with self._counter():
            pass

    @property
    def identifier(self) -> bytes:
        """From the index; that it is this TPM's, its value above all older ones says."""
        return hashlib.sha256(b"cloister sealing 1 TPM counter" + self.index.to_bytes(4)).digest()[:16]

    def read(self) -> int:
        """Where it stands."""
        with self._counter() as (tpm, counter):
            return _value(tpm, counter)

    def advance_to(self, value: int) -> None:
        """UsageError for steps of more than one."""
        with self._counter() as (tpm, counter):
            now = _value(tpm, counter)
            if value not in {now, now + 1}:
                raise UsageError(f"NV index {self.index:#x} stands at {now} and cannot go to {value}")
            if value > now:
                tpm.nv_increment(counter)

    @contextlib.contextmanager
    def _counter(self) -> "Iterator[tuple[ESAPI, Any]]":
        tss = _pytss()
        with _told(f"use the counter at NV index {self.index:#x}", self.tcti), tss.ESAPI(self.tcti) as tpm:
            if self._exists(tss, tpm):
                counter = tpm.tr_from_tpmpublic(self.index)
            else:
                counter = tpm.nv_define_space(None, self._public(tss))
                tpm.nv_increment(counter)  # it has no value before
            public, _ = tpm.nv_read_public(counter)
            kind = public.nvPublic.attributes & tss.TPMA_NV.TPM2_NT_MASK
            if kind != tss.TPM2_NT.COUNTER << tss.TPMA_NV.TPM2_NT_SHIFT or public.nvPublic.dataSize != VALUE_SIZE:
                raise UsageError(f"NV index {self.index:#x} is something else than a counter; choose another")
            yield tpm, counter

    def _exists(self, tss: Any, tpm: "ESAPI") -> bool:  # noqa: ANN401
        _, found = tpm.get_capability(tss.TPM2_CAP.HANDLES, self.index, 1)
        return self.index in {int(handle) for handle in found.data.handles}

    def _public(self, tss: Any) -> Any:  # noqa: ANN401
        bits = tss.TPMA_NV
        attributes = bits.AUTHREAD | bits.AUTHWRITE | bits.NO_DA | (tss.TPM2_NT.COUNTER << bits.TPM2_NT_SHIFT)
        index = tss.TPMS_NV_PUBLIC(
            nvIndex=self.index, nameAlg=tss.TPM2_ALG.SHA256, attributes=attributes, authPolicy=b"", dataSize=VALUE_SIZE
        )
        return tss.TPM2B_NV_PUBLIC(index)


def _value(tpm: "ESAPI", counter: Any) -> int:  # noqa: ANN401
    return int.from_bytes(bytes(tpm.nv_read(counter, VALUE_SIZE)))
