"""Whatever the bytes: an envelope or a ParseError, in bounded time, and what was recognised is exact."""

import base64
import random
import time
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.forge import envelope as forge
from tests.forge.ratls import GRAMINE, armoured, certificate, claims_for, dice_extension, oe_evidence
from tests.forge.x509 import ec_key

from cloister import _cbor
from cloister._cbor import Tag
from cloister.envelope import Envelope, open_envelope
from cloister.errors import ParseError
from cloister.evidence import sgx

QUOTE = forge.sgx_quote()
REPORT = forge.snp_report()
KEY = ec_key(ec.SECP384R1())
VCEK = forge.authority().certificate.encoded
SEEDS = [
    QUOTE,
    forge.tdx_quote() + bytes(70),
    REPORT + forge.cert_table({forge.VCEK_GUID: VCEK}),
    QUOTE.hex().encode(),
    base64.b64encode(QUOTE),
    certificate(KEY, [dice_extension(forge.sgx_quote, claims_for(KEY)), (GRAMINE, QUOTE)]).encoded,
    armoured(certificate(KEY, [(GRAMINE, QUOTE)]).encoded),
    oe_evidence(QUOTE, b"claims"),
    forge.document({"attestation_report": forge.fields_of_report(REPORT), "cert_chain": [{"data": list(VCEK)}]}),
    forge.document({"quote": base64.b64encode(QUOTE).decode(), "cc_eventlog": None}),
    forge.document({"x": ["a/b", forge.base64url(QUOTE)], "__cmwc_t": "1.2.3"}),
    _cbor.dumps({"provider": "sev_guest", "outblob": REPORT, "auxblob": forge.cert_table({forge.VCEK_GUID: VCEK})}),
    _cbor.dumps({1: ["a/b", QUOTE, 4], "x": ["#cmw-j2c-tunnel", b'["a/b","AA"]'], 2: Tag(1668546817, QUOTE)}),
    b"\0\0" + forge.compact(forge.tdx_quote()) + b"\0\0" + bytes(64) + b"\0",
]
BUDGET = 5.0
"""Seconds for the worst input of 16 MiB on a slow and busy machine; ordinary envelopes take a millisecond."""


def opened(data: bytes) -> Envelope | None:
    """The envelope, or None if it was refused; anything else that is raised fails the test."""
    try:
        found = open_envelope(data)
    except ParseError:
        return None
    assert found.parts
    assert found.path
    return found


@given(st.binary(max_size=4096))
@example(b"\xd9\x03\x8b\xa2")
def test_any_bytes(data: bytes) -> None:
    opened(data)


@given(st.text(max_size=2000))
def test_any_text(data: str) -> None:
    opened(data.encode("utf-8", "surrogatepass"))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                [
                    "quote",
                    "event_log",
                    "token",
                    "attestation_report",
                    "cert_chain",
                    "outblob",
                    "provider",
                    "hcl_report",
                    "a",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(JSON)
def test_any_json(value: Any) -> None:
    opened(forge.document(value))


@given(
    st.recursive(
        st.integers(-(1 << 64), (1 << 64) - 1) | st.binary(max_size=20) | st.text(max_size=20),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(
                st.integers(0, 9) | st.sampled_from(["outblob", "provider", "auxblob"]), inner, max_size=4
            )
            | st.builds(Tag, st.sampled_from([907, 1668546817, 60000, 18]), inner)
        ),
        max_leaves=12,
    )
)
def test_any_cbor(value: Any) -> None:
    opened(_cbor.dumps(value))


@given(st.sampled_from(SEEDS), st.data())
@settings(max_examples=300)
def test_mutated_envelopes(seed: bytes, data: st.DataObject) -> None:
    made = bytearray(seed)
    for _ in range(data.draw(st.integers(1, 3))):
        made[data.draw(st.integers(0, len(made) - 1))] = data.draw(st.integers(0, 255))
    opened(bytes(made))


@given(st.sampled_from(SEEDS), st.data())
def test_truncated_and_extended_envelopes(seed: bytes, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(seed)))
    opened(seed[:cut])
    opened(seed[:cut] + data.draw(st.binary(max_size=40)) + seed[cut:])


