"""TPM quotes as bytes: every field, signature form and kind of key; each malformed part refused by its reason."""

import json
from typing import Any

import pytest
from tests.forge.tpm import BOOT, NONCE, TpmForge, attest, event_log, extended, sized, tpmt_signature

from cloister.errors import ParseError
from cloister.evidence import tpm, tpm_protobuf
from cloister.evidence.tpm import of_parts
from cloister.evidence.tpm_attest import PcrSelection, parse_attest, parse_signature
from cloister.evidence.tpm_key import parse_key
from cloister.model import Tee

RSA, ECC = TpmForge(), TpmForge("ecdsa")
PCRS = {"sha256": extended(), "sha1": extended(bank="sha1")}
MESSAGE = attest(PCRS)
SIGNATURE = RSA.sign(MESSAGE)
QUOTE_INFO = len(MESSAGE) - (4 + 6 + 6 + 34)
"""Where the count of selections stands: two selections of six bytes and the digest follow."""


def test_every_field_of_a_quote() -> None:
    quote = parse_attest(MESSAGE)
    assert (quote.qualified_signer, quote.extra_data) == (b"\0\x0b" + bytes(32), NONCE)
    assert (quote.clock, quote.reset_count, quote.restart_count, quote.safe) == (1234, 5, 0, 1)
    assert quote.firmware_version == 0x20200001
    assert quote.selections == (PcrSelection(0x0B, b"\xff\xff\xff"), PcrSelection(0x04, b"\xff\xff\xff"))
    assert [one.bank for one in quote.selections] == ["sha256", "sha1"]
    assert quote.selections[0].indices == tuple(range(24))
    assert quote.serialize() == quote.signed == MESSAGE


def changed(at: int, *new: int) -> bytes:
    return MESSAGE[:at] + bytes(new) + MESSAGE[at + len(new) :]


MALFORMED = {
    "another magic": (changed(0, 0xFE), "magic.*a TPM did not make this"),
    "a certification of a key": (changed(5, 0x17), "TPM_ST_ATTEST_CERTIFY, not a quote"),
    "a creation": (changed(5, 0x1A), "TPM_ST_ATTEST_CREATION"),
    "an attestation of the time": (changed(5, 0x19), "TPM_ST_ATTEST_TIME"),
    "an audit of commands": (changed(5, 0x15), "TPM_ST_ATTEST_COMMAND_AUDIT"),
    "an unknown type": (changed(5, 0x77), "0x8077"),
    "a name longer than any": (changed(6, 0, 67), "qualifiedSigner.*at most 66"),
    "a nonce longer than any": (changed(42, 0, 67), "extraData.*at most 66"),
    "a clock neither safe nor unsafe": (attest(PCRS, safe=2), "safe.*neither yes nor no"),
    "more banks than any TPM has": (changed(QUOTE_INFO, 0, 0, 0, 17), "17 banks"),
    "fewer selections than announced": (changed(QUOTE_INFO, 0, 0, 0, 3), "pcrDigest|pcrSelect|sizeofSelect|end"),
    "a bank that stands twice": (changed(QUOTE_INFO + 10, 0, 0x0B), "stands twice"),
    "a bit map longer than any": (changed(QUOTE_INFO + 6, 5), "more than 4 bytes"),
    "a byte too many": (MESSAGE + b"\0", "1 bytes too many"),
    "a byte too few": (MESSAGE[:-1], "pcrDigest"),
    "nothing": (b"", "magic"),
}


@pytest.mark.parametrize(("data", "reason"), MALFORMED.values(), ids=MALFORMED)
def test_malformed_statements_are_refused(data: bytes, reason: str) -> None:
    with pytest.raises(ParseError, match=reason) as caught:
        parse_attest(data)
    assert caught.value.record == "TPMS_ATTEST"


