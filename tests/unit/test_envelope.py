"""Containers around evidence: what each opens to, and why broken ones are refused."""

import base64
import gzip
import json
from typing import Any

import pytest
from tests.forge import envelope as forge
from tests.forge.intel import pem
from tests.forge.ratls import armoured, oe_evidence, oe_report

from cloister import _cbor
from cloister._cbor import Tag
from cloister.envelope import DataBinding, open_envelope
from cloister.envelope.contents import LARGEST
from cloister.errors import ParseError
from cloister.evidence import sgx, snp, tdx

QUOTE = forge.sgx_quote()
TD_QUOTE = forge.tdx_quote()
REPORT = forge.snp_report()
VCEK = forge.authority().certificate.encoded
TABLE = forge.cert_table({forge.VCEK_GUID: VCEK})
LOG = b"event log"
TSM: dict[str, Any] = {"provider": "sev_guest\n", "outblob": REPORT, "auxblob": TABLE}


def scale(quote: bytes = TD_QUOTE, said: bytes = bytes(64)) -> bytes:
    """A dstack attestation of version 0 with one event."""
    event = (3).to_bytes(4, "little") + (0x08000001).to_bytes(4, "little")
    event += forge.compact(bytes(48)) + forge.compact(b"app-id") + forge.compact(b"\1\2")
    runtime = forge.compact(b"app-id") + forge.compact(b"\1\2")
    return b"\0\0" + forge.compact(quote) + b"\4" + event + b"\4" + runtime + said + forge.compact(b"{}")


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


SGX = "Intel SGX quote v3"
TDX = "Intel TDX quote v4"
SNP = "AMD SEV-SNP report"
TRUSTEE_SNP = {
    "attestation_report": forge.fields_of_report(REPORT),
    "cert_chain": [{"cert_type": "VCEK", "data": list(VCEK)}],
}

