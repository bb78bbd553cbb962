"""Fresh random secrets, shown by label only, and their places in templates and arguments."""

import re
import secrets
import string
from dataclasses import dataclass, field

from cloister.errors import UsageError

__all__ = ["PLACEHOLDER", "Secret", "decode_escapes", "fill"]

PLACEHOLDER = "{secret}"
ALPHABET = string.ascii_letters + string.digits
LENGTH = 28  # characters: 166 bits, so that a hit is never a coincidence

ESCAPES = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"0": b"\0", b"\\": b"\\", b"e": b"\x1b"}
ESCAPE = re.compile(rb"\\(x[0-9A-Fa-f]{2}|.|$)", re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class Secret:
    """A random value with a label; letters and digits only, so that no shell, template or protocol alters it."""

    label: str
    value: bytes = field(repr=False)

    @classmethod
    def fresh(cls, label: str) -> "Secret":
        """A value from the operating system's random source."""
        text = "".join(secrets.choice(ALPHABET) for _ in range(LENGTH))
        return cls(label=label, value=text.encode("ascii"))

    @property
    def text(self) -> str:
        """The value as text, for arguments and environment."""
        return self.value.decode("ascii")


def decode_escapes(text: str) -> bytes:
    r"""UTF-8 bytes with \n \r \t \0 \e \\ and \xHH replaced; UsageError on any other: a typo is never sent."""

    def replacement(match: re.Match[bytes]) -> bytes:
        code = match.group(1)
        if code.startswith(b"x") and code != b"x":
            return bytes.fromhex(code[1:].decode())
        if code not in ESCAPES:
            escape = match.group().decode("utf-8", "replace")
            raise UsageError(f"unknown escape {escape} in {text!r}: use \\n \\r \\t \\0 \\e \\xHH or \\\\")
        return ESCAPES[code]

    return ESCAPE.sub(replacement, text.encode())


def fill(template: bytes, secret: Secret) -> bytes:
    """The template with the secret in place of each `{secret}`."""
    return template.replace(PLACEHOLDER.encode(), secret.value)