@given(st.binary(min_size=64, max_size=64), st.sampled_from([base64.b64encode, bytes.hex, base64.urlsafe_b64encode]))
@settings(max_examples=20)
def test_text_opens_to_the_same_bytes(said: bytes, encode: Any) -> None:
    quote = forge.intel().sgx_quote(
        body=sgx.parse(QUOTE).body.__class__(**vars(sgx.parse(QUOTE).body) | {"report_data": said})
    )
    text = encode(quote)
    found = opened(text if isinstance(text, bytes) else text.encode())
    assert found is not None
    assert found.parts == (sgx.parse(quote),)


@given(st.binary(min_size=1, max_size=200).filter(lambda more: bool(more.strip(b"\0"))))
def test_nothing_but_zeros_may_follow_a_quote(more: bytes) -> None:
    assert opened(QUOTE + more) is None
    assert opened(more.strip(b"\0") + QUOTE) is None or more[:1].isspace()


LARGE = 12 << 20
BOMBS = {
    "white space inside hexadecimal": b"0" + b" " * LARGE + b"!",
    "white space inside base64": b"A" + b"\n" * LARGE + b"=!",
    "equals signs": b"A" * 4 + b"=" * LARGE,
    "PEM that begins and begins": b"-----BEGIN A-----\n" * (LARGE // 18),
    "PEM with an endless label": b"-----BEGIN " + b"A" * LARGE,
    "JSON in JSON in JSON": b"[" * LARGE,
    "JSON objects in JSON objects": b'{"a":' * (LARGE // 5),
    "a JSON list of numbers": b'{"token":[' + b"1," * (LARGE // 2) + b"1]}",
    "a number without end": b'{"quote":' + b"9" * LARGE + b"}",
    "CBOR in CBOR": b"\x82" * LARGE,
    "CBOR tags": b"\xd9\x03\x8b" * (LARGE // 3),
    "a CBOR array that promises much": b"\x9b" + b"\x7f" * 8,
    "a CBOR map of many keys": b"\xba\x00\x00\x7f\xff" + b"".join(_cbor.dumps(i << 20) + b"\0" for i in range(0x7FFF)),
    "a DER length": b"\x30\x84\x00\xbf\xff\xf0" + bytes(LARGE),
    "an event log of many events": b"\0\0" + forge.compact(forge.tdx_quote()) + b"\xfe\xff\xff\xff" + bytes(LARGE),
    "a certificate table": REPORT + b"\1" * LARGE,
    "zeros behind a quote": QUOTE + bytes(LARGE),
    "zeros": bytes(LARGE),
    "a collection of many members": forge.document({str(i): ["a/b", "AA"] for i in range(500_000)}),
    "a collection of collections": forge.document(
        {str(i): {str(j): ["a/b", "AA"] for j in range(64)} for i in range(64)}
    ),
}


@pytest.mark.parametrize("name", BOMBS)
def test_large_input_is_dealt_with_in_bounded_time(name: str) -> None:
    start = time.perf_counter()
    opened(BOMBS[name])
    assert time.perf_counter() - start < BUDGET


def test_a_quote_that_was_wrapped_without_end() -> None:
    data = QUOTE
    while len(data) < LARGE:
        data = base64.b64encode(data)
    assert opened(data) is None


def test_many_pieces_of_evidence_are_refused() -> None:
    quotes = [forge.intel().sgx_quote(body=None) for _ in range(2)]
    inner = {str(i): ["a/b", forge.base64url(quotes[i % 2])] for i in range(64)}
    found = opened(forge.document({"__cmwc_t": "1.2.3"} | {str(i): inner for i in range(3)}))
    assert found is not None
    assert len(found.parts) == 2
    members = {str(i): {str(j): ["a/b", report(64 * i + j)] for j in range(64)} for i in range(3)}
    with pytest.raises(ParseError, match="pieces of evidence"):
        open_envelope(forge.document({"__cmwc_t": "1.2.3"} | members))


def report(number: int) -> str:
    return forge.base64url(forge.snp_report(3, number.to_bytes(64)))


def test_random_bytes_behind_every_beginning() -> None:
    source = random.Random(7)  # noqa: S311 - not for secrets
    for seed in SEEDS:
        for size in (1, 8, 64, 512):
            opened(seed[:size] + source.randbytes(2000))
