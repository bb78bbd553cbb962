"""The database's keys, opened under what `--kek` names; or a start that says why not."""

from collections.abc import Callable, Sequence
from pathlib import Path

from cloister.broker.secrets_key import FileKey, KeyEncryption
from cloister.broker.secrets_keyring import IN_USE, Keyring
from cloister.broker.store import Store
from cloister.serve.first_start import SHARED, setting_context

__all__ = ["KeksAt", "key_file", "open_keyring"]

KeksAt = Callable[[Path], Sequence[KeyEncryption]]
"""The key-encryption keys of a service with its state in a directory: the one for new keys, then others it may meet."""


def key_file(state: Path) -> Sequence[KeyEncryption]:
    """What is used if nothing is said: a file beside the rest."""
    return (FileKey.open(state / "kek"),)


def open_keyring(store: Store, keks: Sequence[KeyEncryption]) -> Keyring:
    """The database's keys, the one in use opened; made if there is none. SecretUnreadable, or another Undecided."""
    ring = Keyring(store, keks)
    if store.setting(IN_USE) is None:  # new, or older than keyrings: then this must be the key file that it is under
        for name in SHARED:
            if (value := store.setting(name)) is not None:
                ring.unwrap(value, setting_context(name))
    ring.open(ring.identifier)
    return ring