@pytest.mark.parametrize("forge", [RSA, ECC, TpmForge("rsapss")], ids=["rsassa", "ecdsa", "rsapss"])
@pytest.mark.parametrize("hash_name", ["sha1", "sha256", "sha384", "sha512"])
def test_every_signature_that_a_tpm_makes(forge: TpmForge, hash_name: str) -> None:
    encoded = forge.sign(b"message", hash_name=hash_name)
    signature = parse_signature(encoded)
    assert (signature.scheme, signature.digest, signature.bare) == (forge.scheme, hash_name, False)
    assert len(signature.parts) == (2 if forge.scheme == "ecdsa" else 1)
    assert signature.serialize() == encoded


@pytest.mark.parametrize("size", [256, 384, 512])
def test_a_bare_signature_is_told_by_its_length(size: int) -> None:
    signature = parse_signature(b"\0\x14" + bytes(size - 2))
    assert (signature.bare, signature.scheme, signature.digest) == (True, "rsassa", "sha256")
    assert signature.serialize() == b"\0\x14" + bytes(size - 2)


BAD_SIGNATURES = {
    "HMAC": (b"\0\5" + SIGNATURE[2:], "HMAC"),
    "none": (b"\0\x10" + SIGNATURE[2:], "NULL"),
    "ECDAA": (b"\0\x1a" + SIGNATURE[2:], "ECDAA"),
    "an unknown scheme": (b"\0\x77" + SIGNATURE[2:], "0x77"),
    "an unknown hash": (SIGNATURE[:2] + b"\0\x77" + SIGNATURE[4:], "not an algorithm that is known"),
    "a byte too many": (SIGNATURE + b"\0", "too many"),
    "a byte too few": (SIGNATURE[:-1], "needs 256 bytes"),
    "ECDSA without s": (tpmt_signature("ecdsa", "sha256", bytes(32)), "size"),
    "a bare signature of 1024 bits": (bytes(128), "sigAlg"),
}


@pytest.mark.parametrize(("data", "reason"), BAD_SIGNATURES.values(), ids=BAD_SIGNATURES)
def test_other_signatures_are_refused(data: bytes, reason: str) -> None:
    with pytest.raises(ParseError, match=reason):
        parse_signature(data)


@pytest.mark.parametrize("forge", [RSA, ECC], ids=["rsa", "ecc"])
def test_a_key_in_each_of_its_forms_is_the_same_key(forge: TpmForge) -> None:
    area = forge.public_area()
    found = [parse_key(one) for one in (forge.spki, area, sized(area), pem(forge.spki))]
    assert {one.spki for one in found} == {forge.spki}
    assert found[1] == found[2]
    assert found[1].public is not None
    assert found[1].public.attests_only
    assert (found[0].serialize(), found[1].serialize()) == (forge.spki, area)


def pem(der: bytes) -> bytes:
    import base64  # noqa: PLC0415

    return b"-----BEGIN PUBLIC KEY-----\n" + base64.encodebytes(der) + b"-----END PUBLIC KEY-----\n"


AREA = RSA.public_area()
BAD_KEYS = {
    "a symmetric key": (b"\0\x25" + AREA[2:], "neither RSA nor ECC"),
    "a modulus shorter than it says": (AREA[:-258] + sized(AREA[-256:-1]), "modulus"),
    "a modulus with a zero in front": (AREA[:-256] + b"\0" + AREA[-255:], "highest bit"),
    "a byte too many": (AREA + b"\0", "too many"),
    "an unknown curve": (ECC.public_area().replace(b"\0\3\0\x10\0\x20", b"\0\x20\0\x10\0\x20"), "NIST curves"),
    "half a key in DER": (RSA.spki[:-1], "needs"),
    "a key in DER and a byte": (RSA.spki + b"\0", "too many"),
    "two keys in PEM": (pem(RSA.spki) * 2, "2 blocks"),
    "a certificate in PEM": (pem(RSA.spki).replace(b"PUBLIC KEY", b"CERTIFICATE"), "0 blocks"),
    "nothing": (b"\0", "type"),
    "far too much": (bytes(9000), "at most"),
}


