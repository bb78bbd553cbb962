"""The database's own key, which the key-encryption key wraps: opened once at the start, then in memory.

    settings `database-key`       which of them is in use: its identifier
    settings `database-key ID`    the key, wrapped; in front of it, which key-encryption key wraps it
    every other wrapped key       MARK | the 8 bytes of ID | as `secrets_key.sealed` has it

So a TPM or key service is asked once for each process, not for each release, and may be away for as long as the process
lives. While the key-encryption key is being changed there are two database keys, and every wrapped key names its own.
What has no mark is older than this module, and stands directly under a key-encryption key that is a file.
"""

import os
import re
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Final, NoReturn

from cloister.broker.secrets_key import KEY_BYTES, FileKey, KeyEncryption, SecretUnreadable, sealed, unsealed
from cloister.broker.store import Store
from cloister.broker.store_database import DatabaseUnavailable
from cloister.errors import Undecided

__all__ = ["IN_USE", "MARK", "Keyring", "key_row", "marked", "new_key", "wrapping"]

MARK: Final = b"ck1\0"
IDENTIFIER: Final = 8
IN_USE: Final = "database-key"
PATIENCE: Final = 0.25
"""Seconds that a request waits for a key that this process does not know yet, because it was changed meanwhile."""
QUIET_SECONDS: Final = 5.0
"""How long a key service or TPM that was asked is not asked again, if it failed."""
LONGEST_NAME: Final = 512
NAME: Final = re.compile(r"[0-9a-f]{16}")


