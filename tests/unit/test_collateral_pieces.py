"""Pieces, bundles and imports: forms, names, windows, exact texts, and each refusal by its reason."""

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from tests.forge.intel import FMSPC, IntelForge
from tests.forge.x509 import NOW, Authority, revocation_list
from tests.services.vendors import members_of_collateral, pem

from cloister._x509 import Certificate, Crl
from cloister.endorse.bundle import MEMBERS, members_of, signed_member
from cloister.endorse.importing import import_files
from cloister.endorse.intel import IntelCollateral
from cloister.endorse.needs import AmdRequest, IntelRequest, needs
from cloister.endorse.piece import CERTIFICATE, CRL, Piece, armoured
from cloister.errors import ParseError, UsageError
from cloister.evidence import sgx, tdx
from cloister.evidence.snp import Product
from cloister.model import Tee

FORGE = IntelForge()
BUNDLE = members_of_collateral(FORGE.collateral())
ROOT = FORGE.root.certificate
LIST = revocation_list(FORGE.root)
GOT = datetime(2026, 6, 1, 12, 30, tzinfo=UTC)


def as_json(**changes: object) -> bytes:
    return json.dumps(BUNDLE | changes).encode()


def one(data: bytes) -> Piece:
    (piece,) = import_files([("file", data)])
    return piece


# ---------------------------------------------------------------- pieces


@pytest.mark.parametrize(
    "piece",
    [Piece.of_der(ROOT.encoded, CERTIFICATE), Piece.of_der(LIST.encoded, CRL), Piece.of_members(BUNDLE)],
    ids=["certificate", "revocation list", "bundle"],
)
def test_a_piece_is_read_as_it_was_written(piece: Piece) -> None:
    kept = piece.at("https://example.com/x?y=z", GOT)
    read = Piece.parse(kept.serialize())
    assert (read.payload, read.source, read.obtained, read.name) == (piece.payload, kept.source, GOT, piece.name)
    assert read.serialize() == kept.serialize()
    assert read.windows == piece.windows


def test_names_say_what_a_piece_is() -> None:
    assert Piece.of_der(ROOT.encoded, CERTIFICATE).stem == "certificate-Forged-SGX-Root-CA"
    assert Piece.of_der(LIST.encoded, CRL).stem == f"crl-Forged-SGX-Root-CA-{LIST.this_update:%Y%m%dT%H%M%SZ}"
    assert Piece.of_members(BUNDLE).stem == f"intel-sgx-{FMSPC.hex()}-platform-eval17-20260517T000000Z"


def test_two_generations_have_two_names() -> None:
    later = FORGE.collateral(tcb_info=FORGE.tcb_info(tcbEvaluationDataNumber=18))
    assert Piece.of_members(members_of_collateral(later)).name != Piece.of_members(BUNDLE).name


def test_the_window_is_what_all_parts_have_in_common() -> None:
    piece = Piece.of_members(BUNDLE)
    assert len(piece.windows) == 6
    assert piece.window.start == max(window.start for window in piece.windows)
    assert piece.window.end == NOW + timedelta(days=15)
    assert piece.window.part == "TCB info"


def test_a_list_without_an_end_holds_until_it_is_replaced() -> None:
    assert Piece(content=replace(LIST, next_update=None), payload=b"").window.end is None


def test_an_origin_can_break_neither_file_nor_terminal() -> None:
    origin = "x\n-----BEGIN CERTIFICATE-----\nobtained: never\x1b[2J" + "y" * 9000
    read = Piece.parse(Piece.of_der(ROOT.encoded, CERTIFICATE).at(origin, GOT).serialize())
    assert read.content == ROOT
    assert read.obtained == GOT
    assert read.source.startswith("x?-----BEGIN")
    assert read.source.isprintable()
    assert len(read.source) == 500


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "has 0 certificates and lists"),
        (pem(ROOT, FORGE.pck).encode(), "has 2 certificates and lists"),
        (armoured(b"\x30\x00", CERTIFICATE), "Certificate"),
        (b"{}", "has no tcb_info"),
        (b"[]", "has 0"),
    ],
)
def test_what_is_no_piece_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(ParseError, match=reason):
        Piece.parse(data)


