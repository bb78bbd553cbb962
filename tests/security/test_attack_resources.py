"""Inputs that would cost a careless verifier much time or memory: of every container, as long as is read."""

import base64
import json
import resource
import struct
import time
import uuid
from collections.abc import Callable

import cbor2
import pytest
from tests.forge import amd, envelope, ratls
from tests.forge import tpm as forged_tpm
from tests.forge.every import every, members
from tests.forge.x509 import NOW, Authority, der_of, issue, revocation_list

from cloister import _cbor
from cloister._der import Der
from cloister._x509 import REMEMBERED, Certificate, Crl, pem_blocks
from cloister._x509 import _certificate as remembered
from cloister.endorse.anchors import TrustAnchors
from cloister.endorse.intel import IntelCollateral
from cloister.envelope import LARGEST, open_envelope
from cloister.errors import CloisterError, ParseError
from cloister.model import Tee
from cloister.verifier import Verifier

SECONDS = 2.0
"""Of processor time, for 16 MiB; usual evidence takes a thousandth of one."""
MEBIBYTES = 192
SOMEBODY = Authority("Somebody")
PLAIN = SOMEBODY.certificate.encoded
REPORT = envelope.snp_report()


def numbered(count: int) -> list[bytes]:
    """Certificates that differ in four bytes of their signature."""
    return [PLAIN[:-4] + number.to_bytes(4) for number in range(count)]


