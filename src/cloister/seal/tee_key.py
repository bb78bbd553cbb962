"""A key that a TEE itself derives for the program in it: SGX's EGETKEY, SNP's MSG_KEY_REQ, Keystone's sealing key.

    TeeKey(lambda binding: machine.sealing_key(KeyPolicy.MRENCLAVE), name="the enclave's seal key")

Nobody's word is taken for the identity then: another program, or the same one elsewhere, has another key.
"""

import hashlib
import hmac
from collections.abc import Callable
from typing import Final

from cloister.seal.keys import Binding, expand
from cloister.seal.wiping import wiped

__all__ = ["TeeKey"]

SALT: Final = b"cloister sealing 1 TEE key"
SMALLEST: Final = 16
"""Bytes. SGX gives 16, SNP 32, Keystone 128."""


class TeeKey:
    """Asks `ask` for the TEE's key each time, and keeps none. `ask` gets what the key is to be bound to.

    It raises CloisterError where the TEE has no such key, such as one of a newer security version.
    """

    binds_identity = True

    def __init__(self, ask: Callable[[Binding], bytes], *, name: str) -> None:
        self._ask, self.name = ask, name

    def derive(self, info: bytes, binding: Binding) -> bytearray:
        """HKDF (RFC 5869) from the TEE's key. ValueError if the TEE gives fewer than 16 bytes, or only zeros."""
        given = bytearray(self._ask(binding))
        with wiped(given):
            if len(given) < SMALLEST or not any(given):
                raise ValueError(f"{self.name} is no key: {len(given)} bytes, or only zeros")
            secret = bytearray(hmac.digest(SALT, given, hashlib.sha256))
        with wiped(secret):
            return expand(secret, info)
