"""The parts of a measurement: one root over them, written and read again, and compared."""

import json
from dataclasses import replace
from typing import Any

import pytest

from cloister.errors import UsageError
from cloister.measure.components import Difference, Measured, content, differences, read_measured
from cloister.model import Digest, Tee

MEASURED = Measured(
    machine="sev-snp",
    tee=Tee.SNP,
    claims={"measurement": Digest("sha384", b"m" * 48), "host_data": Digest("sha256", b"h" * 32)},
    components={"firmware": content(b"ovmf"), "command line": "quiet", "processors": "4"},
)


def test_what_is_written_is_read() -> None:
    assert read_measured(json.dumps(MEASURED.as_json()), "x") == MEASURED
    assert MEASURED.references() == ["snp:measurement=" + "6d" * 48, "snp:host_data=" + "68" * 32]


def test_the_root_is_of_machine_names_and_values() -> None:
    roots = {
        MEASURED.root,
        replace(MEASURED, machine="sev").root,
        replace(MEASURED, components={**MEASURED.components, "processors": "5"}).root,
        replace(MEASURED, components={"a": "bc"}).root,
        replace(MEASURED, components={"ab": "c"}).root,
        replace(MEASURED, components={}).root,
    }
    assert len(roots) == 6
    assert replace(MEASURED, claims={"measurement": Digest("sha384", bytes(48))}).root == MEASURED.root


def test_differences_name_the_input_first() -> None:
    other = replace(
        MEASURED,
        claims={"measurement": Digest("sha384", bytes(48)), "host_data": MEASURED.claims["host_data"]},
        components={"firmware": content(b"ovmf"), "command line": "debug", "svsm": "x"},
    )
    assert differences(MEASURED, MEASURED) == []
    assert differences(MEASURED, other) == [
        Difference(name="command line", before="quiet", after="debug"),
        Difference(name="processors", before="4", after=None),
        Difference(name="svsm", before=None, after="x"),
        Difference(name="measurement", before=f"sha384:{'6d' * 48}", after=f"sha384:{'00' * 48}"),
    ]


@pytest.mark.parametrize(
    "change",
    [
        {"root": "00" * 32}, {"tee": "nitro"}, {"claims": {}}, {"claims": {"measurement": "sha384:00"}}, {"more": 1},
        {"claims": {"measurement": "sha384:" + "6D" * 48}}, {"claims": {"measurement": "none:00"}},
        {"claims": {"measurement": "sha\0384:00"}},
        {"claims": {"measurement": 1}}, {"components": [1]}, {"components": {"a": 1}}, {"digest": "00"},
        {"claims": {"measurement": "shake_128:"}}, {"machine": 1},
    ],
)  # fmt: skip
def test_a_document_that_was_changed_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"^old\.json: "):
        read_measured(json.dumps(MEASURED.as_json() | change), "old.json")


@pytest.mark.parametrize("text", ["", "[]", "{", '{"a":1}', '{"a":1,"a":1}', "\ud800", "9" * 5000])
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"^old\.json: "):
        read_measured(text, "old.json")