def json_of(text: bytes) -> bytes:
    """A JSON list of as many of these as there is room for."""
    return b"[" + text * ((LARGEST - 2) // len(text)) + b"0]"


def long_table(content: bytes) -> bytes:
    """A certificate table whose entries all stand at one place."""
    entry = uuid.UUID(envelope.VCEK_GUID).bytes + struct.pack("<II", 24 * 32, len(content))
    return REPORT + entry * 31 + bytes(24) + content


def wrapped(collections: int, certificates: int) -> bytes:
    """Collections in a collection, each with certificates and a piece of evidence."""
    report: object = ["a/b", envelope.base64url(REPORT)]
    made: dict[str, object] = {"__cmwc_t": "tag:x"}
    pool = iter(numbered(collections * certificates))
    for index in range(collections):
        chain = {f"c{i}": ["application/pkix-cert", envelope.base64url(next(pool))] for i in range(certificates)}
        made[f"m{index}"] = chain | {"evidence": report}
    return envelope.document(made)


def dstack(count: int) -> bytes:
    """An attestation of dstack's with this many certificates."""
    scale = (count << 2 | 2).to_bytes(4, "little")
    return b"\0\3" + envelope.compact(REPORT) + scale + b"".join(map(envelope.compact, numbered(count)))


def many_keys(size: int) -> bytes:
    """A JSON object with a lot of members."""
    return b"{" + b",".join(b'"%x":0' % one for one in range(size // 10)) + b"}"


def bundle(chain: str) -> bytes:
    """Intel's collateral with this chain of certificates."""
    return json.dumps(members(every()[Tee.SGX].endorsements.intel[0]) | {"tcb_info_issuer_chain": chain}).encode()


def padded_pem() -> bytes:
    """Certificates and a lot of white space."""
    return ratls.armoured(PLAIN) * 64 + b"\n" * (15 << 20)


BOMBS: dict[str, Callable[[], bytes]] = {
    "JSON: lists": lambda: json_of(b"[],"),
    "JSON: objects": lambda: json_of(b"{},"),
    "JSON: small objects": lambda: json_of(b'{"a":0},'),
    "JSON: texts": lambda: json_of(b'"",'),
    "JSON: numbers": lambda: b'{"token":' + json_of(b"1,")[: 15 << 20] + b"1]}",
    "JSON: members": lambda: many_keys(14 << 20),
    "JSON: lists in lists": lambda: b"[" * LARGEST,
    "JSON: long numbers": lambda: json_of(b"9" * 4000 + b","),
    "JSON in base64": lambda: base64.b64encode(json_of(b"{},")[: 11 << 20]),
    "JSON that looks like a vTPM's": lambda: b'{"pcrs":0,"message":0,"vcek":0,' + many_keys(15 << 20)[1:],
    "JSON that looks like a TPM's": lambda: b'{"ak_public":0,"tpm_quote":0,' + many_keys(8 << 20)[1:],
    "hexadecimal": lambda: b"0" * LARGEST,
    "base64": lambda: b"A" * LARGEST,
    "base64 in base64": lambda: base64.b64encode(base64.b64encode(b"{" * (8 << 20))),
    "white space": lambda: b" " * LARGEST,
    "PEM: beginnings": lambda: b"-----BEGIN A-----" * (LARGEST // 17),
    "PEM: dashes": lambda: b"-----BEGIN " + b"-" * (LARGEST - 11),
    "PEM: a long label": lambda: b"-----BEGIN " + b"A" * (LARGEST - 11),
    "PEM: a long label twice": lambda: b"-----BEGIN " + b"A" * (7 << 20) + b"----------END " + b"A" * (7 << 20) + b"-",
    "PEM: a long block": lambda: b"-----BEGIN A-----" + b"A" * (LARGEST - 20),
    "PEM: blocks": lambda: ratls.armoured(PLAIN) * (LARGEST // 500),
    "CBOR: lists": lambda: b"\x83" + b"\x80" * (LARGEST - 1),
    "CBOR: a list of 2^40": lambda: b"\x82\x9b" + (1 << 40).to_bytes(8) + b"\0" * (250 << 10),
    "CBOR: keys that collide": lambda: colliding(9_000),
    "DER: a long length": lambda: b"\x30\x84\x00\xff\xff\xf0" + bytes(LARGEST - 16),
    "a table whose entries overlap": lambda: long_table(padded_pem()),
    "a table of text": lambda: long_table(b"-----BEGIN A-----\n" + b"A" * (15 << 20)),
    "dstack: certificates": lambda: dstack(50_000),
    "wrapped certificates": lambda: wrapped(62, 62),
    "collateral: a long chain": lambda: bundle(ratls.armoured(PLAIN).decode() * 20_000),
    "zeros": lambda: bytes(LARGEST),
}


def colliding(count: int) -> bytes:
    """A map with keys of one hash."""
    from tests.security.test_cbor_bombs import colliding_pairs  # noqa: PLC0415 - only here

    return cbor2.dumps(dict.fromkeys(colliding_pairs(count), 0))


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_of_sixteen_mebibytes(name: str) -> None:
    data = BOMBS[name]()
    assert len(data) <= LARGEST
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.thread_time()
    with pytest.raises(ParseError):
        open_envelope(data)
    assert time.thread_time() - start < SECONDS
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MEBIBYTES * 1024


def test_the_control_usual_containers_are_read() -> None:
    """The bounds are far above what is real: a chain in every place where one can stand."""
    assert open_envelope(dstack(8)).certificates
    assert open_envelope(REPORT + envelope.cert_table({envelope.VCEK_GUID: ratls.armoured(PLAIN)})).certificates
    assert len(open_envelope(wrapped(3, 4)).certificates) == 12
    assert len(IntelCollateral.from_json(bundle(ratls.armoured(PLAIN).decode() * 2)).tcb_info_chain) == 2
    log = json.dumps([{"imr": 3, "event_type": 1, "digest": "00" * 48, "event": "a:b", "event_payload": ""}] * 10_000)
    assert open_envelope(envelope.document({"quote": envelope.tdx_quote().hex(), "event_log": log})).event_logs


def test_a_revocation_list_with_millions_of_entries() -> None:
    made = revocation_list(SOMEBODY)
    fields = Der(made.tbs, "x").inside("tbs")
    head = [fields.whole("field") for _ in range(5)]
    entries = der_of(0x30, bytes.fromhex("3003020101") * 2_400_000)
    start = time.thread_time()
    with pytest.raises(ParseError, match="at most"):
        Crl.parse(der_of(0x30, der_of(0x30, *head, entries), der_of(0x30), der_of(3, b"\0")))
    assert time.thread_time() - start < 0.1


def test_wide_maps_are_for_short_cbor_only() -> None:
    wide = dict.fromkeys(range(1025), 0)
    assert _cbor.loads(cbor2.dumps(wide), "x") == wide
    with pytest.raises(ParseError, match="more than 1024 pairs"):
        _cbor.loads(cbor2.dumps({0: wide, 1: bytes(20_000)}), "x", longest=40_000)
    del wide[0]
    assert _cbor.loads(cbor2.dumps({0: wide, 1: bytes(20_000)}), "x", longest=40_000)


# ---------------------------------------------------------------- memory that is kept


def large(size: int, number: int) -> bytes:
    """A certificate of about this many bytes."""
    filling = ("1.2.3.4", der_of(4, number.to_bytes(8), bytes(size)), False)
    return issue("Large", SOMEBODY.key.public_key(), SOMEBODY, extensions=[filling]).encoded


def test_long_certificates_are_not_kept() -> None:
    """Those that carry evidence come once; a thousand of the longest would be 200 MB."""
    for size, kept in ((REMEMBERED // 2, 1), (REMEMBERED, 0)):
        data = large(size, 1)
        before = remembered.cache_info().currsize
        assert Certificate.parse(data) == Certificate.parse(data)
        assert remembered.cache_info().currsize - before in {kept, 0}
        assert (Certificate.parse(data) is Certificate.parse(data)) == bool(kept)


def test_what_came_along_with_evidence_does_not_fill_the_memory() -> None:
    """A hundred envelopes with a mebibyte of certificates each; what is kept of them is bounded."""
    platform = amd.platform()
    verifier = Verifier(anchors=platform.anchors, endorsements=platform.endorsements())
    template = large(60_000, 0)
    at = template.index(bytes(100))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for round_ in range(100):
        chain = [template[:at] + (round_ << 8 | i).to_bytes(8) + template[at + 8 :] for i in range(16)]
        data = b"\0\3" + envelope.compact(REPORT) + bytes([16 << 2]) + b"".join(map(envelope.compact, chain))
        with pytest.raises(CloisterError):
            verifier.verify(data, at=NOW)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 512 * 1024


def test_more_endorsements_than_anybody_needs() -> None:
    """By number and by bytes, in one container and in several."""
    with pytest.raises(ParseError, match="at most 256"):
        open_envelope(dstack(257))
    table = envelope.cert_table({envelope.VCEK_GUID: ratls.armoured(PLAIN)})
    assert open_envelope(REPORT + table).certificates
    big = [large(50_000, number) for number in range(24)]
    with pytest.raises(ParseError, match="came along"):
        open_envelope(b"\0\3" + envelope.compact(REPORT) + bytes([24 << 2]) + b"".join(map(envelope.compact, big)))


def test_anchors_of_a_verifier_that_is_gone_do_not_vouch_for_another() -> None:
    """Results are remembered per set of anchors, by identity: no set takes the place of one that was thrown away."""
    sample = every()[Tee.SNP]
    for _ in range(20):
        good = Verifier(anchors=TrustAnchors.testing(sample.root), endorsements=sample.endorsements)
        assert good.verify(sample.evidence, at=NOW)
        del good
        with pytest.raises(CloisterError):
            Verifier(anchors=TrustAnchors.testing(PLAIN), endorsements=sample.endorsements).verify(
                sample.evidence, at=NOW
            )


# ---------------------------------------------------------------- go-tpm-tools


def field(number: int, data: bytes) -> bytes:
    """A field of a protocol buffer."""
    size, left = b"", len(data)
    while left > 0x7F:
        size, left = size + bytes([left & 0x7F | 0x80]), left >> 7
    return bytes([number << 3 | 2]) + size + bytes([left]) + data


def google(quotes: int, events: int) -> bytes:
    """A message with several quotes, and one event log for all of them."""
    forge = forged_tpm.TpmForge()
    made = field(1, forge.public_area())
    for number in range(quotes):
        message = forged_tpm.attest({"sha256": {0: bytes(32)}}, nonce=bytes([number + 1]))
        pcrs = b"\x08\x0b" + field(2, field(2, bytes(32)))
        made += field(2, field(1, message) + field(2, forge.sign(message)) + field(3, pcrs))
    legacy = (1).to_bytes(4, "little") + (4).to_bytes(4, "little") + bytes(24)
    return made + field(3, legacy * events)


def test_one_event_log_of_many_quotes_is_read_once() -> None:
    found = open_envelope(google(8, 100)).parts
    assert len(found) == 8
    assert len({id(one.event_log) for one in found}) == 1  # type: ignore[attr-defined] # quotes all


def test_pem_is_read_in_linear_time() -> None:
    for text in (b"-----BEGIN CERTIFICATE-----" * 300_000, b"-----BEGIN A-----\n" + b"A \n" * 3_000_000):
        start = time.thread_time()
        assert pem_blocks(text, "CERTIFICATE") == []
        assert time.thread_time() - start < 1
