"""Every real event log gives the registers that it should; where a quote of the same boot is at hand, that too."""

import functools
import json
import re
from pathlib import Path
from typing import Any

import pytest
from tests.samples.conftest import EVIDENCE

from cloister.errors import BindingInvalid
from cloister.evidence import eventlog, eventlog_dstack, tdx
from cloister.evidence.eventlog import EV_NO_ACTION
from cloister.evidence.tdx import TdReport10
from cloister.verification import eventlog_dstack as dstack
from cloister.verification.eventlog import CC_REGISTERS, check_replay, explained, replay
from cloister.verification.recipe import Compared

SAMPLES = sorted(path.parent for path in EVIDENCE.glob("event-logs/*/eventlog.bin"))
KERNEL_BANKS = ("sha1", "sha256", "sha384", "sha512")


@functools.cache
def meta(folder: Path) -> Any:
    return json.loads((folder / "meta.json").read_text())


@functools.cache
def log_in(folder: Path) -> eventlog.EventLog:
    return eventlog.parse((folder / "eventlog.bin").read_bytes())


def test_the_samples_are_here() -> None:
    assert len(SAMPLES) == 27


@pytest.mark.parametrize("folder", SAMPLES, ids=lambda one: one.name)
def test_every_log_is_read_and_written_again(folder: Path) -> None:
    log = log_in(folder)
    assert log.serialize() == (folder / "eventlog.bin").read_bytes()
    assert eventlog.looks_like((folder / "eventlog.bin").read_bytes())
    assert len(log.events) == meta(folder)["events"] + 1  # the first event, which names the algorithms, is not counted
    assert (log.filled > 0) == (log.serialize()[-8:] in {b"\xff" * 8, bytes(8)})


@pytest.mark.parametrize("folder", SAMPLES, ids=lambda one: one.name)
def test_every_log_gives_the_expected_registers(folder: Path) -> None:
    log, expected = log_in(folder), meta(folder)["expected"]["registers_after_replay"]
    found = {bank: {str(index): value.hex() for index, value in replay(log, bank).items()} for bank in KERNEL_BANKS}
    assert {bank: registers for bank, registers in found.items() if registers} == expected


UPSTREAM = [one for one in SAMPLES if "upstream_pcr_values" in {**meta(one), **meta(one)["expected"]}]


def test_there_are_logs_with_independent_values() -> None:
    assert len(UPSTREAM) >= 8


@pytest.mark.parametrize("folder", UPSTREAM, ids=lambda one: one.name)
def test_the_values_that_others_assert_are_given(folder: Path) -> None:
    values = {**meta(folder), **meta(folder)["expected"]}["upstream_pcr_values"]
    for bank, registers in values.items():
        signed = {int(index): bytes.fromhex(value) for index, value in registers.items()}
        outcome = check_replay(log_in(folder), signed, bank, index_names={index: f"pcr{index}" for index in signed})
        assert isinstance(outcome, Compared)
        assert dict(outcome.actual) == {f"pcr{index}": value for index, value in signed.items()}  # type: ignore[call-overload]


QUOTED = [(one, said) for one in SAMPLES for said in meta(one)["expected"].get("matches_tdx_quote", [])]


def test_there_are_logs_with_quotes() -> None:
    assert len(QUOTED) == 7


def registers_of(name: str) -> dict[int, bytes]:
    quote = tdx.parse((EVIDENCE / name / "quote.bin").read_bytes())
    return {index: getattr(quote.body, field) for index, field in CC_REGISTERS.items()}


@pytest.mark.parametrize(("folder", "said"), QUOTED, ids=lambda one: getattr(one, "name", str(one)[-40:]))
def test_the_registers_of_a_quote_of_the_same_boot(folder: Path, said: str) -> None:
    match = re.fullmatch(r"(\S+): RTMR(\d) of the log equals rtmr(\d) of the quote", said)
    assert match is not None
    assert match[2] == match[3]
    index = int(match[2]) + 1
    registers = registers_of(match[1])
    outcome = check_replay(log_in(folder), {index: registers[index]}, "sha384", index_names=CC_REGISTERS)
    assert isinstance(outcome, Compared)
    assert outcome.actual == ((CC_REGISTERS[index], registers[index]),)


def test_a_log_with_a_repeated_separator_is_not_that_of_the_quote() -> None:
    folder = EVIDENCE / "event-logs" / "goeventlog-cos-113-intel-tdx-dupe-separator-unpadded"
    with pytest.raises(BindingInvalid, match="value of rtmr0 that was signed"):
        check_replay(
            log_in(folder),
            registers_of("intel-tdx/gotdxguest-cos-113-tdx-quote-v4"),
            "sha384",
            index_names=CC_REGISTERS,
        )


def test_no_log_is_that_of_another_machines_quote() -> None:
    registers = registers_of("intel-tdx/gotdxguest-cos-113-tdx-quote-v4")
    own = "goeventlog-cos-113-intel-tdx"
    others = [one for one in SAMPLES if one.name != own and "sha384" in log_in(one).banks]
    for folder in others:
        with pytest.raises(BindingInvalid):
            check_replay(log_in(folder), registers, "sha384", index_names=CC_REGISTERS)
    assert len(others) > 15


HASHED = {
    "EV_SEPARATOR",
    "EV_ACTION",
    "EV_EFI_ACTION",
    "EV_EFI_VARIABLE_DRIVER_CONFIG",
    "EV_EFI_VARIABLE_BOOT",
    "EV_EFI_GPT_EVENT",
}
"""The profile says of these that their data, or the variable's value in it, is what is hashed."""


def test_events_whose_data_is_hashed_are_explained_by_it() -> None:
    seen = 0
    for folder in SAMPLES:
        log = log_in(folder)
        banks = [bank for bank in log.banks if bank in KERNEL_BANKS]
        for event in log.events:
            if event.type != EV_NO_ACTION and event.type_name in HASHED and banks:
                assert all(explained(event, bank) is not None for bank in banks), (folder.name, event)
                seen += 1
    assert seen > 400


DSTACK = EVIDENCE / "intel-tdx" / "dstack-app-event-log" / "quote-report.json"


def test_dstacks_application_events_give_rtmr3() -> None:
    document = json.loads(DSTACK.read_text())
    data = document["event_log"].encode()
    log = eventlog_dstack.parse(data)
    assert log.serialize() == data
    quote = bytes.fromhex(document["quote"])
    body = TdReport10.parse(quote[48 : 48 + TdReport10.SIZE])
    registers = {0: body.rtmr0, 1: body.rtmr1, 2: body.rtmr2, 3: body.rtmr3}
    outcome = dstack.check_replay(log, registers)
    assert isinstance(outcome, Compared)
    assert outcome.actual == tuple((f"rtmr{index}", value) for index, value in registers.items())
    names = [event.name for event in log.events if event.register == 3]
    assert names[:3] == ["system-preparing", "app-id", "compose-hash"]


def test_dstacks_application_events_altered() -> None:
    events = json.loads(json.loads(DSTACK.read_text())["event_log"])
    last = events[-1]
    last["event_payload"] = "00" + last["event_payload"][2:]
    with pytest.raises(BindingInvalid, match="not what its digest says"):
        dstack.replay(eventlog_dstack.parse(json.dumps(events).encode()))
    last["digest"] = ""
    altered = dstack.replay(eventlog_dstack.parse(json.dumps(events).encode()))
    assert altered[3] != dstack.replay(eventlog_dstack.parse(json.loads(DSTACK.read_text())["event_log"].encode()))[3]
