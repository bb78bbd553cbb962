"""The chain that entries form: each continues the one before and is signed by the same key.

Recipe, for each entry in order:
1. The first entry of a log has number 1 and 32 zero bytes as `previous`, and is a `LogStarted`; no other entry is one.
2. The number is one more than the last entry's.
3. `previous` is the hash of the last entry.
4. The broker's key verifies the signature.
"""

from cloister.broker.audit.entry import FIRST_PREVIOUS, Entry
from cloister.broker.audit.events import LogStarted
from cloister.errors import BindingInvalid

__all__ = ["Chain"]


class Chain:
    """A chain under one key (DER SubjectPublicKeyInfo), up to the entry `head`; `head` is None before the first."""

    def __init__(self, key: bytes, head: Entry | None = None) -> None:
        self.key, self.head = key, head

    def accept(self, entry: Entry) -> None:
        """Put an entry at the end. BindingInvalid if it does not continue the chain, SignatureInvalid if not signed."""
        self.check_start(entry)
        if self.head is not None:
            self.check_continues(self.head, entry)
        self.resume(entry)

    def resume(self, entry: Entry) -> None:
        """Take an entry without the one before it: steps 2 and 3 cannot be done."""
        entry.seal.verify(self.key)  # 4
        self.head = entry

    @staticmethod
    def check_start(entry: Entry) -> None:  # 1
        """BindingInvalid if an entry has one mark of a log's first and lacks another."""
        first = entry.sequence == 1
        if first is not isinstance(entry.event, LogStarted) or first is not (entry.seal.previous == FIRST_PREVIOUS):
            raise BindingInvalid(
                f"entry {entry.sequence}: a log starts with entry 1, which says so and has none before it; this one "
                "mixes the two"
            )

    @staticmethod
    def check_continues(head: Entry, entry: Entry) -> None:
        """BindingInvalid if an entry does not come right after another."""
        if entry.sequence != head.sequence + 1:  # 2
            raise BindingInvalid(
                f"entry {entry.sequence} follows entry {head.sequence}: entries were taken out, repeated or moved",
                expected=head.sequence + 1, actual=entry.sequence,
            )  # fmt: skip
        if entry.seal.previous != head.hash:  # 3
            raise BindingInvalid(
                f"entry {entry.sequence} was written after another entry {head.sequence} than the one here",
                expected=entry.seal.previous.hex(), actual=head.hash.hex(),
            )  # fmt: skip
