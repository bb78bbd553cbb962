"""What people hand over instead of evidence, so that it can be refused by name."""

from typing import Final

__all__ = ["name_of"]

STARTS: Final = (
    (b"\x1f\x8b", "gzip: unpack it first; nothing is decompressed here, because a small file can become a huge one"),
    (b"\x28\xb5\x2f\xfd", "Zstandard: unpack it first; nothing is decompressed here"),
    (b"\xfd7zXZ\x00", "xz: unpack it first; nothing is decompressed here"),
    (b"BZh", "bzip2: unpack it first; nothing is decompressed here"),
    (b"PK\x03\x04", "a ZIP archive: unpack it first; nothing is decompressed here"),
    (b"\x7fELF", "an ELF file: a program or an enclave image, not evidence"),
    (b"#", "text that begins with a comment: take the evidence out of it; it is not looked for in the middle"),
    (b"Spec ID Event", "an event log: it is checked together with a quote"),
)


def name_of(data: bytes) -> str:
    """What `data` is, if it is one of the things that are often mistaken for evidence; else an empty string."""
    found = next((name for start, name in STARTS if data.startswith(start)), "")
    return found or ("a JSON Web Token: an attestation result or a key, not evidence" if is_jwt(data) else "")


def is_jwt(data: bytes) -> bool:
    """Whether it is three parts of base64url with dots between, the first of them a JSON object."""
    head = data[:4096].split(b".")
    return len(head) > 1 and head[0].startswith(b"eyJ") and b" " not in data[:4096].strip()
