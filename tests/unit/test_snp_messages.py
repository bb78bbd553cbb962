"""SNP guest messages: the layout on the wire, and what the host between guest and firmware cannot do."""

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from cloister.emulate.snp.messages import (
    LONGEST_PAYLOAD,
    Channel,
    KeyRequest,
    KeyResponse,
    MessageHeader,
    MessageType,
    ReportRequest,
    ReportResponseHeader,
)
from cloister.errors import NotFresh, ParseError, SignatureInvalid, UsageError

VMPCK = bytes(range(32))


def ends(number: int = 0) -> tuple[Channel, Channel]:
    return Channel(key=VMPCK, number=number), Channel(key=VMPCK, number=number)


def test_a_conversation() -> None:
    guest, firmware = ends(2)
    request = ReportRequest(report_data=b"nonce".ljust(64, b"\0"), vmpl=0, key_select=0).serialize()
    for count in range(1, 6, 2):
        sent = guest.seal(MessageType.REPORT_REQ, request)
        assert request not in sent
        assert firmware.open(sent.ljust(4096, b"\0")) == (MessageType.REPORT_REQ, 1, request)
        answer = ReportResponseHeader(status=0, report_size=1184).serialize() + bytes(1184)
        assert guest.open(firmware.seal(MessageType.REPORT_RSP, answer, version=2)) == (
            MessageType.REPORT_RSP,
            2,
            answer,
        )
        assert guest.sequence == firmware.sequence == count + 1


def test_layout_of_a_message() -> None:
    """Linux, arch/x86/include/asm/sev.h, struct snp_guest_msg_hdr."""
    guest, _ = ends(3)
    message = guest.seal(MessageType.KEY_REQ, bytes(32))
    assert len(message) == 0x60 + 32
    assert message[0x10:0x20] == bytes(16)
    assert message[0x20:0x30] == (1).to_bytes(8, "little") + bytes(8)
    assert message[0x30:0x38] == bytes([1, 1, 0x60, 0, 3, 1, 32, 0])
    assert message[0x38:0x60] == bytes([0, 0, 0, 0, 3]) + bytes(35)


def test_an_independent_opening_agrees() -> None:
    """AES-256-GCM as the layout says it: the nonce is the sequence number, authenticated are bytes 0x30 to 0x5f."""
    guest, _ = ends(1)
    for sequence in (1, 2):
        message = guest.seal(MessageType.REPORT_REQ, bytes(range(96)))
        nonce = sequence.to_bytes(8, "little") + bytes(4)
        plain = AESGCM(VMPCK).decrypt(nonce, message[0x60:] + message[:16], message[0x30:0x60])
        assert plain == bytes(range(96))


def test_sizes_of_what_travels() -> None:
    assert (ReportRequest.SIZE, ReportResponseHeader.SIZE, KeyRequest.SIZE, KeyResponse.SIZE) == (96, 32, 32, 64)


@pytest.mark.parametrize("offset", range(0x60 + 16))
def test_every_byte_of_a_message_matters(offset: int) -> None:
    guest, firmware = ends()
    data = bytearray(guest.seal(MessageType.KEY_REQ, bytes(16)))
    genuine = bytes(data)
    data[offset] ^= 1 << offset % 8
    with pytest.raises((ParseError, SignatureInvalid, NotFresh)):
        firmware.open(bytes(data))
    assert firmware.sequence == 0, "a refused message changes nothing"
    firmware.open(genuine)


def test_a_message_is_taken_once_and_in_order() -> None:
    guest, firmware = ends()
    first, second = guest.seal(MessageType.KEY_REQ, bytes(32)), guest.seal(MessageType.KEY_REQ, bytes(32))
    assert first[0x60:] != second[0x60:]
    with pytest.raises(NotFresh):
        firmware.open(second)
    firmware.open(first)
    with pytest.raises(NotFresh):
        firmware.open(first)
    firmware.open(second)
    assert firmware.sequence == 2


def test_the_host_cannot_send_a_request_back_as_its_answer() -> None:
    guest, _ = ends()
    sent = guest.seal(MessageType.KEY_REQ, bytes(32))
    with pytest.raises(NotFresh):
        guest.open(sent)


def test_keys_and_their_numbers_are_kept_apart() -> None:
    guest, _ = ends(0)
    sent = guest.seal(MessageType.KEY_REQ, bytes(32))
    with pytest.raises(SignatureInvalid, match="names another key"):
        Channel(key=VMPCK, number=1).open(sent)
    with pytest.raises(SignatureInvalid, match="under another key"):
        Channel(key=bytes(32), number=0).open(sent)
    assert VMPCK.hex() not in repr(guest)
    assert repr(VMPCK) not in repr(guest)


def test_limits_of_a_channel() -> None:
    guest, firmware = ends()
    assert len(guest.seal(MessageType.KEY_REQ, bytes(LONGEST_PAYLOAD))) == 4096
    with pytest.raises(UsageError, match="at most 4000"):
        guest.seal(MessageType.KEY_REQ, bytes(LONGEST_PAYLOAD + 1))
    with pytest.raises(ParseError, match="message_size"):
        firmware.open(ends()[0].seal(MessageType.KEY_REQ, bytes(32))[:-1])
    with pytest.raises(ParseError):
        firmware.open(bytes(MessageHeader.SIZE - 1))
    with pytest.raises(UsageError, match="used up"):
        Channel(key=VMPCK, sequence=2**64 - 1).seal(MessageType.KEY_REQ, b"")
    with pytest.raises(UsageError, match="32 bytes"):
        Channel(key=bytes(16)).seal(MessageType.KEY_REQ, b"")