# ---------------------------------------------------------------- texts as they were signed


@pytest.mark.parametrize(
    "answer",
    [
        '{"tcbInfo":%s,"signature":"ab"}',
        '{"signature":"ab","tcbInfo":%s}',
        ' {\n "tcbInfo" : %s ,\t"signature" : "ab" }\r\n',
        '{"signature":"ab", "tcbInfo":%s}',
    ],
)
@pytest.mark.parametrize("text", ['{"a":1}', '{ "a" : [1.50, {"tcbInfo": "}"}] }', '{"a":"\\u00e9\\"{,"}', "{}"])
def test_the_signed_text_is_cut_out_as_it_stands(answer: str, text: str) -> None:
    signed = signed_member(answer % text, "tcbInfo")
    assert (signed.text, signed.signature) == (text, "ab")


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("{}", "is missing"),
        ('{"tcbInfo":{}}', "signature.*is missing"),
        ('{"tcbInfo":"x","signature":"ab"}', "is not one signed statement"),
        ('{"tcbInfo":{},"signature":1}', "is not a string"),
        ('{"tcbInfo":{},"signature":"ab","tcbInfo":{"a":1}}', "stands twice"),
        ('{"tcbInfo":{},"signature":"ab"}x', "json"),
        ("[]", "is missing"),
    ],
)
def test_an_answer_that_is_not_one_statement_is_refused(answer: str, reason: str) -> None:
    with pytest.raises(ParseError, match=reason):
        signed_member(answer, "tcbInfo")


# ---------------------------------------------------------------- what files have in them


def numbers(digits: str) -> list[int]:
    return list(bytes.fromhex(digits))


TCB_ANSWER = f'{{"tcbInfo":{BUNDLE["tcb_info"]},"signature":"{BUNDLE["tcb_info_signature"]}"}}'
QE_ANSWER = f'{{"enclaveIdentity":{BUNDLE["qe_identity"]},"signature":"{BUNDLE["qe_identity_signature"]}"}}'
BYTES = {key: numbers(BUNDLE[key]) for key in MEMBERS if key.endswith(("signature", "crl"))}
WHOLE_ANSWERS = {key: value for key, value in BUNDLE.items() if not key.endswith("signature")} | {
    "tcb_info": TCB_ANSWER + "\0",
    "qe_identity": QE_ANSWER,
}


@pytest.mark.parametrize(
    "data",
    [
        as_json(),
        as_json(pck_certificate_chain="x", version=3),
        as_json(**BYTES),
        as_json(**{key: BUNDLE[key].upper() for key in BYTES}),
        json.dumps(WHOLE_ANSWERS).encode(),
        json.dumps([BUNDLE]).encode(),
        json.dumps({"quote": "x", "collateral": BUNDLE}).encode(),
        Piece.of_members(BUNDLE).at("x", GOT).serialize(),
    ],
    ids=["hexadecimal", "more members", "lists of bytes", "capitals", "answers inside", "a list", "inside", "ours"],
)
def test_a_bundle_is_read_in_every_form(data: bytes) -> None:
    content = one(data).content
    assert isinstance(content, IntelCollateral)
    assert content.tcb_info.decode() == BUNDLE["tcb_info"]
    assert content.qe_identity_signature.hex() == BUNDLE["qe_identity_signature"]


