"""Values of secrets: how they are made, where they are put, and that they do not become text by accident."""

import base64
import copy
import hashlib
import json
import pickle
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from tests.forge.sessions import SALT, document, session

from cloister.broker.session.provision import provision, written_as
from cloister.broker.session.secret_maker import SecretMaker
from cloister.broker.session.secret_value import SecretValue
from cloister.broker.session.session import Secret
from cloister.errors import PolicyError
from cloister.result.jwk import private_key

AT = datetime(2026, 3, 15, 12, 0, 0, 500, tzinfo=UTC)


def stream(seed: bytes = b"a") -> Callable[[int], bytes]:
    """Bytes that are the same in every run."""
    counter = iter(range(1 << 30))

    def take(size: int) -> bytes:
        blocks = (hashlib.sha512(seed + next(counter).to_bytes(8)).digest() for _ in range(size // 64 + 1))
        return b"".join(blocks)[:size]

    return take


def secret(kind: str, **generate: Any) -> Secret:
    made = session({
        "name": "s", "version": "1", "secrets": [{"name": "s", "kind": kind, "generate": generate, "export": ["x"]}],
    })  # fmt: skip
    return made.secrets[0]


def made(kind: str, *, seed: bytes = b"a", **generate: Any) -> bytes:
    return SecretMaker(stream(seed), lambda: AT).make(secret(kind, **generate)).reveal()


def test_characters() -> None:
    value = made("ascii", size=4096)
    assert len(value) == 4096
    assert value.isalnum()
    counts = [value.count(one) for one in set(value)]
    assert len(counts) == 62
    assert max(counts) < 2 * min(counts), "no character is preferred"


@pytest.mark.parametrize(
    ("kind", "generate", "size"),
    [
        ("ascii", {}, 24),
        ("binary", {}, 32),
        ("binary", {"size": 100}, 100),
        ("aes-key", {}, 32),
        ("aes-key", {"algorithm": "AES-128"}, 16),
        ("aes-key", {"algorithm": "AES-192"}, 24),
    ],
)
def test_sizes(kind: str, generate: dict[str, Any], size: int) -> None:
    assert len(made(kind, **generate)) == size


@pytest.mark.parametrize(
    ("kind", "algorithm", "curve"),
    [
        ("private-key", "P-256", "secp256r1"),
        ("private-key", "P-384", "secp384r1"),
        ("private-key", "Ed25519", ""),
        ("jwt-key", "ES256", "secp256r1"),
        ("jwt-key", "ES384", "secp384r1"),
        ("jwt-key", "EdDSA", ""),
    ],
)
def test_private_keys(kind: str, algorithm: str, curve: str) -> None:
    pem = made(kind, algorithm=algorithm)
    key = serialization.load_pem_private_key(pem, None)
    if curve:
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        assert key.curve.name == curve
    else:
        assert isinstance(key, ed25519.Ed25519PrivateKey)


@pytest.mark.parametrize("algorithm", ["P-256", "P-384", "Ed25519"])
def test_certificates(algorithm: str) -> None:
    pem = made("x509", algorithm=algorithm, common_name="web", dns=["a.example", "*.b.example"], days=10)
    key = serialization.load_pem_private_key(pem, None)
    certificate = x509.load_pem_x509_certificate(written_as("x509", pem))
    assert certificate.public_key() == key.public_key()
    certificate.verify_directly_issued_by(certificate)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["*.b.example", "a.example"]
    assert certificate.not_valid_before_utc == AT.replace(microsecond=0)
    assert certificate.not_valid_after_utc - certificate.not_valid_before_utc == timedelta(days=10)


@pytest.mark.parametrize(
    ("kind", "generate"),
    [
        ("ascii", {}),
        ("binary", {}),
        ("aes-key", {}),
        ("private-key", {}),
        ("private-key", {"algorithm": "Ed25519"}),
        ("x509", {"common_name": "web"}),
        ("jwt-key", {}),
    ],
)
def test_a_value_is_made_of_the_entropy_and_of_nothing_else(kind: str, generate: dict[str, Any]) -> None:
    assert made(kind, **generate) == made(kind, **generate)
    assert made(kind, **generate) != made(kind, seed=b"b", **generate)
    assert SecretMaker().make(secret(kind, **generate)) != SecretMaker().make(secret(kind, **generate))


def test_only_what_is_to_be_made_is_made() -> None:
    with pytest.raises(ValueError, match="not made"):
        SecretMaker().make(session().by_name["pin"])


# ------------------------------------------------------------------------------------------------- the wrapper


def test_the_way_out() -> None:
    assert SecretValue(b"abc").reveal() == b"abc"


@pytest.mark.parametrize(
    "use",
    [
        str,
        bytes,
        bool,
        pickle.dumps,
        copy.copy,
        copy.deepcopy,
        json.dumps,
        hash,
        len,
        list,
        "{}".format,
        "%s".__mod__,
        dict,
    ],
    ids=lambda use: getattr(use, "__name__", "format"),
)
def test_every_other_way_is_closed(use: Callable[[object], object]) -> None:
    with pytest.raises(TypeError):
        use(SecretValue(b"abc"))
    with pytest.raises(TypeError):
        f"{SecretValue(b'abc')}"


def test_where_representations_are_printed() -> None:
    assert repr([SecretValue(b"abc")]) == "[<secret>]"
    assert not hasattr(SecretValue(b"abc"), "__dict__")


def test_comparing() -> None:
    assert SecretValue(b"abc") == SecretValue(b"abc")
    assert SecretValue(b"abc") != SecretValue(b"abd")
    assert SecretValue(b"abc") != b"abc"


def test_wiping() -> None:
    value = SecretValue(b"abc")
    held = value._held
    value.wipe()
    assert held == b"\0\0\0"
    with pytest.raises(ValueError, match="wiped"):
        value.reveal()
    with pytest.raises(ValueError, match="wiped"):
        assert value == SecretValue(b"abc")


def test_what_nobody_holds_is_wiped() -> None:
    value = SecretValue(b"abc")
    held = value._held
    del value
    assert held == b"\0\0\0"


# ------------------------------------------------------------------------------------------------- where values are put


def provisioned(values: dict[str, bytes], **service: Any) -> Any:
    data = document()
    data["services"][0] |= service
    data["secrets"].append({"name": "url", "kind": "ascii", "value": "db:$$SCONE::token:hex$$@$$CLOISTER::pin$$"})
    read = session(data)
    return provision(read, read.services[0], {name: SecretValue(value) for name, value in values.items()})


VALUES = {"token": b"t0k", "unshared": b"\x00\xff"}


def test_values_are_put_in() -> None:
    got = provisioned(
        VALUES,
        environment={"A": "<$$SCONE::token$$>", "U": "$$SCONE::url$$", "B": "$$SCONE::unshared:base64$$"},
        injection_files=[
            {"path": "/raw", "content": "$$SCONE::unshared$$"},
            {"path": "/text", "content": "a\n$$SCONE::pin:hex$$\n"},
        ],
        pwd="/srv",
    )
    assert [one.reveal() for one in got.command] == [b"server", b"--token", b"t0k"]
    assert {name: one.reveal() for name, one in got.environment.items()} == {
        "A": b"<t0k>",
        "U": b"db:" + b"t0k".hex().encode() + b"@correct horse",
        "B": base64.b64encode(b"\x00\xff"),
    }
    assert {name: one.reveal() for name, one in got.files.items()} == {
        "/raw": b"\x00\xff",
        "/text": b"a\n" + b"correct horse".hex().encode() + b"\n",
    }
    assert got.pwd == "/srv"
    assert "t0k" not in repr(got)


def test_a_value_that_is_not_there() -> None:
    with pytest.raises(PolicyError, match="`token` has no value yet"):
        provisioned({})


def test_what_the_owner_wrote_is_not_replaced() -> None:
    got = provisioned(VALUES | {"pin": b"mallory"}, environment={"A": "$$SCONE::pin$$"})
    assert got.environment["A"].reveal() == b"correct horse"


def test_a_value_with_a_nul_does_not_fit_into_an_argument() -> None:
    with pytest.raises(PolicyError, match="NUL"):
        provisioned({"token": b"a\0b"})


@pytest.mark.parametrize("form", ["crt", "key", "chain"])
def test_forms_of_certificates(form: str) -> None:
    pem = made("x509", common_name="web")
    assert (b"PRIVATE" in written_as("x509", pem, form)) is (form == "key")
    assert (b"CERTIFICATE" in written_as("x509", pem, form)) is (form != "key")


@pytest.mark.parametrize("algorithm", ["ES256", "ES384", "EdDSA"])
def test_forms_of_keys(algorithm: str) -> None:
    pem = made("jwt-key", algorithm=algorithm)
    jwk = json.loads(written_as("jwt-key", pem, "jwk"))
    assert jwk["alg"] == algorithm
    key = serialization.load_pem_private_key(pem, None)
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    assert written_as("jwt-key", pem, "pub") == public
    der = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    assert private_key(jwk).spki == der
    assert written_as("jwt-key", pem) == pem


def test_rsa_keys_can_be_given() -> None:
    key = rsa.generate_private_key(65537, 2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    given = [{"name": "k", "kind": "jwt-key", "value": pem, "export": ["x"]}]
    read = session({"name": "s", "version": "1", "salt": SALT, "secrets": given})
    jwk = json.loads(written_as("jwt-key", read.values["k"].reveal(), "jwk"))
    assert private_key(jwk).algorithm == "PS256"


def test_forms_that_a_kind_does_not_have() -> None:
    with pytest.raises(ValueError, match="written as key, pub"):
        written_as("private-key", made("private-key"), "crt")


def test_a_certificate_of_another_key_is_refused() -> None:
    first, second = made("x509", common_name="web"), made("x509", seed=b"b", common_name="web")
    mixed = written_as("x509", first, "key") + written_as("x509", second, "crt")
    for pem, fine in ((first, True), (mixed, False)):
        data = {"name": "s", "version": "1", "salt": SALT, "secrets": [
            {"name": "c", "kind": "x509", "value": pem.decode(), "export": ["x"]}]}  # fmt: skip
        if fine:
            assert session(data).values["c"].reveal() == pem
        else:
            with pytest.raises(PolicyError, match="not of the private key"):
                session(data)
