"""Event logs: how they are read, what they extend, and what of them is explained by its own data."""

import hashlib
import json
from typing import Any

import pytest
from tests.forge.tpm import BOOT, Measured, event_log, extended, little_sized, spec_id

from cloister.errors import BindingInvalid, ParseError
from cloister.evidence import eventlog, eventlog_dstack
from cloister.evidence.eventlog import Event
from cloister.model import Unchecked
from cloister.verification import eventlog_dstack as dstack
from cloister.verification.eventlog import CC_REGISTERS, check_replay, explained, replay
from cloister.verification.recipe import Compared

NAMES = {index: f"pcr{index}" for index in range(24)}


@pytest.mark.parametrize("filling", [b"", b"\xff" * 8, b"\xff" * 70_000, bytes(1), bytes(70_000)], ids=len)
@pytest.mark.parametrize("legacy", [False, True], ids=["crypto-agile", "legacy"])
def test_a_log_is_read_and_written_again(legacy: bool, filling: bytes) -> None:  # noqa: FBT001 - a parameter of the test
    data = event_log(legacy=legacy, filling=filling)
    log = eventlog.parse(data)
    assert log.crypto_agile is not legacy
    assert len(log.events) == len(BOOT) + (not legacy)
    assert log.banks == (("sha1",) if legacy else ("sha1", "sha256"))
    assert log.filled <= len(filling)
    assert log.serialize() == data


def test_every_field_of_an_event() -> None:
    log = eventlog.parse(event_log())
    head, first = log.events[:2]
    assert (head.type_name, head.offset, head.digest("sha1")) == ("EV_NO_ACTION", 0, bytes(20))
    assert (first.register, first.type, first.type_name, first.data) == (0, 8, "EV_S_CRTM_VERSION", b"firmware 1")
    assert first.offset == len(spec_id(("sha1", "sha256")))
    assert first.digest("sha256") == hashlib.sha256(b"firmware 1").digest()
    assert first.digest("sha384") == first.digest("no such algorithm") == b""
    assert Event(register=0, type=0x1234, digests=(), data=b"", offset=0).type_name == "0x1234"


HEAD = spec_id(("sha256",))
GOOD = event_log(BOOT[:1], banks=("sha256",))
AT = len(HEAD)


def patched(at: int, new: bytes, data: bytes = GOOD) -> bytes:
    return data[:at] + new + data[at + len(new) :]


MALFORMED = {
    "nothing": (b"", "0 bytes"),
    "more than firmware keeps": (HEAD + bytes(5 << 20), "4194304 are understood"),
    "cut off": (GOOD[:-1], "event data"),
    "bytes behind that are no filling": (GOOD + b"\xff\xfe", "register"),
    "a register that does not exist": (patched(AT, b"\x20"), "register.*0x20 does not exist"),
    "another number of digests": (patched(AT + 8, b"\2"), "digest count.*is 2"),
    "no digests": (patched(AT + 8, b"\0"), "digest count.*is 0"),
    "a digest in another algorithm": (patched(AT + 12, b"\x0c"), "0xc is not one of this log's"),
    "data longer than the log": (patched(AT + 46, b"\xff\xff\xff\xff"), "needs 4294967295 bytes"),
    "a first event with a digest": (patched(8, b"\1"), "extends nothing"),
    "another version": (patched(32 + 21, b"\1"), "only version 2"),
    "no algorithms": (patched(32 + 24, b"\0"), "1 to 16"),
    "thousands of algorithms": (patched(32 + 25, b"\xff"), "1 to 16"),
    "a digest of another size": (patched(32 + 30, b"\x21"), "no digests of 33 bytes"),
    "vendor information longer than the event": (patched(32 + 32, b"\1"), "vendor information"),
    "an algorithm twice": (event_log(BOOT[:1], banks=("sha256", "sha256")), "stands twice"),
    "a legacy log, cut off": (event_log(legacy=True)[:-1], "event data"),
}


@pytest.mark.parametrize(("data", "reason"), MALFORMED.values(), ids=MALFORMED)
def test_malformed_logs_are_refused(data: bytes, reason: str) -> None:
    with pytest.raises(ParseError, match=reason) as caught:
        eventlog.parse(data)
    assert caught.value.record == "event log"


def in_another_order(events: bytes, *, twice: bool = False) -> bytes:
    """The log of one event in SHA-1 and SHA-256 whose digests stand the other way round, or one of them twice."""
    head, first, second, rest = events[:12], events[12:34], events[34:68], events[68:]
    return head + second + (second[:22] if twice else first) + rest


def test_digests_may_stand_in_another_order() -> None:
    head = spec_id(("sha1", "sha256"))
    usual = event_log(BOOT[:1])
    data = head + in_another_order(usual.removeprefix(head))
    assert data != usual
    log, other = eventlog.parse(usual), eventlog.parse(data)
    assert other.serialize() == data
    assert [number for number, _ in other.events[1].digests] == [0x0B, 0x04]
    assert all(replay(other, bank) == replay(log, bank) for bank in ("sha1", "sha256"))


