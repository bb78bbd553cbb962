"""Files of reference values, and what is refused in them."""

import json

import pytest

from cloister.appraise.reference import ReferenceValue, ReferenceValues, read_reference_values
from cloister.appraise.rules import Operator
from cloister.errors import PolicyError
from cloister.model import Tee


def read(*entries: object) -> ReferenceValues:
    return read_reference_values(json.dumps({"reference_values": entries}), name="rv.json")


def test_entries() -> None:
    values = read(
        {"tee": "sgx", "name": "mrenclave", "digest": "sha256:" + "AB" * 32, "label": "app", "provenance": "CI"},
        {"tee": "sgx", "name": "isvsvn", "minimum": 3},
        {"tee": "tdx", "name": "debug", "value": False},
    )
    assert values.values[0] == ReferenceValue(
        tee=Tee.SGX, name="mrenclave", operand="ab" * 32, label="app", provenance="CI"
    )
    assert values.values[1].operator is Operator.MINIMUM
    assert values.values[1].matches(3)
    assert not values.values[1].matches(2)
    assert values.values[2].matches(False)  # noqa: FBT003 - a claim's value
    assert not values.values[2].matches(0)


def test_a_bare_list_is_a_file_too() -> None:
    assert len(read_reference_values('[{"tee": "sgx", "name": "x", "value": 1}]', name="rv.json")) == 1


def test_joining_keeps_each_once() -> None:
    one = read({"tee": "sgx", "name": "x", "value": 1})
    two = read({"tee": "sgx", "name": "x", "value": 1}, {"tee": "sgx", "name": "x", "value": 2})
    assert [each.operand for each in (one | two).values] == [1, 2]


REFUSED = {
    "no object": (1, "entry 1"),
    "an unknown key": ({"tee": "sgx", "name": "x", "value": 1, "vlaue": 2}, "vlaue"),
    "no TEE": ({"name": "x", "value": 1}, "tee"),
    "an unknown TEE": ({"tee": "sgxx", "name": "x", "value": 1}, "tee"),
    "no name": ({"tee": "sgx", "value": 1}, "name"),
    "no value": ({"tee": "sgx", "name": "x"}, "exactly one"),
    "two values": ({"tee": "sgx", "name": "x", "value": 1, "minimum": 1}, "exactly one"),
    "a digest that is none": ({"tee": "sgx", "name": "x", "digest": "xyz"}, "digest"),
    "a digest of an unknown algorithm": ({"tee": "sgx", "name": "x", "digest": "sha257:00"}, "sha257"),
    "a digest of another length": ({"tee": "sgx", "name": "x", "digest": "sha384:" + "00" * 32}, "sha384"),
    "a fraction": ({"tee": "sgx", "name": "x", "value": 0.5}, "value"),
    "a minimum of text": ({"tee": "sgx", "name": "x", "minimum": "3"}, "minimum"),
    "a label that is no text": ({"tee": "sgx", "name": "x", "value": 1, "label": 1}, "label"),
}


@pytest.mark.parametrize(("entry", "reason"), REFUSED.values(), ids=REFUSED)
def test_what_is_wrong_is_refused(entry: object, reason: str) -> None:
    with pytest.raises(PolicyError, match=r"^rv\.json: entry 1: ") as caught:
        read(entry)
    assert reason in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", '{"a": 1, "a": 2}', "1", '{"values": []}', "[NaN]", "\x00"])
def test_what_is_no_list_is_refused(text: str) -> None:
    with pytest.raises(PolicyError, match=r"^rv\.json"):
        read_reference_values(text, name="rv.json")


def test_errors_in_json_name_the_line() -> None:
    with pytest.raises(PolicyError, match=r"^rv\.json:3: "):
        read_reference_values("[\n1,\n}\n", name="rv.json")
