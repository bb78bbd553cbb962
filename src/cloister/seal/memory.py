"""Memory as a source and as a sink, without a copy that could not be wiped."""

__all__ = ["MemorySink", "MemorySource"]


class MemorySource:
    """Reads bytes from the front of `data`."""

    def __init__(self, data: bytes | bytearray | memoryview) -> None:
        self._left = memoryview(data).cast("B")

    def readinto(self, buffer: memoryview, /) -> int:
        """As a binary file."""
        size = min(len(buffer), len(self._left))
        buffer[:size] = self._left[:size]
        self._left = self._left[size:]
        return size


class MemorySink:
    """Writes over `content` from its beginning; what does not fit makes it longer."""

    def __init__(self, content: bytearray) -> None:
        self.content, self._at = content, 0

    def write(self, data: memoryview, /) -> int:
        """As a binary file."""
        self.content[self._at : self._at + len(data)] = data
        self._at += len(data)
        return len(data)

    def written(self) -> bytes:
        """What was written."""
        return bytes(memoryview(self.content)[: self._at])