class Keyring:
    """The database's keys, as a `KeyEncryption`: wraps under the one in use, unwraps under whichever was used.

    `keks`: the key-encryption keys at hand, the one for new database keys first. Methods raise SecretUnreadable for
    what was changed or is under a key that is not at hand, other Undecided if a key-encryption key cannot be asked now.
    `patience`: how long they wait for one; None is as long as it takes, and errors then say where the key would be.
    """

    def __init__(
        self, store: Store, keks: Sequence[KeyEncryption], *, patience: float | None = PATIENCE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._store, self._patience, self._clock = store, patience, clock
        self._keks = {kek.identifier: kek for kek in keks}  # a TPM is asked for its name: now, not in a request
        self._known: dict[str, bytes] = {}
        self._going: dict[str, tuple[float, Future[bytes]]] = {}
        self._turn = threading.Lock()

    @property
    def identifier(self) -> str:
        """Of the key in use, which is made if there is none yet."""
        found = self._store.setting(IN_USE)
        if found is None:
            made, wrapped = new_key(next(iter(self._keks.values())))
            self._store.set_once(key_row(made), wrapped)
            found = self._store.set_once(IN_USE, made.encode())  # another replica may have been faster
        name = found.decode("ascii", "replace")
        if not NAME.fullmatch(name):
            raise SecretUnreadable("the database names no key that is in use: it was changed")
        return name

    def open(self, name: str) -> None:
        """Open a database key now, however long that takes, so that no request has to wait for it."""
        if name not in self._known:
            self._opened(name, *self._holder(name))

    def wrap(self, key: bytes, context: bytes) -> bytes:
        """Under the key in use: the database is asked which, for another process may be changing it."""
        name = self.identifier
        return marked(name) + sealed(self._key(name), key, b"key\n" + context)

    def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        """The key."""
        if not wrapped.startswith(MARK):
            return self._unmarked(wrapped, context)
        start = len(MARK) + IDENTIFIER
        return unsealed(self._key(wrapped[len(MARK) : start].hex()), wrapped[start:], b"key\n" + context)

    def _unmarked(self, wrapped: bytes, context: bytes) -> bytes:
        """Only a file can have wrapped it; a TPM or key service is not asked about what cannot be its own."""
        for kek in self._keks.values():
            if isinstance(kek, FileKey):
                try:
                    return kek.unwrap(wrapped, context)
                except SecretUnreadable:
                    continue
        raise SecretUnreadable("what the database holds was changed, or is under a key file that is not given")

    def _key(self, name: str) -> bytes:
        """A database key. One that is not known yet is asked for, but no request waits long for that.

        Clients hear that it is not there, not where it would be.
        """
        found = self._known.get(name)
        if found is not None:
            return found
        if self._patience is None:
            return self._opened(name, *self._holder(name))
        try:
            kek, wrapped = self._holder(name)
            if isinstance(kek, FileKey):
                return self._opened(name, kek, wrapped)
            return self._asked(name, kek, wrapped).result(self._patience)
        except TimeoutError:
            raise Undecided("the database's key was changed and is being asked for; ask again") from None
        except SecretUnreadable:
            raise SecretUnreadable("this is under a database key that this broker cannot open") from None
        except DatabaseUnavailable:
            raise
        except Undecided:
            raise Undecided("the database's key was changed and cannot be opened now; ask again") from None

    def _asked(self, name: str, kek: KeyEncryption, wrapped: bytes) -> "Future[bytes]":
        """What asking for it comes to, in a thread. Nobody is asked twice at the same time, or soon after a failure."""
        with self._turn:
            until, going = self._going.get(name, (0.0, None))
            if going is None or (going.done() and self._clock() >= until):
                going = Future()
                self._going[name] = (self._clock() + QUIET_SECONDS, going)
                work = threading.Thread(target=self._ask, args=(going, name, kek, wrapped), daemon=True)
                work.start()
            return going

    def _ask(self, going: "Future[bytes]", name: str, kek: KeyEncryption, wrapped: bytes) -> None:
        try:
            going.set_result(self._opened(name, kek, wrapped))
        except BaseException as error:  # noqa: BLE001 - whoever waits gets it
            going.set_exception(error)

    def _opened(self, name: str, kek: KeyEncryption, wrapped: bytes) -> bytes:
        return self._known.setdefault(name, _checked(kek.unwrap(wrapped, _context(name))))

    def _holder(self, name: str) -> tuple[KeyEncryption, bytes]:
        """The key-encryption key that a database key is under, and the wrapped key."""
        stored = self._store.setting(key_row(name))
        if stored is None:
            raise SecretUnreadable("what the database holds names a key that is not there: it was changed")
        holder, wrapped = wrapping(stored)
        if holder not in self._keks:
            raise SecretUnreadable(f"the database's key is under {holder}; at hand is {', '.join(self._keks)}")
        return self._keks[holder], wrapped

    def __repr__(self) -> str:
        return f"Keyring({', '.join(self._keks)})"

    def __reduce__(self) -> NoReturn:
        """Refuse: pickles and copies travel."""
        raise TypeError("a keyring is not pickled or copied")


def new_key(kek: KeyEncryption) -> tuple[str, bytes]:
    """The identifier of a new database key, and what to store. It is opened once before anyone relies on it.

    Undecided if the key-encryption key cannot be asked, or does not give back what it was given.
    """
    name, key = os.urandom(IDENTIFIER).hex(), os.urandom(KEY_BYTES)
    wrapped = kek.wrap(key, _context(name))
    if kek.unwrap(wrapped, _context(name)) != key:
        raise Undecided(f"{kek.identifier} does not give back what it was given; nothing was stored under it")
    return name, kek.identifier.encode() + b"\n" + wrapped


def key_row(name: str) -> str:
    """The setting that has a database key, wrapped."""
    return f"{IN_USE} {name}"


def marked(name: str) -> bytes:
    """How everything begins that is wrapped under this database key."""
    return MARK + bytes.fromhex(name)


def wrapping(stored: bytes) -> tuple[str, bytes]:
    """Which key-encryption key wraps a stored database key, and the wrapped key. SecretUnreadable if it is no such."""
    holder, found, wrapped = stored.partition(b"\n")
    text = holder.decode("ascii", "replace")
    if not found or len(text) > LONGEST_NAME or not text.isprintable():
        raise SecretUnreadable("the database's key is not what was stored: it was changed")
    return text, wrapped


def _context(name: str) -> bytes:
    return f"database key {name}".encode()


def _checked(key: bytes) -> bytes:
    if len(key) != KEY_BYTES:
        raise SecretUnreadable("the database's key has another length than it was made with")
    return key