OPENS: dict[str, tuple[bytes, bytes, tuple[str, ...]]] = {
    "a quote as it is": (QUOTE, QUOTE, (SGX,)),
    "version 4 of an SGX quote": (forge.sgx_quote(version=4), forge.sgx_quote(version=4), ("Intel SGX quote v4",)),
    "hexadecimal": (QUOTE.hex().encode(), QUOTE, ("hex", SGX)),
    "hexadecimal with 0x and a line break": (b"0x" + QUOTE.hex().upper().encode() + b"\n", QUOTE, ("hex", SGX)),
    "base64 in lines": (base64.encodebytes(QUOTE), QUOTE, ("base64", SGX)),
    "base64url without padding": (forge.base64url(QUOTE).encode(), QUOTE, ("base64url", SGX)),
    "PEM with any label": (armoured(QUOTE, "SGX QUOTE"), QUOTE, ("PEM SGX QUOTE", SGX)),
    "base64 of hexadecimal": (base64.b64encode(QUOTE.hex().encode()), QUOTE, ("base64", "hex", SGX)),
    "an extended report": (REPORT + TABLE, REPORT, ("SNP extended report", SNP)),
    "a report with zeros behind it": (REPORT + bytes(100), REPORT, (SNP,)),
    "configfs-tsm in CBOR": (_cbor.dumps(TSM), REPORT, ("configfs-tsm report", SNP)),
    "configfs-tsm in JSON": (
        forge.document({"provider": "tdx_guest", "outblob": forge.base64url(TD_QUOTE), "auxblob": ""}),
        TD_QUOTE, ("configfs-tsm report", TDX),
    ),
    "Trustee, SGX": (forge.document({"quote": b64(QUOTE)}), QUOTE, ("Trustee evidence", SGX)),
    "Trustee, TDX": (
        forge.document({"quote": b64(TD_QUOTE), "cc_eventlog": b64(LOG)}), TD_QUOTE, ("Trustee evidence", TDX)
    ),
    "Trustee, SNP": (forge.document(TRUSTEE_SNP), REPORT, ("Trustee evidence (SNP)", SNP)),
    "dstack's JSON": (
        forge.document({"quote": TD_QUOTE.hex(), "event_log": "[]", "report_data": "00" * 64, "vm_config": ""}),
        TD_QUOTE, ("dstack JSON", TDX),
    ),
    "dstack's SCALE": (scale(), TD_QUOTE, ("dstack attestation", TDX)),
    "dstack's SCALE in JSON": (
        forge.document({"attestation": scale().hex()}), TD_QUOTE, ("dstack JSON", "dstack attestation", TDX)
    ),
    "dstack's SCALE, SNP": (
        b"\0\3" + forge.compact(REPORT) + b"\4" + forge.compact(VCEK) + b"rest", REPORT, ("dstack attestation", SNP)
    ),
    "Open Enclave's report": (oe_report(QUOTE), QUOTE, ("Open Enclave report", SGX)),
    "Open Enclave's evidence": (oe_evidence(QUOTE), QUOTE, ("Open Enclave evidence, SGX ECDSA", SGX)),
    "a CMW record in JSON": (
        forge.document(["application/unknown", forge.base64url(QUOTE)]),
        QUOTE, ("CMW JSON record application/unknown", SGX),
    ),
    "a CMW record in CBOR": (
        _cbor.dumps(["application/vnd.veraison.configfs-tsm+cbor", _cbor.dumps(TSM), 4]), REPORT,
        ("CMW CBOR record application/vnd.veraison.configfs-tsm+cbor", "configfs-tsm report", SNP),
    ),
    "a CMW tag": (_cbor.dumps(Tag(1668546817 + 30001, QUOTE)), QUOTE, ("CMW CBOR record Content-Format 30001", SGX)),
    "a CMW collection in JSON": (
        forge.document({"__cmwc_t": "tag:x", "a": ["application/unknown", forge.base64url(QUOTE)]}), QUOTE,
        ("CMW JSON collection", "CMW JSON record application/unknown", SGX),
    ),
    "a tunnel in a CMW collection": (
        forge.document({"a": ["#cmw-c2j-tunnel", forge.base64url(_cbor.dumps(["a/b", QUOTE]))]}), QUOTE,
        ("CMW JSON collection", "CMW tunnel", "CMW CBOR record a/b", SGX),
    ),
    "a tagged CMW collection": (
        _cbor.dumps(Tag(907, {1: ["a/b", QUOTE]})), QUOTE, ("CMW CBOR collection", "CMW CBOR record a/b", SGX)
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", OPENS)
def test_what_is_inside(case: str) -> None:
    data, evidence, path = OPENS[case]
    opened = open_envelope(data)
    part: Any = opened.parts[0]
    assert part.serialize() == evidence
    assert opened.path == path


def test_zeros_behind_a_quote_are_mentioned() -> None:
    opened = open_envelope(TD_QUOTE + bytes(70))
    assert opened.parts == (tdx.parse(TD_QUOTE),)
    assert opened.leftovers == ("70 zero bytes after the Intel TDX quote",)
    assert not open_envelope(TD_QUOTE).leftovers


def test_certificates_come_along() -> None:
    for data in (REPORT + TABLE, _cbor.dumps(TSM), forge.document(TRUSTEE_SNP)):
        assert open_envelope(data).certificates == (forge.authority().certificate,)


@pytest.mark.parametrize("little", [False, True], ids=["as text", "as Windows writes them"])
def test_guids_in_either_byte_order(*, little: bool) -> None:
    table = forge.cert_table({forge.VCEK_GUID: VCEK}, little=little)
    assert open_envelope(REPORT + table).certificates == (forge.authority().certificate,)


def test_a_table_may_hold_pem_and_unknown_entries() -> None:
    unknown = "00000000-0000-0000-0000-000000000001"
    opened = open_envelope(REPORT + forge.cert_table({forge.VCEK_GUID: armoured(VCEK), unknown: b"?"}))
    assert opened.certificates == (forge.authority().certificate,)
    assert opened.leftovers == (f"certificate table: entry {unknown} is not used",)


def test_event_logs_come_along() -> None:
    assert open_envelope(OPENS["Trustee, TDX"][0]).event_logs == (LOG,)
    (log,) = open_envelope(scale()).event_logs
    expected = {"imr": 3, "event_type": 0x08000001, "digest": "00" * 48, "event": "app-id", "event_payload": "0102"}
    assert json.loads(log) == [expected]


def test_what_dstack_says_beside_the_quote_must_be_in_it() -> None:
    (binding,) = open_envelope(scale(said=b"\1" * 64)).bindings
    assert isinstance(binding, DataBinding)
    assert (binding.data, binding.algorithm) == (b"\1" * 64, "")


def test_open_enclave_claims_are_bound() -> None:
    opened = open_envelope(oe_evidence(QUOTE, b"claims"))
    assert opened.bindings == (DataBinding(evidence=sgx.parse(QUOTE), what="custom claims", data=b"claims"),)


def test_a_collection_holds_several_parts_and_endorsements() -> None:
    members = {
        "ark": ["application/pkix-cert", VCEK], "sgx": ["a/b", QUOTE, 4], "snp": ["a/b", REPORT],
        "pem": ["application/pem-certificate-chain", armoured(VCEK)], "again": ["a/b", QUOTE],
    }  # fmt: skip
    opened = open_envelope(_cbor.dumps(members))
    assert set(opened.parts) == {sgx.parse(QUOTE), snp.parse(REPORT)}
    assert opened.certificates == (forge.authority().certificate,)
    assert open_envelope(_cbor.dumps({"c": members, "d": ["a/b", TD_QUOTE]})).parts[-1] == tdx.parse(TD_QUOTE)


def bundle() -> bytes:
    """Intel's statements as the quote verification tools exchange them."""
    made = forge.intel().collateral()
    chain = b"".join(pem(one) for one in made.tcb_info_chain).decode()
    return forge.document({
        "tcb_info": made.tcb_info.decode(), "tcb_info_signature": made.tcb_info_signature.hex(),
        "tcb_info_issuer_chain": chain, "qe_identity": made.qe_identity.decode(),
        "qe_identity_signature": made.qe_identity_signature.hex(), "qe_identity_issuer_chain": chain,
        "pck_crl_issuer_chain": chain, "root_ca_crl": made.crls[0].encoded.hex(), "pck_crl": made.crls[1].encoded.hex(),
    })  # fmt: skip


def test_intel_s_statements_come_along() -> None:
    opened = open_envelope(_cbor.dumps({1: ["a/b", QUOTE, 4], 2: ["a/b", bundle(), 2]}))
    assert opened.parts == (sgx.parse(QUOTE),)
    assert [one.tcb_info for one in opened.intel] == [forge.intel().collateral().tcb_info]


def test_endorsements_alone_are_no_evidence() -> None:
    with pytest.raises(ParseError, match="endorsements, but no evidence"):
        open_envelope(bundle())


@pytest.mark.parametrize("value", [["a/b", bundle(), 4], ["a/b", QUOTE, 2]], ids=["no evidence", "evidence"])
def test_the_indicator_must_be_true(value: object) -> None:
    with pytest.raises(ParseError, match="CMW record: ind"):
        open_envelope(_cbor.dumps({1: ["a/b", QUOTE], 2: value}))


def test_unused_members_are_mentioned() -> None:
    opened = open_envelope(forge.document({"quote": b64(QUOTE), "surprise": 1}))
    assert opened.leftovers == ("Trustee evidence: member 'surprise' is not used",)


@pytest.mark.parametrize("version", [2, 3])
def test_a_report_from_json_fields_is_exact(version: int) -> None:
    report = forge.snp_report(version, bytes(range(64)))
    fields = forge.fields_of_report(report)
    if version == 2:
        fields |= {"cpuid_fam_id": None, "cpuid_mod_id": None, "cpuid_step": None}
    assert open_envelope(forge.document({"attestation_report": fields})).parts == (snp.parse(report),)


def without(key: str, **changes: object) -> bytes:
    fields = forge.fields_of_report(REPORT) | changes
    fields.pop(key, None)
    return forge.document({"attestation_report": fields})


REFUSED: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "is empty"),
    "zeros": (bytes(5000), "nothing but zeros"),
    "gzip": (gzip.compress(QUOTE), "gzip: unpack it first"),
    "ZIP": (b"PK\3\4" + QUOTE, "ZIP archive"),
    "an ELF file": (b"\x7fELF" + QUOTE, "ELF file"),
    "a token": (b"eyJhbGciOiJFUzI1NiJ9.eyJhIjoxfQ.c2ln", "JSON Web Token"),
    "a comment before a quote": (b"# licence\n" + QUOTE, "begins with a comment"),
    "a quote in the middle of bytes": (b"junk" + QUOTE, "no known evidence or container"),
    "bytes behind a quote": (QUOTE + b"extra", "quote: signature data size"),
    "a quote that is cut off": (QUOTE[:-1], "quote: signature data size"),
    "an unknown version of a quote": (b"\x06" + QUOTE[1:], "no known evidence or container"),
    "a report with bytes behind that are no table": (REPORT + b"\1" * 200, "certificate table"),
    "a table that leaves its bounds": (
        REPORT + forge.cert_table({forge.VCEK_GUID: VCEK})[:-1], "certificate table: VCEK at byte 1184"
    ),
    "a table whose end is not zero": (
        REPORT + forge.cert_table({}, end=bytes(16) + b"\1" + bytes(7)), "certificate table: end"
    ),
    "a table that does not end": (REPORT + bytes(range(1, 25)) * 40, "certificate table: entries"),
    "hexadecimal of odd length": (QUOTE.hex().encode()[:-1], "is not hex"),
    "base64 of impossible length": (b"Z" * 401, "is not base64"),
    "base64 with bits that mean nothing": (b"QUJDRB==", "unused bits are not zero"),
    "PEM that is not closed": (armoured(QUOTE, "QUOTE")[:-20], "a block is not closed"),
    "text between PEM blocks": (armoured(QUOTE, "A") + b"note" + armoured(QUOTE, "A"), "neither a block nor white"),
    "too many PEM blocks": (armoured(b"x", "CERTIFICATE") * 65, "PEM"),
    "a certificate without evidence": (armoured(VCEK), "no certificate here carries evidence"),
    "a DER certificate without evidence": (VCEK, "no certificate here carries evidence"),
    "JSON of no known shape": (b'{"a": 1}', "no known container has these: a"),
    "JSON that is broken": (b'{"quote": ', "JSON: json at byte"),
    "a member twice": (b'{"quote": "AA==", "quote": "AA=="}', "stands twice"),
    "bytes that are no bytes": (b'{"token": [256]}', "a number that is no byte"),
    "a list with something else in it": (b'{"token": [true]}', "something else than numbers"),
    "a quote that is no text": (b'{"quote": "@@"}', "neither hexadecimal nor base64"),
    "configfs-tsm of an unknown provider": (_cbor.dumps(TSM | {"provider": "x"}), "provider"),
    "configfs-tsm of another provider": (_cbor.dumps(TSM | {"provider": "tdx_guest"}), "outblob"),
    "a table beside a TDX quote": (
        _cbor.dumps({"provider": "tdx_guest", "outblob": TD_QUOTE, "auxblob": b"x"}), "no certificate table"
    ),
    "a field that would be lost": (without("", new=[0, 1]), "not a field that is known, and is not empty"),
    "a field that is missing": (without("chip_id"), "chip_id"),
    "a number too large": (without("", vmpl=1 << 32), "vmpl"),
    "a negative number": (without("", vmpl=-1), "vmpl"),
    "a field of the wrong length": (without("", report_data=[0] * 63), "has 63 bytes; 64"),
    "a CMW record of attestation results": (_cbor.dumps(["a/b", QUOTE, 8]), "ind"),
    "a CMW indicator out of range": (_cbor.dumps(["a/b", QUOTE, 16]), "not a number from 1 to 15"),
    "a CMW type that is not what is inside": (
        _cbor.dumps(["application/eat-collection", QUOTE]), "type at byte 0: is application/eat-collection"
    ),
    "an empty collection": (forge.document({"__cmwc_t": "x"}), "no known container"),
    "a collection of endorsements": (_cbor.dumps({1: ["application/pkix-cert", VCEK]}), "none is evidence"),
    "a collection with too many members": (_cbor.dumps({i: ["a/b", QUOTE] for i in range(65)}), "at most 64"),
    "an unknown CBOR tag": (_cbor.dumps(Tag(61, {1: 2})), "tag 61 is no known container"),
    "COSE": (_cbor.dumps(Tag(18, [b"", {}, b"", b""])), "COSE_Sign1"),
    "a dstack attestation that is cut off": (scale()[:-1], "dstack attestation: config"),
    "a dstack attestation with more behind it": (scale() + b"x", "dstack attestation: end"),
    "a dstack event log of too many events": (
        b"\0\0" + forge.compact(TD_QUOTE) + (1 << 24 | 2).to_bytes(4, "little"), "dstack attestation: event_log"
    ),
    "dstack without a text as log": (forge.document({"quote": TD_QUOTE.hex(), "event_log": []}), "event_log"),
    "Open Enclave's local report": (oe_report(QUOTE, kind=1), "report for local attestation"),
    "Open Enclave's local evidence": (
        oe_evidence(QUOTE, format_id=bytes.fromhex("cac1fba9fb7f401d9577d72b0da00813")), "format_id"
    ),
    "Open Enclave's evidence, cut off": (oe_evidence(QUOTE)[:-1], "data_size"),
    "Open Enclave's evidence without a quote": (oe_evidence(b"x" * 500), "no SGX or TDX quote"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str) -> None:
    data, reason = REFUSED[case]
    with pytest.raises(ParseError) as caught:
        open_envelope(data)
    assert reason in str(caught.value)


def test_the_nearest_format_is_named() -> None:
    with pytest.raises(ParseError, match=r"Nearest: Keystone report: EnclaveReport: data_len at byte 64"):
        open_envelope(b"\x01" * 64 + (1025).to_bytes(8, "little") + bytes(1352 - 72))


def test_too_large() -> None:
    with pytest.raises(ParseError, match=f"at most {LARGEST}"):
        open_envelope(b"A" * (LARGEST + 1))


def test_all_layers_together_are_bounded() -> None:
    text = b"A" * (LARGEST // 4 * 3)
    with pytest.raises(ParseError, match="in all layers together"):
        open_envelope(base64.b64encode(base64.b64encode(text)[: LARGEST // 4 * 3]))


@pytest.mark.parametrize("wrap", [base64.b64encode, lambda data: _cbor.dumps(["a/b", data])], ids=["base64", "CMW"])
def test_too_deep(wrap: Any) -> None:
    data = QUOTE
    for _ in range(6):
        data = wrap(data)
    assert open_envelope(data).parts == (sgx.parse(QUOTE),)
    with pytest.raises(ParseError, match="more than 6 layers"):
        open_envelope(wrap(data))


def test_collections_in_collections_count_as_layers() -> None:
    value: object = ["a/b", QUOTE]
    for _ in range(7):
        value = {"x": value, "y": ["a/b", TD_QUOTE]}
    with pytest.raises(ParseError, match="more than 6 layers"):
        open_envelope(_cbor.dumps(value))
