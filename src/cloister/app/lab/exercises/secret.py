"""The owner's secret: made anew for each machine, in the machine's own process, and never written anywhere."""

import hmac
import secrets
import string
from enum import StrEnum
from typing import Final

__all__ = ["Secret", "forms_of", "is_right", "new_secret"]

LETTERS: Final = string.ascii_lowercase + string.digits


class Secret(StrEnum):
    """What kind of secret an exercise needs."""

    PIN = "pin"  # PIN- and 12 letters or digits: its beginning is known, as that of much data is
    KEY = "key"  # 8 letters or digits: as many bytes as a register has
    BITS = "bits"  # 4 bytes, any but zero and a line's end


def new_secret(kind: Secret) -> bytes:
    """A fresh one."""
    if kind is Secret.BITS:
        usable = [byte for byte in range(1, 256) if byte not in b"\r\n"]
        return bytes(secrets.choice(usable) for _ in range(4))
    letters = "".join(secrets.choice(LETTERS) for _ in range(12 if kind is Secret.PIN else 8)).encode()
    return b"PIN-" + letters if kind is Secret.PIN else letters


def forms_of(kind: Secret, secret: bytes) -> list[str]:
    """How a person may write it down."""
    if kind is Secret.BITS:
        return [secret.hex(), "".join(f"{byte:08b}" for byte in secret)]
    text = secret.decode()
    if kind is Secret.KEY:
        return [text, f"{int.from_bytes(secret, 'little'):#018x}"]
    return [text, text.removeprefix("PIN-")]


def is_right(kind: Secret, secret: bytes, answer: str) -> bool:
    """Whether an answer is the secret. Spaces count for nothing."""
    given = "".join(answer.split()).encode()
    return any(hmac.compare_digest(given, form.encode()) for form in forms_of(kind, secret))
