"""AMD's certificates of endorsement keys: what they say, what is refused, and where AMD has them."""

from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from tests.forge.amd import CHIPS, TCBS, der_integer, ia5, issue, platform

from cloister.endorse.amd import (
    CSP_ID,
    HW_ID,
    PRODUCT_NAME,
    SPLS,
    chain_path,
    crl_path,
    ek_info,
    is_ek,
    issuer_name,
    kds_path,
)
from cloister.errors import ParseError
from cloister.evidence.snp import Product, SigningKey

MILAN, TURIN = platform(), platform(Product.TURIN)


@pytest.mark.parametrize("product", list(Product))
def test_a_vcek_is_of_a_chip_at_a_tcb(product: Product) -> None:
    info = ek_info(platform(product).ek().certificate)
    assert (info.kind, info.product, info.tcb) == (SigningKey.VCEK, product, TCBS[product])
    assert (info.hw_id, info.chip_id, info.csp_id) == (CHIPS[product], CHIPS[product].ljust(64, b"\0"), "")


def test_a_vlek_is_of_a_provider() -> None:
    info = ek_info(MILAN.ek(SigningKey.VLEK, csp_id="CN=somebody").certificate)
    assert (info.kind, info.hw_id, info.csp_id) == (SigningKey.VLEK, b"", "CN=somebody")


def test_the_stepping_is_part_of_the_name_only() -> None:
    info = ek_info(MILAN.ek(product_name="Milan-B1").certificate)
    assert (info.product, info.product_name) == (Product.MILAN, "Milan-B1")


def test_the_chip_identifier_may_be_wrapped_in_an_octet_string() -> None:
    wrapped = MILAN.ek(extensions={HW_ID: b"\x04\x40" + CHIPS[Product.MILAN]})
    assert ek_info(wrapped.certificate) == ek_info(MILAN.ek().certificate)


def test_reserved_levels_may_be_missing() -> None:
    """As the fourth is in Turin's."""
    without = MILAN.ek(extensions={SPLS["spl4"]: None})
    assert ek_info(without.certificate).tcb == TCBS[Product.MILAN]


REFUSED: dict[str, tuple[dict[str, bytes | None], str]] = {
    "no product": ({PRODUCT_NAME: None}, "productName"),
    "a product that is not known": ({PRODUCT_NAME: ia5("Venice-A0")}, "is 'Venice-A0', which is not a known product"),
    "a product that is no text": ({PRODUCT_NAME: der_integer(5)}, "productName"),
    "an empty product": ({PRODUCT_NAME: ia5("")}, "is not a text in ASCII"),
    "something behind the product": ({PRODUCT_NAME: ia5("Milan-B0") + b"\0"}, "too many"),
    "no level of a part": ({SPLS["snpSPL"]: None}, "snpSPL"),
    "a level of two bytes": ({SPLS["ucodeSPL"]: der_integer(256)}, "is 256; patch levels have one byte"),
    "a negative level": ({SPLS["ucodeSPL"]: b"\x02\x01\xff"}, "is -1; patch levels have one byte"),
    "a level not in its shortest form": ({SPLS["blSPL"]: b"\x02\x02\x00\x04"}, "blSPL"),
    "something behind a level": ({SPLS["blSPL"]: b"\x02\x01\x04\x00"}, "too many"),
    "neither chip nor provider": ({HW_ID: None}, "cspID"),
    "both chip and provider": ({CSP_ID: ia5("CN=somebody")}, "stands beside a hwID"),
    "a short chip identifier": ({HW_ID: bytes(63)}, "has 63 bytes; Milan chips have 64"),
    "an empty chip identifier": ({HW_ID: b""}, "has 0 bytes; Milan chips have 64"),
    "Turin's chip identifier": ({HW_ID: bytes(8)}, "has 8 bytes; Milan chips have 64"),
}  # fmt: skip


@pytest.mark.parametrize(("extensions", "reason"), REFUSED.values(), ids=REFUSED)
def test_refused(extensions: dict[str, bytes | None], reason: str) -> None:
    with pytest.raises(ParseError) as caught:
        ek_info(MILAN.ek(extensions=extensions).certificate)
    assert reason in str(caught.value)


def test_a_milan_identifier_is_none_of_turin() -> None:
    with pytest.raises(ParseError, match="has 64 bytes; Turin chips have 8"):
        ek_info(TURIN.ek(hw_id=bytes(64)).certificate)


def test_the_key_must_be_a_p384_key() -> None:
    made = MILAN.ek().certificate
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    extensions = {oid: one.value for oid, one in made.extensions.items()}
    other = issue("SEV-VCEK", key, MILAN.ask.name, MILAN.ask.key, extensions=extensions)
    with pytest.raises(ParseError, match="is no P-384 key"):
        ek_info(other)


def test_authorities_are_no_endorsement_keys() -> None:
    assert is_ek(MILAN.ek().certificate)
    assert not any(is_ek(one) for one in MILAN.authorities)
    with pytest.raises(ParseError, match="'SEV-Milan' has no such extension"):
        ek_info(MILAN.ask.certificate)


def test_where_amd_has_certificates() -> None:
    """The forms that AMD 57230 gives; levels have at least two digits there."""
    vcek: dict[str, Any] = {"kind": SigningKey.VCEK, "chip_id": bytes(range(64))}
    assert kds_path(**vcek, product=Product.MILAN, tcb=TCBS[Product.MILAN]) == (
        f"/vcek/v1/Milan/{bytes(range(64)).hex()}?blSPL=04&teeSPL=00&snpSPL=24&ucodeSPL=219"
    )
    assert kds_path(**vcek, product=Product.TURIN, tcb=TCBS[Product.TURIN]) == (
        "/vcek/v1/Turin/0001020304050607?fmcSPL=01&blSPL=02&teeSPL=01&snpSPL=04&ucodeSPL=80"
    )
    vlek: dict[str, Any] = {"kind": SigningKey.VLEK, "chip_id": bytes(64)}
    assert kds_path(**vlek, product=Product.GENOA, tcb=TCBS[Product.GENOA]) == (
        "/vlek/v1/Genoa/cert?blSPL=10&teeSPL=00&snpSPL=23&ucodeSPL=84"
    )
    assert chain_path(SigningKey.VLEK, Product.GENOA) == "/vlek/v1/Genoa/cert_chain"
    assert crl_path(SigningKey.VCEK, Product.TURIN) == "/vcek/v1/Turin/crl"
    assert issuer_name(SigningKey.VLEK, Product.TURIN) == "SEV-VLEK-Turin"
