"""Every real SEV certificate: two platforms' whole chains, the authorities of three more products, the altered root."""

import functools
import json
from typing import Any

import pytest
from tests.samples.conftest import EVIDENCE

from cloister import _crypto
from cloister._x509 import Certificate
from cloister.endorse.anchors import TrustAnchors
from cloister.errors import ChainInvalid, ParseError
from cloister.evidence.sev_chain import SevChain, Usage, parse_ca_certificate, parse_certificate, parse_chain
from cloister.model import Tee
from cloister.verification.sev_chain import check_authorities, check_chain, root_spki

FOLDER = EVIDENCE / "amd-sev"
PLATFORMS = ["virtee-sev-naples", "virtee-sev-rome"]
AUTHORITIES = sorted(path.parent.name for path in FOLDER.glob("*/ark.cert"))
ORDER = ("pdh", "pek", "oca", "cek", "ask", "ark")
ROOTS = TrustAnchors.hardware()


def file(name: str, part: str) -> bytes:
    return (FOLDER / name / f"{part}.cert").read_bytes()


def bytes_of(name: str) -> bytes:
    return b"".join(file(name, part) for part in ORDER)


@functools.cache
def chain_of(name: str) -> SevChain:
    return parse_chain(bytes_of(name))


def test_the_corpus_is_there() -> None:
    assert len(AUTHORITIES) == 5
    assert set(PLATFORMS) < set(AUTHORITIES)


@pytest.mark.parametrize("name", AUTHORITIES)
def test_authorities(name: str) -> None:
    """ASK signed by ARK, ARK self-signed, and the ARK is the pinned one of its product."""
    ark = parse_ca_certificate(file(name, "ark"), Usage.ARK)
    ask = parse_ca_certificate(file(name, "ask"), Usage.ASK)
    assert (ark.serialize(), ask.serialize()) == (file(name, "ark"), file(name, "ask"))
    check_authorities(ask, ark)
    anchor = ROOTS.find(Tee.SEV, _crypto.spki_of(_crypto.rsa_public_key(*ark.numbers)))
    assert anchor is not None
    assert anchor.name == f"AMD ARK-{name.rpartition('-')[2].capitalize()}"


@pytest.mark.parametrize("product", ["milan", "genoa", "turin"])
def test_from_milan_on_the_root_has_the_key_of_the_x509_root(product: str) -> None:
    ark = parse_ca_certificate(file(f"virtee-sev-ca-{product}", "ark"), Usage.ARK)
    x509 = Certificate.parse((EVIDENCE / "collateral-amd" / f"ark-{product}.der").read_bytes())
    assert _crypto.spki_of(_crypto.rsa_public_key(*ark.numbers)) == x509.spki


@pytest.mark.parametrize("name", PLATFORMS)
def test_platform(name: str) -> None:
    chain = chain_of(name)
    assert chain.serialize() == bytes_of(name)
    check_chain(chain, ROOTS)
    anchor = ROOTS.find(Tee.SEV, root_spki(chain))
    assert anchor is not None
    expected: dict[str, Any] = json.loads((FOLDER / name / "meta.json").read_text())["expected"]
    assert chain.ark.digest == expected["ark_self"]
    for part in ("cek", "oca", "pek", "pdh"):
        one = getattr(chain, part)
        assert hex(one.pubkey_usage) == expected[part]["usage"]
        assert hex(one.pubkey_algo) == expected[part]["algo"]
        signers = {usage.name.lower(): algorithm for usage, (algorithm, _) in one.signatures.items()}
        found = {name: ("" if algorithm.is_rsa else "ecdsa-") + algorithm.digest for name, algorithm in signers.items()}
        assert found == dict(expected[part]["signed_by"])


@pytest.mark.parametrize("name", PLATFORMS)
def test_these_roots_are_pinned_for_sev_only(name: str) -> None:
    spki = root_spki(chain_of(name))
    assert ROOTS.find(Tee.SEV, spki) is not None
    assert ROOTS.find(Tee.SNP, spki) is None


def test_the_altered_root_of_naples_is_refused() -> None:
    """It ends before its signature, as AMD once published it."""
    data = (FOLDER / "virtee-sev-naples" / "neg-ark.cert.bad").read_bytes()
    with pytest.raises(ParseError, match="576 bytes; this record has exactly 832"):
        parse_ca_certificate(data, Usage.ARK)
    assert file("virtee-sev-naples", "ark") == data + (FOLDER / "virtee-sev-naples" / "ark.cert.sig").read_bytes()


@pytest.mark.parametrize("name", PLATFORMS)
@pytest.mark.parametrize("part", ORDER)
def test_a_flipped_bit_in_any_certificate_is_noticed(name: str, part: str) -> None:
    """Every 16th byte. Nothing in these certificates is outside all signatures but the places' own labels."""
    data = file(name, part)
    for offset in range(0, len(data), 16):
        altered = bytearray(data)
        altered[offset] ^= 0x10
        parts = [bytes(altered) if one == part else file(name, one) for one in ORDER]
        with pytest.raises((ParseError, ChainInvalid)):
            check_chain(parse_chain(b"".join(parts)), ROOTS)


def test_certificates_do_not_stand_in_for_one_another() -> None:
    name = PLATFORMS[0]
    for part, wrong in (("cek", Usage.PEK), ("pek", Usage.CEK), ("oca", Usage.PEK), ("pdh", Usage.PEK)):
        with pytest.raises(ParseError, match="pubkey_usage"):
            parse_certificate(file(name, part), wrong)
    with pytest.raises(ParseError, match="key_usage"):
        parse_ca_certificate(file(name, "ask"), Usage.ARK)


def test_platforms_do_not_mix() -> None:
    naples, rome = (chain_of(name) for name in PLATFORMS)
    for part in ("pdh", "pek", "cek", "ask"):
        mixed = SevChain(**{one: getattr(rome if one == part else naples, one) for one in ORDER})
        with pytest.raises(ChainInvalid):
            check_chain(mixed, ROOTS)
