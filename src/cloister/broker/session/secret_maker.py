"""Values for the secrets that a session says are to be made.

The entropy and the clock are handed in: tests give their own, `SecretMaker()` takes the operating system's.
"""

import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from cloister.broker.session import key_material
from cloister.broker.session.secret_value import SecretValue
from cloister.broker.session.session import Generated, Secret

__all__ = ["SecretMaker"]

ALPHABET: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
UNBIASED: Final = 256 - 256 % len(ALPHABET)
"""Bytes below this are divided evenly among the characters."""
JWT_KEYS: Final = {"ES256": "P-256", "ES384": "P-384", "EdDSA": "Ed25519"}


def _now() -> datetime:
    return datetime.now(UTC)


class SecretMaker:
    """Makes values. `entropy(n)` gives n bytes that nobody can guess; `clock()` the time, with its zone."""

    def __init__(
        self, entropy: Callable[[int], bytes] = secrets.token_bytes, clock: Callable[[], datetime] = _now
    ) -> None:
        self._entropy, self._clock = entropy, clock

    def make(self, secret: Secret) -> SecretValue:
        """A new value; ValueError if this secret is not one to be made."""
        how = secret.origin
        if not isinstance(how, Generated):
            raise ValueError(  # noqa: TRY004 - the kind of origin is data, not a wrong argument type
                f"{secret.name}: its value is given or imported, not made"
            )
        if secret.kind == "ascii":
            return SecretValue(self._characters(how.size))
        if secret.kind == "binary":
            return SecretValue(self._entropy(how.size))
        if secret.kind == "aes-key":
            return SecretValue(self._entropy(int(how.algorithm.removeprefix("AES-")) // 8))
        if secret.kind == "x509":
            return SecretValue(
                key_material.make_certificate(
                    how.algorithm, self._entropy, common_name=how.common_name, dns=how.dns, start=self._clock(),
                    days=how.days,
                )
            )  # fmt: skip
        return SecretValue(key_material.make_private_key(JWT_KEYS.get(how.algorithm, how.algorithm), self._entropy))

    def _characters(self, size: int) -> bytes:
        made = bytearray()
        while len(made) < size:
            made += bytes(ALPHABET[one % len(ALPHABET)] for one in self._entropy(size) if one < UNBIASED)
        return bytes(made[:size])
