"""Reports of roots, byte by byte, and by another implementation of their keys."""

import hashlib
import hmac
import struct

import pytest

from cloister.attest import frames
from cloister.broker import root_report
from cloister.broker.root_report import RootReport, StartName, volume_identity
from cloister.errors import ParseError
from cloister.shield_policy.policy import Root

KEY, DIGEST = bytes(range(32)), bytes(range(64, 96))
NAME = "team/app:/data#00000000000000aa00000000.7"
MESSAGE = struct.pack("<I", len(NAME)) + NAME.encode() + struct.pack("<Q", 9) + DIGEST


def derived(purpose: bytes) -> bytes:
    """HKDF-SHA-256 (RFC 5869) of one block, without salt."""
    extracted = hmac.digest(bytes(32), KEY, "sha256")
    return hmac.digest(extracted, b"cloister root 1 " + purpose + b"\x01", "sha256")


def test_a_report_and_its_acknowledgement() -> None:
    report = RootReport.make(KEY, NAME, Root(9, DIGEST))
    assert report.serialize() == MESSAGE + hmac.digest(derived(b"report"), MESSAGE, "sha256")
    assert RootReport.parse(report.serialize()) == report
    assert report.is_made_with(KEY)
    assert not report.is_made_with(DIGEST)
    assert report.acknowledgement(KEY) == hmac.digest(derived(b"acknowledged"), MESSAGE, "sha256")
    assert volume_identity(KEY) == derived(b"volume")
    assert len({report.mac, report.acknowledgement(KEY), volume_identity(KEY), KEY}) == 4


def test_the_name_says_whose_report_it_is() -> None:
    name = StartName("team/app", "/data", "00000000000000aa00000000", 7)
    assert str(name) == NAME
    assert StartName.parse(NAME) == name
    odd = StartName("a", "/x#1.2:y", "0" * 24, 0)
    assert StartName.parse(str(odd)) == odd


def test_what_tells_starts_apart() -> None:
    name = StartName.parse(NAME)
    assert name.line == "00000000000000aa00000000.7"
    assert StartName.of_line("team/app", "/data", name.line) == name
    assert name.writer == hashlib.sha256(NAME.encode()).digest()[:16]


@pytest.mark.parametrize(
    "name", ["", "/data", "team/app:/data", "team/app:/data#1.7", f"team/../app:/data#{'0' * 24}.7", NAME + "x"]
)
def test_names_that_are_none(name: str) -> None:
    with pytest.raises(ParseError):
        StartName.parse(name)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "name"),
        (MESSAGE, "mac"),
        (MESSAGE + bytes(33), "too many"),
        (struct.pack("<I", 0) + MESSAGE[-40:] + bytes(32), "1 to 2048"),
        (struct.pack("<I", 2049) + bytes(2049).replace(b"\0", b"a") + MESSAGE[-40:] + bytes(32), "1 to 2048"),
        (MESSAGE[:-40] + bytes(8) + DIGEST + bytes(32), "0 is none"),
        (MESSAGE[:-40] + b"\xff" * 8 + DIGEST + bytes(32), "is none"),
    ],
)
def test_bytes_that_are_no_report(data: bytes, said: str) -> None:
    with pytest.raises(ParseError, match=said):
        RootReport.parse(data)


def test_the_carrier_carries_what_the_broker_reads() -> None:
    sizes = frames.SIZES[frames.Kind.ROOT]
    longest = RootReport.make(KEY, "n" * root_report.LONGEST_NAME, Root(9, DIGEST)).serialize()
    assert (sizes.start, sizes.stop - 1) == (len(RootReport.make(KEY, "n", Root(9, DIGEST)).serialize()), len(longest))