@pytest.mark.parametrize(("data", "reason"), BAD_KEYS.values(), ids=BAD_KEYS)
def test_malformed_keys_are_refused(data: bytes, reason: str) -> None:
    with pytest.raises(ParseError, match=reason):
        parse_key(data)


ATTRIBUTES = {
    "a signing key for anything": 0x40052,
    "a storage key": 0x30072,
    "movable": 0x50070,
    "decrypts too": 0x70072,
}


@pytest.mark.parametrize("attributes", ATTRIBUTES.values(), ids=ATTRIBUTES)
def test_a_key_that_does_more_than_attest_says_so(attributes: int) -> None:
    public = parse_key(RSA.public_area(attributes=attributes)).public
    assert public is not None
    assert not public.attests_only


def test_parts_become_a_quote_in_the_order_of_its_selection() -> None:
    given = {"sha1": PCRS["sha1"], "sha256": dict(reversed(PCRS["sha256"].items()))}
    quote = of_parts(MESSAGE, SIGNATURE, key=RSA.spki, pcrs=given, event_log=event_log())
    assert quote.tee is Tee.TPM
    assert [one.algorithm for one in quote.pcrs] == [0x0B, 0x04]
    assert quote.pcrs[0].values == tuple(PCRS["sha256"][index] for index in range(24))
    assert quote.in_order
    assert quote == of_parts(
        MESSAGE, SIGNATURE, key=RSA.spki, pcrs={0x0B: given["sha256"], 4: given["sha1"]}, event_log=event_log()
    )


BAD_VALUES: dict[str, Any] = {
    "a bank that is unknown": {"md5": {0: bytes(16)}},
    "a number that is no bank": {0x77: {0: bytes(32)}},
    "a value of another size": {"sha256": {0: bytes(20)}},
    "one bank under two names": {"sha256": {0: bytes(32)}, 0x0B: {0: bytes(32)}},
}


@pytest.mark.parametrize("pcrs", BAD_VALUES.values(), ids=BAD_VALUES)
def test_malformed_values_are_refused(pcrs: Any) -> None:
    with pytest.raises(ParseError, match="unknown, stands twice"):
        of_parts(MESSAGE, SIGNATURE, pcrs=pcrs)


def test_parts_are_bounded() -> None:
    with pytest.raises(ParseError, match="at most 1024"):
        of_parts(bytes(1025), SIGNATURE)


@pytest.mark.parametrize("key", [RSA.spki, AREA], ids=["DER", "public area"])
@pytest.mark.parametrize("banks", [("sha256",), ("sha256", "sha1")])
@pytest.mark.parametrize("log", [None, b""], ids=["with a log", "without"])
def test_the_json_form_is_read_as_it_is_written(key: bytes, banks: tuple[str, ...], log: bytes | None) -> None:
    quote = RSA.quote(key=key, banks=banks, log=log)
    data = quote.serialize()
    assert tpm.looks_like(data)
    assert tpm.parse(data) == quote
    assert tpm.parse(data).serialize() == data
    assert tpm.parse(json.dumps(json.loads(data), indent=4).encode()) == quote


def test_a_quote_without_key_or_with_other_values_has_no_json_form() -> None:
    for quote in (RSA.quote(key=b""), of_parts(MESSAGE, SIGNATURE, key=RSA.spki, pcrs={"sha256": {0: bytes(32)}})):
        with pytest.raises(ValueError, match="JSON form needs"):
            quote.serialize()


def document(**changes: Any) -> bytes:
    made = json.loads(RSA.quote().serialize())
    for name, value in changes.items():
        target = made if name in {"ak_public", "event_log", "extra"} else made["tpm_quote"]
        target[name] = value
    return json.dumps({key: value for key, value in made.items() if value is not None}).encode()


