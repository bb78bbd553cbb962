"""What a memory controller asks of a cipher: seal a page into DRAM, open it again."""

from typing import Protocol

__all__ = ["MemoryCipher", "PageData"]

PageData = bytes | bytearray | memoryview
"""Exactly 4,096 bytes of plaintext. Views are preferred: they leave no copy behind."""


class MemoryCipher(Protocol):
    """One key of the memory controller, with the keying, tweak and integrity of one kind of TEE.

    What a page that was never written opens as is each cipher's own, and stands in its description: launches always
    write first.
    """

    @property
    def name(self) -> str:
        """The algorithm, as in `AES-128-XTS`."""

    @property
    def integrity(self) -> bool:
        """Whether a change of DRAM's contents is noticed."""

    @property
    def replay_protected(self) -> bool:
        """Whether older contents of DRAM, all of it put back together, are noticed."""

    def seal(self, page: int, data: PageData) -> None:
        """Write 4,096 bytes as the ciphertext and metadata of a physical page."""

    def open(self, page: int, into: memoryview) -> None:
        """Decrypt a physical page into 4,096 writable bytes. Raises IntegrityFault."""

    def describe(self) -> str:
        """One line for people: how memory is protected, and what is not."""

    def wipe(self) -> None:
        """Forget the key. Everything sealed under it is lost, and the cipher may not be used any more."""
