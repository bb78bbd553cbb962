"""From a platform key to the key of one piece of sealed data: HKDF-Expand (RFC 5869, section 2.3) with SHA-256.

    identifier = Expand(platform key, "cloister sealing 1 identifier")[:16]    names the key; not secret
    header key = Expand(platform key, "cloister sealing 1 header")             authenticates headers (HMAC-SHA256)
    terms key  = Expand(platform key, "cloister sealing 1 terms" || terms)     one for each identity, version and label
    content key = Expand(terms key, "cloister sealing 1 content" || SHA-256(header || tag))    one for each seal

The content key depends on every byte of the header, so no chunk opens under another.
"""

import hashlib
import hmac
from dataclasses import dataclass
from typing import Final, Protocol

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from cloister.seal.header import SealedHeader
from cloister.seal.identity import Policy
from cloister.seal.wiping import wiped

__all__ = ["KEY_SIZE", "TAG_SIZE", "Binding", "PlatformKey", "content_key", "expand", "header_tag", "key_identifier"]

KEY_SIZE: Final = 32
TAG_SIZE: Final = 32
IDENTIFIER_SIZE: Final = 16
PREFIX: Final = b"cloister sealing 1 "


@dataclass(frozen=True, slots=True)
class Binding:
    """Which of the keys of a platform: one that a TEE derives for a program depends on these. Others ignore it."""

    policy: Policy
    security_version: int


class PlatformKey(Protocol):
    """Port: a key that only this platform has. The file, the TPM and the TEE behind it are adapters of their own."""

    @property
    def name(self) -> str:
        """What messages call it: `the platform key in /path`."""

    @property
    def binds_identity(self) -> bool:
        """Whether the key itself is another for another program, because a TEE derives it: no caller is believed."""

    def derive(self, info: bytes, binding: Binding) -> bytearray:
        """HKDF-Expand to 32 bytes, which the caller wipes. `info` has at most 1,023 bytes. CloisterError."""


def expand(key: bytes | bytearray, info: bytes) -> bytearray:
    """HKDF-Expand with SHA-256 to 32 bytes, which the caller wipes."""
    made = bytearray(KEY_SIZE)
    HKDFExpand(hashes.SHA256(), KEY_SIZE, info).derive_into(key, made)
    return made


def key_identifier(key: PlatformKey, binding: Binding) -> bytes:
    """16 bytes that name the key, and say nothing else of it."""
    derived = key.derive(PREFIX + b"identifier", binding)
    with wiped(derived):
        return bytes(derived[:IDENTIFIER_SIZE])


def header_tag(key: PlatformKey, header: SealedHeader) -> bytes:
    """What makes a header authentic: HMAC-SHA256 over its bytes, 32 bytes."""
    secret = key.derive(PREFIX + b"header", Binding(header.policy, header.security_version))
    with wiped(secret):
        return hmac.digest(secret, header.encoded, "sha256")


def content_key(key: PlatformKey, header: SealedHeader, tag: bytes) -> bytearray:
    """The AES-256 key of the chunks under this header. The caller wipes it."""
    terms = key.derive(PREFIX + b"terms" + header.terms(), Binding(header.policy, header.security_version))
    with wiped(terms):
        return expand(terms, PREFIX + b"content" + hashlib.sha256(header.encoded + tag).digest())