BAD_DOCUMENTS = {
    "no key": (document(ak_public=None), "needs .*ak_public"),
    "a field that is not understood": (document(extra=1), "extra"),
    "a field in the quote that is not understood": (document(svn="1"), "svn"),
    "base64 with a line break": (document(message="/1RD\nRw=="), "not base64"),
    "base64 in another form": (document(ak_public="MIJ="), "one form"),
    "an empty signature": (document(signature=""), "1 to 1024"),
    "a signature that is a number": (document(signature=1), "not a string"),
    "values that are no list": (document(pcrs="00"), "not a list"),
    "a value that is no string": (document(pcrs=[1] * 24), "hexadecimal digits"),
    "a value with spaces in it": (document(pcrs=["00 " * 32] * 24), "hexadecimal digits"),
    "a value of another bank": (document(pcrs=["00" * 20] * 24), "size of bank sha256"),
    "fewer values than selected": (document(pcrs=["00" * 32] * 23), "23 values"),
    "a log that is none": (document(event_log="AAAA"), "event log"),
    "a list": (b"[]", "tpm_quote"),
    "no JSON": (b"\xff", "UTF-8|json"),
}


@pytest.mark.parametrize(("data", "reason"), BAD_DOCUMENTS.values(), ids=BAD_DOCUMENTS)
def test_malformed_documents_are_refused(data: bytes, reason: str) -> None:
    with pytest.raises(ParseError, match=reason):
        tpm.parse(data)


def test_what_looks_like_a_tpm_quote() -> None:
    assert not any(map(tpm.looks_like, (b"", b"{}", MESSAGE, event_log(BOOT), b'{"tpm_quote": 1}')))


def field(number: int, value: bytes | int) -> bytes:
    if isinstance(value, int):
        return bytes([number << 3, value])
    size = len(value)
    length = bytes([size]) if size < 128 else bytes([size & 0x7F | 0x80, size >> 7])
    return bytes([number << 3 | 2]) + length + value


def google(*extra: bytes, values: dict[int, bytes] | None = None, bank: bytes | None = None) -> bytes:
    pcrs = values or extended()
    entries = b"".join(field(2, field(1, index) + field(2, value)) for index, value in pcrs.items())
    message = attest({"sha256": pcrs})
    inner = field(1, message) + field(2, RSA.sign(message)) + field(3, (bank or field(1, 0x0B)) + entries)
    return field(1, AREA) + field(2, inner) + field(3, event_log(banks=("sha256",))) + field(4, b"") + b"".join(extra)


def test_googles_attestation_holds_a_quote_for_every_bank() -> None:
    found = tpm_protobuf.parse(google())
    assert tpm_protobuf.looks_like(google())
    (quote,) = found.quotes
    assert quote.in_order
    assert quote.key == parse_key(AREA)
    assert quote.event_log is not None
    assert found.certificates == ()


BAD_MESSAGES = {
    "an AMD report inside": (google(field(8, b"x")), "AMD SEV-SNP"),
    "a TDX quote inside": (google(field(9, b"x")), "Intel TDX"),
    "a second event log": (google(field(5, b"x")), "canonical"),
    "two keys": (google(field(1, AREA)), "field 1.*more than once"),
    "a number for the key": (field(1, 5) + google(), "more than once|number"),
    "no quote": (field(1, AREA), "there is none"),
    "a wire type that is not used": (google(b"\x25\0\0\0\0"), "wire type 5"),
    "field number 0": (google(b"\0\0"), "field number 0"),
    "a number that does not end": (google(b"\x08" + b"\x80" * 10), "more than 64 bits"),
    "a field that is cut off": (google()[:-1] + b"\x7f", "needs"),
    "thousands of fields": (google(field(4, b"") * 300), "more than 256"),
    "a bank that is unknown": (google(bank=field(1, 0x55)), "bank 85 is unknown"),
}


@pytest.mark.parametrize(("data", "reason"), BAD_MESSAGES.values(), ids=BAD_MESSAGES)
def test_malformed_messages_are_refused(data: bytes, reason: str) -> None:
    with pytest.raises(ParseError, match=reason):
        tpm_protobuf.parse(data)
