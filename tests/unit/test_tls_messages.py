"""The TLS 1.3 Certificate message: what OpenSSL hands over is read, and nothing else."""

import hypothesis
import hypothesis.strategies as st
import pytest

from cloister.errors import ParseError
from cloister.tls.messages import LARGEST, MOST, certificates_in


def sized(width: int, data: bytes) -> bytes:
    return len(data).to_bytes(width, "big") + data


def message(*certificates: bytes, context: bytes = b"", extensions: bytes = b"", kind: int = 11) -> bytes:
    """RFC 8446, section 4.4.2."""
    entries = b"".join(sized(3, one) + sized(2, extensions) for one in certificates)
    return bytes([kind]) + sized(3, sized(1, context) + sized(3, entries))


@hypothesis.given(st.lists(st.binary(min_size=1, max_size=50), max_size=MOST), st.binary(max_size=20), st.binary())
def test_what_is_written_is_read(certificates: list[bytes], context: bytes, extensions: bytes) -> None:
    written = message(*certificates, context=context, extensions=extensions)
    assert certificates_in(written) == tuple(certificates)


@hypothesis.given(st.binary(max_size=200))
def test_other_bytes_are_refused_or_read_but_never_break(data: bytes) -> None:
    try:
        found = certificates_in(data)
    except ParseError:
        return
    assert sum(map(len, found)) < len(data)


def test_every_shorter_message_is_refused() -> None:
    whole = message(b"certificate", b"another", extensions=b"abc")
    for size in range(len(whole)):
        with pytest.raises(ParseError):
            certificates_in(whole[:size])
    with pytest.raises(ParseError, match="too many"):
        certificates_in(whole + b"\0")
    inside = sized(1, b"") + sized(3, b"") + b"\0"
    with pytest.raises(ParseError, match="too many"):
        certificates_in(b"\x0b" + sized(3, inside))


def test_lengths_that_do_not_agree_are_refused() -> None:
    whole = bytearray(message(b"certificate"))
    for at in (3, 4, 7, 10, 23):  # the message, its context, the list, the certificate, its extensions
        for change in (1, 255):
            broken = bytes(whole[:at]) + bytes([whole[at] + change & 0xFF]) + bytes(whole[at + 1 :])
            with pytest.raises(ParseError):
                certificates_in(broken)


def test_too_much_is_refused() -> None:
    with pytest.raises(ParseError, match=f"more than {MOST}"):
        certificates_in(message(*[b"x"] * (MOST + 1)))
    with pytest.raises(ParseError, match="at most"):
        certificates_in(message(bytes(LARGEST)))


def test_another_message_is_refused() -> None:
    with pytest.raises(ParseError, match="msg_type"):
        certificates_in(message(b"certificate", kind=25))