@pytest.mark.parametrize(
    "form",
    [
        armoured,
        lambda der, label: b"explained\n" + armoured(der, label).replace(b"\n", b"\r\n"),
        lambda der, _: der,
        lambda der, _: der.hex().encode() + b"\n",
        lambda der, _: b"\n" + der.hex().upper().encode(),
    ],
    ids=["PEM", "PEM with text", "DER", "hexadecimal", "hexadecimal in capitals"],
)
def test_certificates_and_lists_are_read_in_every_form(form: Callable[[bytes, str], bytes]) -> None:
    assert one(form(ROOT.encoded, CERTIFICATE)).content == ROOT
    content = one(form(LIST.encoded, CRL)).content
    assert isinstance(content, Crl)
    assert content.encoded == LIST.encoded


def test_a_chain_gives_each_certificate_once_and_in_order() -> None:
    found = import_files([("chain", pem(FORGE.pck, ROOT, FORGE.pck).encode()), ("root", ROOT.encoded)])
    assert [piece.content for piece in found] == [FORGE.pck, ROOT]
    assert [piece.source for piece in found] == ["chain", "chain"]


def test_evidence_s_certificates_are_taken() -> None:
    entries = [{"cert_type": "VCEK", "data": list(FORGE.pck.encoded)}]
    assert one(json.dumps({"attestation_report": {}, "cert_chain": entries}).encode()).content == FORGE.pck


def test_the_cache_s_own_files_keep_their_origin() -> None:
    kept = Piece.of_der(ROOT.encoded, CERTIFICATE).at("https://example.com", GOT)
    assert one(kept.serialize()).source == "https://example.com"
    assert one(kept.serialize()).obtained == GOT


LOOSE = {
    "tcb.json": TCB_ANSWER.encode(),
    "qe.json": QE_ANSWER.encode(),
    "signer.pem": pem(*FORGE.collateral().tcb_info_chain).encode(),
    "pck.crl": bytes.fromhex(BUNDLE["pck_crl"]),
    "root.hex": BUNDLE["root_ca_crl"].encode(),
}


def test_saved_answers_are_put_together() -> None:
    found = import_files(LOOSE.items())
    (bundle,) = (piece for piece in found if isinstance(piece.content, IntelCollateral))
    assert bundle.payload == Piece.of_members(BUNDLE).payload
    assert bundle.source == "tcb.json and qe.json"
    assert len(found) == 5


@pytest.mark.parametrize(
    ("left_out", "reason"),
    [
        ("qe.json", r"tcb\.json cannot be used without the QE identity \(QE\)"),
        ("signer.pem", "without the certificate 'SGX TCB Signing', the certificate 'SGX Root CA'"),
        ("pck.crl", "without a revocation list of a PCK CA"),
        ("root.hex", "without the revocation list of 'SGX Root CA'"),
        ("tcb.json", r"qe\.json needs the TCB info"),
    ],
)
def test_a_missing_part_is_named(left_out: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        import_files((name, data) for name, data in LOOSE.items() if name != left_out)


def test_an_identity_of_another_enclave_does_not_do() -> None:
    other = LOOSE["qe.json"].replace(b'"QE"', b'"TD_QE"')
    with pytest.raises(UsageError, match="without the QE identity"):
        import_files((LOOSE | {"qe.json": other}).items())


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "is no form of"),
        (b"hello", "is no form of"),
        (bytes(100), "is no form of"),
        (b"abc", "is no form of"),
        (b"\x30\x03\x02\x01\x01", "neither a certificate .* nor a revocation list"),
        (b"3003020101", "neither a certificate"),
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "neither a certificate nor a revocation"),
        (b"{}", "has neither tcb_info"),
        (b"[1]", "has neither tcb_info"),
        (b"{", "json"),
        (as_json(tcb_info=5), "tcb_info.*neither a string nor a list"),
        (as_json(tcb_info="\ud800"), "is not text"),
        (as_json(pck_crl=[256]), "pck_crl.*something else than bytes"),
        (as_json(pck_crl=["a"]), "pck_crl.*something else than bytes"),
        (as_json(root_ca_crl="zz"), "root_ca_crl.*not hexadecimal"),
        (as_json(tcb_info_signature="ab"), "tcb_info_signature"),
        (as_json(qe_identity="{}"), "signature|version"),
        (json.dumps({"tcb_info": "x", "qe_identity": "y"}).encode(), "json|signature"),
        (json.dumps({"cert_chain": [{"data": [1, 2]}]}).encode(), "neither a certificate"),
        (json.dumps({"cert_chain": [{}]}).encode(), "data.*is missing"),
        (json.dumps({"tcb_info": "x"}).encode(), "no qe_identity"),
        (pem(ROOT).encode() * 257, "has 257 pieces; at most 256"),
        (b"\x01\0\0\0\x02\0\0\0", "Open Enclave endorsements: buffer size"),
        (b"\x01\0\0\0\x02\0\0\0" + bytes(40), "number of elements"),
        (b"\x04\0\0\0\x81\0\0\0" + b"\xff" * 200, "Intel quote verification collateral"),
    ],
)
def test_a_file_that_is_nothing_known_is_refused_by_its_name(data: bytes, reason: str) -> None:
    with pytest.raises(ParseError, match=reason) as caught:
        import_files([("some.file", data)])
    assert str(caught.value).startswith("some.file: ")


