"""The value of a secret: a wrapper that gives it out in one way only, and never by accident.

What Python can do: the value does not print, format, pickle, copy or become JSON; it is compared in constant time; and
`wipe` overwrites the one copy that is held. What it cannot: copies made by `reveal`, by the crypto library or by the
interpreter stay in memory until they are overwritten.
"""

from typing import Final, NoReturn

from cloister import _crypto

__all__ = ["SecretValue"]

SHOWN: Final = "<secret>"


class SecretValue:
    """The bytes of one secret. `reveal` is the one way out."""

    __slots__ = ("_held", "_wiped")
    __hash__ = None  # type: ignore[assignment] # a hash in a set or log would be an oracle

    def __init__(self, value: bytes | bytearray) -> None:
        self._held, self._wiped = bytearray(value), False

    def reveal(self) -> bytes:
        """The secret's bytes, a copy that is the caller's to guard. ValueError if it was wiped."""
        if self._wiped:
            raise ValueError("this secret was wiped")
        return bytes(self._held)

    def wipe(self) -> None:
        """Overwrite the bytes. Afterwards `reveal` and comparing raise."""
        self._held[:] = bytes(len(self._held))
        self._wiped = True

    def __del__(self) -> None:
        """Overwrite what nobody will ask for again."""
        held = getattr(self, "_held", None)
        if held is not None:
            held[:] = bytes(len(held))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SecretValue) and _crypto.equal(self.reveal(), other.reveal())

    def __repr__(self) -> str:
        return SHOWN

    def __str__(self) -> NoReturn:
        """Refuse: a secret that becomes text by accident ends in a log or an error message."""
        raise TypeError("a secret does not become text by itself; `reveal` gives its bytes")

    def __format__(self, spec: str) -> NoReturn:
        """Refuse, as `__str__` does."""
        raise TypeError("a secret is not formatted; `reveal` gives its bytes")

    def __bytes__(self) -> NoReturn:
        """Refuse: `bytes(value)` reads like an innocent conversion."""
        raise TypeError("a secret does not become bytes by itself; `reveal` gives them")

    def __bool__(self) -> NoReturn:
        """Refuse: that there is a secret says nothing about it."""
        raise TypeError("a secret is neither true nor false")

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        """Refuse: pickles and copies travel."""
        raise TypeError("a secret is not pickled or copied")