def test_a_digest_twice_in_one_event_is_refused_where_it_stands() -> None:
    head = spec_id(("sha1", "sha256"))
    data = head + in_another_order(event_log(BOOT[:1]).removeprefix(head), twice=True)
    with pytest.raises(ParseError, match="stands twice in one event") as caught:
        eventlog.parse(data)
    assert caught.value.offset == len(head) + 12 + 34 + 2  # behind the number that it repeats


def test_an_event_that_extends_nothing_may_name_any_register() -> None:
    data = (
        HEAD
        + b"\xff" * 4
        + b"\3\0\0\0"
        + (1).to_bytes(4, "little")
        + b"\x0b\0"
        + bytes(32)
        + little_sized(b"reference")
    )
    log = eventlog.parse(data)
    assert log.events[1].register == 0xFFFFFFFF
    assert replay(log, "sha256") == {}


def test_what_looks_like_a_log() -> None:
    assert eventlog.looks_like(event_log())
    assert not any(map(eventlog.looks_like, (b"", event_log(legacy=True), bytes(100))))


@pytest.mark.parametrize("bank", ["sha1", "sha256", "sha384", "sha512"])
def test_a_log_gives_the_registers(bank: str) -> None:
    registers = replay(eventlog.parse(event_log(banks=(bank,))), bank)
    assert set(registers) == set(range(10))
    assert registers == {index: extended(bank=bank)[index] for index in registers}


def test_a_legacy_log_gives_the_sha1_registers() -> None:
    log = eventlog.parse(event_log(legacy=True))
    assert replay(log, "sha1") == {index: value for index, value in extended(bank="sha1").items() if index < 10}
    assert replay(log, "sha256") == {}


def test_the_startup_locality_is_where_pcr_0_begins() -> None:
    startup = Measured(0, 3, b"StartupLocality\0\3")
    log = eventlog.parse(event_log((startup, *BOOT)))
    assert replay(log, "sha256")[0] == extended(locality=3)[0] != extended()[0]
    for events in ((*BOOT, startup), (startup, startup, *BOOT)):
        with pytest.raises(BindingInvalid, match="startup locality twice, or after"):
            replay(eventlog.parse(event_log(events)), "sha256")
    elsewhere = eventlog.parse(event_log((Measured(1, 3, b"StartupLocality\0\3"), *BOOT)))
    assert replay(elsewhere, "sha256")[1] == extended()[1]


def test_algorithms_that_not_every_machine_has_give_nothing() -> None:
    log = eventlog.parse(event_log(banks=("sm3",)))
    assert log.banks == ("sm3",)
    assert replay(log, "sm3") == {}
    assert explained(log.events[1], "sm3") is None


def test_matching_registers_are_compared_by_name() -> None:
    log = eventlog.parse(event_log())
    values = extended()
    outcome = check_replay(log, {4: values[4], 9: values[9], 20: b"x" * 32}, "sha256", index_names=NAMES)
    assert isinstance(outcome, Compared)
    assert outcome.actual == (("pcr4", values[4]), ("pcr9", values[9]))


def test_the_first_register_that_differs_is_named() -> None:
    log = eventlog.parse(event_log())
    with pytest.raises(BindingInvalid, match="value of rtmr1 that") as caught:
        check_replay(log, {1: extended()[1], 2: bytes(32), 3: bytes(32)}, "sha256", index_names=CC_REGISTERS)
    assert (caught.value.expected, caught.value.actual) == (bytes(32), extended()[2])


def test_a_register_that_must_be_in_the_log_is_zero_if_it_is_not() -> None:
    log = eventlog.parse(event_log(BOOT[9:]))
    registers = {0: bytes(32), 4: extended(BOOT[9:])[4]}
    assert isinstance(check_replay(log, registers, "sha256", index_names=NAMES, complete=range(8)), Compared)
    with pytest.raises(BindingInvalid, match="pcr0"):
        check_replay(log, registers | {0: b"\1" * 32}, "sha256", index_names=NAMES, complete=range(8))
    assert isinstance(check_replay(log, registers | {0: b"\1" * 32}, "sha256", index_names=NAMES), Compared)


def test_nothing_to_compare_is_not_a_match() -> None:
    log = eventlog.parse(event_log())
    for registers, bank, reason in (
        ({}, "sha256", "none of"),
        ({20: bytes(32)}, "sha256", "none of"),
        ({0: b""}, "sha384", "nothing in sha384"),
    ):
        outcome = check_replay(log, registers, bank, index_names=NAMES)
        assert isinstance(outcome, Unchecked)
        assert reason in outcome.reason


def variable(name: str, value: bytes) -> bytes:
    return (
        bytes(16)
        + len(name).to_bytes(8, "little")
        + len(value).to_bytes(8, "little")
        + name.encode("utf-16-le")
        + value
    )


