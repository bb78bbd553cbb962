"""Whatever the bytes are, the parser of software evidence gives evidence that round-trips or a ParseError."""

from typing import Any

import cbor2
from hypothesis import given
from hypothesis import strategies as st
from tests.forge.software import SoftwareForge

from cloister import _cbor
from cloister.errors import ParseError
from cloister.evidence.software import Admission, Guard, looks_like, parse

FORGE = SoftwareForge()
WHOLE = FORGE.evidence(b"nonce", kernel="6.18.0", boot_id=bytes(16), secure_boot=True)
DIGESTS = st.binary(min_size=32, max_size=32)
FIELDS = st.fixed_dictionaries(
    {
        "report_data": st.binary(min_size=64, max_size=64), "executable": DIGESTS, "libraries": DIGESTS,
        "runtime": DIGESTS, "loaded": DIGESTS, "guard": st.sampled_from(Guard),
        "admission": st.sampled_from(Admission),
    },
    optional={
        "kernel": st.text(min_size=1, max_size=128), "boot_id": st.binary(min_size=16, max_size=16),
        "secure_boot": st.booleans(),
    },
)  # fmt: skip
CLAIMS = [265, 10, "mode", "executable", "libraries", "runtime", "loaded", "guard", "admission", "kernel", "boot_id"]
VALUES: st.SearchStrategy[Any] = st.sampled_from([None, True, 0, -1, "", "software", [], {}, 1.5]) | st.binary(
    max_size=64
)


def check(data: bytes) -> None:
    looks_like(data)
    try:
        evidence = parse(data)
    except ParseError:
        return
    assert evidence.serialize() == data


@given(FIELDS)
def test_all_that_can_be_said_is_read_again(fields: dict[str, Any]) -> None:
    evidence = parse(FORGE.evidence(**fields))
    assert {name: getattr(evidence, name) for name in fields} == fields
    check(evidence.serialize())


@given(st.binary(max_size=256))
def test_any_bytes(data: bytes) -> None:
    check(data)
    check(WHOLE[:48] + data)


@given(st.data())
def test_altered_and_truncated_evidence(data: st.DataObject) -> None:
    altered = bytearray(WHOLE)
    for _ in range(data.draw(st.integers(1, 4))):
        altered[data.draw(st.integers(0, len(WHOLE) - 1))] = data.draw(st.integers(0, 255))
    check(bytes(altered))
    check(WHOLE[: data.draw(st.integers(0, len(WHOLE) - 1))])


@given(st.dictionaries(st.sampled_from([*CLAIMS, "secure_boot", "new"]), VALUES, min_size=1, max_size=3))
def test_claims_of_any_kind(changes: dict[int | str, Any]) -> None:
    parts = list(cbor2.loads(WHOLE).value)
    claims = dict(cbor2.loads(parts[2])) | changes
    payload = cbor2.dumps({key: claims[key] for key in sorted(claims, key=cbor2.dumps)})
    check(cbor2.dumps(_cbor.Tag(18, [*parts[:2], payload, parts[3]])))