def test_members_of_a_bundle_need_not_be_mapped_at_all() -> None:
    with pytest.raises(ParseError, match="is not an object"):
        members_of([])


# ---------------------------------------------------------------- what evidence needs


@pytest.mark.parametrize("tee", [Tee.SGX, Tee.TDX])
def test_a_quote_says_what_it_needs(tee: Tee) -> None:
    quote = sgx.parse(FORGE.sgx_quote()) if tee is Tee.SGX else tdx.parse(FORGE.tdx_quote())
    assert needs(quote) == [IntelRequest(tee=tee, fmspc=FMSPC.hex(), ca="platform")]


def test_the_processor_ca_is_told_from_the_platform_ca() -> None:
    forge = IntelForge()
    forge.pck = forge.pck_certificate(issuer=Authority("Forged SGX PCK Processor CA", forge.root))
    (need,) = needs(sgx.parse(forge.sgx_quote()))
    assert isinstance(need, IntelRequest)
    assert need.ca == "processor"


def test_why_a_quote_needs_nothing_that_is_published() -> None:
    stranger = IntelForge()
    stranger.pck = stranger.pck_certificate(issuer=Authority("Somebody\x1b[2J", stranger.root))
    for quote, reason in (
        (FORGE.sgx_quote(certification_type=3), "carries no PCK certificate .*type 3"),
        (FORGE.sgx_quote(certification_data=pem(ROOT).encode()), "none of the certificates .* is a PCK certificate"),
        (FORGE.sgx_quote(certification_data=b""), "none of the certificates"),
        (stranger.sgx_quote(), r"issued by 'Somebody\?\[2J'"),
    ):
        with pytest.raises(UsageError, match=reason):
            needs(sgx.parse(quote))


def test_other_evidence_has_its_own_endorsers() -> None:
    with pytest.raises(UsageError, match="nothing is fetched for str evidence"):
        needs("evidence")


def test_requests_are_for_people_too() -> None:
    intel = IntelRequest(tee=Tee.TDX, fmspc="00806f050000", ca="platform")
    assert str(intel) == "Intel TDX, FMSPC 00806f050000, platform CA"
    amd = AmdRequest(products=(Product.MILAN, Product.GENOA), chip_id=bytes(range(64)), tcb=bytes(8))
    assert str(amd) == "AMD Milan or Genoa (VCEK), chip 0001020304050607…"


def test_pem_is_what_the_standard_says() -> None:
    lines = armoured(ROOT.encoded, CERTIFICATE).decode().splitlines()
    assert lines[0] == "-----BEGIN CERTIFICATE-----"
    assert all(len(line) == 64 for line in lines[1:-2])
    assert base64.b64decode("".join(lines[1:-1])) == ROOT.encoded
    assert isinstance(one("\n".join(lines).encode()).content, Certificate)
