"""What a service gets, written down: the plaintext of the JWE that goes to it.

    json     {"command": [base64], "environment": {NAME: base64}, "files": {PATH: base64}, "pwd"}, and where the service
             is shielded "shield": base64
    block    as the software enclave's runtime reads it (runtime/include/cloister_abi.h, SEALED)

A block is little-endian: u32 arguments, u32 variables; so many strings, a variable as NAME=VALUE; working directory;
u32 files; so many pairs of path and content; where the service is shielded, its shield block (docs/formats/shield.md).
A string is u32 length and so many bytes, without NUL but in contents.
"""

import base64
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from cloister.broker.session.provision import Provisioned
from cloister.broker.session.secret_value import SecretValue
from cloister.errors import PolicyError

__all__ = ["FORMS", "JSON"]

JSON: Final = "json"
MOST_STRINGS: Final = 65_536
MOST_BYTES: Final = 4 << 20
"""Of arguments and variables together: the runtime's START_MAX_STRINGS and START_MAX_BYTES."""
LARGEST_BLOCK: Final = (8 << 20) - 32 - 16
"""What fits into the runtime's FRAME_MAX_BYTES beside the encapsulated key and the tag."""
LONGEST_PATH: Final = 4095
"""PATH_MAX, without its NUL."""


def as_json(found: Provisioned) -> bytes:
    """Every value in base64, because it may be any bytes."""

    def text(value: SecretValue) -> str:
        return base64.b64encode(value.reveal()).decode()

    document = {
        "command": [text(one) for one in found.command], "pwd": found.pwd,
        "environment": {name: text(value) for name, value in found.environment.items()},
        "files": {path: text(value) for path, value in found.files.items()},
    }  # fmt: skip
    if found.shield is not None:
        document["shield"] = text(found.shield)
    return json.dumps(document, separators=(",", ":")).encode()


def as_block(found: Provisioned) -> bytes:
    """A block; PolicyError for what the runtime would not take. Without a command there are no arguments."""
    arguments = [one.reveal() for one in found.command]
    variables = [name.encode() + b"=" + value.reveal() for name, value in found.environment.items()]
    files = {path.encode(): content.reveal() for path, content in found.files.items()}
    _check_words("arguments", arguments)
    _check_words("variables", variables)
    _check("arguments and variables", sum(map(len, (*arguments, *variables))), MOST_BYTES, "bytes")
    for what, path in (("working directory", found.pwd.encode()), *(("path of a file", one) for one in files)):
        _check(what, len(path), LONGEST_PATH, "bytes")
        _check_no_nul(what, path)
    parts = [_u32(len(arguments)), _u32(len(variables)), *_strings((*arguments, *variables, found.pwd.encode()))]
    parts += [_u32(len(files)), *_strings(one for pair in files.items() for one in pair)]
    parts += _strings(() if found.shield is None else (found.shield.reveal(),))
    _check("whole", sum(map(len, parts)), LARGEST_BLOCK, "bytes")
    return b"".join(parts)


FORMS: Final[Mapping[str, Callable[[Provisioned], bytes]]] = {JSON: as_json, "block": as_block}
"""By the name that a client asks for."""


def _u32(number: int) -> bytes:
    return number.to_bytes(4, "little")


def _strings(texts: Iterable[bytes]) -> Iterable[bytes]:
    for one in texts:
        yield _u32(len(one))
        yield one


def _check_words(what: str, words: list[bytes]) -> None:
    _check(what, len(words), MOST_STRINGS, "of them")
    for one in words:
        _check_no_nul(what, one)


def _check(what: str, size: int, most: int, unit: str) -> None:
    if size > most:
        raise PolicyError(
            f"what the session gives this service is too large for a start block: {what}, {size:,} {unit}; "
            f"at most {most:,}"
        )


def _check_no_nul(what: str, text: bytes) -> None:
    if b"\0" in text:
        raise PolicyError(f"what the session gives this service does not fit into a start block: {what} with a NUL")
