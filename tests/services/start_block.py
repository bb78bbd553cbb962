"""A reader of start blocks (runtime/include/cloister_abi.h, SEALED), to judge what is written."""

import struct
from typing import Any

__all__ = ["read_again"]


def read_again(block: bytes) -> dict[str, Any]:
    """What is in a block; nothing may be left over."""
    at = 0

    def number() -> int:
        nonlocal at
        (found,) = struct.unpack_from("<I", block, at)
        at += 4
        return int(found)

    def text() -> bytes:
        nonlocal at
        size = number()
        assert at + size <= len(block)
        at += size
        return block[at - size : at]

    arguments, variables = number(), number()
    found: dict[str, Any] = {
        "command": [text() for _ in range(arguments)],
        "environment": dict(text().split(b"=", 1) for _ in range(variables)), "pwd": text(),
        "files": {text(): text() for _ in range(number())},
    }  # fmt: skip
    if at < len(block):
        found["shield"] = text()
    assert at == len(block)
    return found