EXPLAINED: dict[str, tuple[int, bytes, bytes, bytes | None]] = {
    "data as it stands": (0x04, bytes(4), bytes(4), bytes(4)),
    "a boot loader's command behind its label": (0x0D, b"grub_cmd: set root\0", b"set root", b"set root"),
    "a boot loader's text without the final zero": (0x0D, b"text\0", b"text", b"text"),
    "a boot variable's value": (0x80000002, variable("Boot0001", b"value"), b"value", b"value"),
    "a boot variable, whole": (
        0x80000002,
        variable("Boot0001", b"value"),
        variable("Boot0001", b"value"),
        variable("Boot0001", b"value"),
    ),
    "a boot variable with a wrong size": (0x80000002, variable("Boot0001", b"value") + b"x", b"value", None),
    "a description of something else": (0x80000003, b"path", b"the program", None),
    "a label with nothing behind": (0x0D, b"no label", b"", None),
    "another driver variable's value": (0x80000001, variable("db", b"value"), b"value", None),
}


@pytest.mark.parametrize(("kind", "said", "measured", "expected"), EXPLAINED.values(), ids=EXPLAINED)
def test_only_what_was_hashed_is_explained(kind: int, said: bytes, measured: bytes, expected: bytes | None) -> None:
    log = eventlog.parse(event_log([Measured(5, kind, measured, said)]))
    assert explained(log.events[1], "sha256") == explained(log.events[1], "sha1") == expected


def application(name: str = "app-id", payload: str = "c0ffee", **changes: Any) -> dict[str, Any]:
    measured = b"\1\0\0\x08:" + name.encode() + b":" + bytes.fromhex(payload)
    digest = hashlib.sha384(measured).hexdigest()
    return {"imr": 3, "event_type": 0x08000001, "digest": digest, "event": name, "event_payload": payload} | changes


def dstack_log(*events: dict[str, Any]) -> bytes:
    return json.dumps(events, separators=(",", ":"), ensure_ascii=False).encode()


BOOT_EVENT = {"imr": 0, "event_type": 4, "digest": "ab" * 48, "event": "", "event_payload": "00000000"}


def test_dstacks_log_gives_rtmr3_by_its_events() -> None:
    data = dstack_log(BOOT_EVENT, application(), application("compose-hash", "", digest=""), application("größe"))
    log = eventlog_dstack.parse(data)
    assert eventlog_dstack.looks_like(data)
    assert log.serialize() == data
    expected = bytes(48)
    for event in (application(), application("compose-hash", ""), application("größe")):
        expected = hashlib.sha384(expected + bytes.fromhex(event["digest"])).digest()
    registers = dstack.replay(log)
    assert registers == {0: hashlib.sha384(bytes(48) + b"\xab" * 48).digest(), 3: expected}
    assert isinstance(dstack.check_replay(log, registers | {1: bytes(48)}), Compared)
    assert isinstance(dstack.check_replay(log, {1: bytes(48)}), Unchecked)
    with pytest.raises(BindingInvalid, match="rtmr3"):
        dstack.check_replay(log, registers | {3: bytes(48)})


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        (application(event_payload="c0ffef"), "not what its digest says"),
        (application(event="app-ie"), "not what its digest says"),
        (application("a:b", digest=""), "colon"),
    ],
    ids=["another payload", "another name", "an ambiguous name"],
)
def test_a_dstack_event_is_what_its_digest_says(event: dict[str, Any], reason: str) -> None:
    with pytest.raises(BindingInvalid, match=reason):
        dstack.replay(eventlog_dstack.parse(dstack_log(event)))


BAD_DSTACK = {
    "no list": (b"{}", "1 to 10000"),
    "no events": (b"[]", "1 to 10000"),
    "an event that is none": (dstack_log(), "1 to 10000"),
    "a register that does not exist": (dstack_log(application(imr=4)), "no RTMR 4"),
    "a type beyond 32 bits": (dstack_log(application(event_type=1 << 32)), "no event type"),
    "version 2": (dstack_log(application(version=2)), "has no others"),
    "a key left out": (dstack_log({k: v for k, v in application().items() if k != "event"}), "needs the keys"),
    "a boot event without digest": (dstack_log(BOOT_EVENT | {"digest": ""}), "has 48"),
    "a digest of another size": (dstack_log(application(digest="00")), "1 bytes"),
    "uppercase digits": (dstack_log(application(event_payload="C0")), "lowercase"),
    "no digits": (dstack_log(application(event_payload="zz")), "lowercase"),
    "half a character": (json.dumps([application(event="\ud800")]).encode(), "half a character"),
    "no JSON": (b"[", "json"),
}


@pytest.mark.parametrize(("data", "reason"), BAD_DSTACK.values(), ids=BAD_DSTACK)
def test_malformed_dstack_logs_are_refused(data: bytes, reason: str) -> None:
    with pytest.raises(ParseError, match=reason):
        eventlog_dstack.parse(data)
