"""A key-encryption key in a key service: what it is asked, and that whatever fails is undecided and nothing else."""

import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.services.key_broker import SECRET, desk
from tests.services.transit import TOKEN, KeyService, key_service

from cloister.broker.secrets_key import SecretUnreadable
from cloister.errors import Undecided, UsageError
from cloister.serve.keys.choice import kek_of
from cloister.serve.keys.transit import TransitKey

KEY, CONTEXT = bytes(range(32)), b"database key 01"


@pytest.fixture
def service(tmp_path: Path) -> Iterator[KeyService]:
    with key_service(tmp_path) as made:
        yield made


def client(service: KeyService, seconds: float = 1.0) -> TransitKey:
    return TransitKey(url=service.url, ca=service.ca, token_file=service.token_file, seconds=seconds)


def test_a_key_goes_there_and_comes_back_as_the_api_has_it(service: KeyService) -> None:
    kek = client(service)
    wrapped = kek.wrap(KEY, CONTEXT)
    assert wrapped.startswith(b"vault:v1:")
    assert kek.unwrap(wrapped, CONTEXT) == KEY
    path, token, body = service.asked[0]
    assert (path, token) == ("/v1/transit/encrypt/cloister", TOKEN)
    assert {name: base64.b64decode(value) for name, value in body.items()} == {
        "plaintext": KEY, "associated_data": CONTEXT,
    }  # fmt: skip
    path, _, body = service.asked[-1]
    assert (path, body["ciphertext"]) == ("/v1/transit/decrypt/cloister", wrapped.decode())


def test_what_is_wrapped_is_bound_to_what_it_is(service: KeyService) -> None:
    kek = client(service)
    wrapped = kek.wrap(KEY, CONTEXT)
    for other, context in ((wrapped, b"another"), (wrapped[:-4] + b"AAA=", CONTEXT), (b"\xff", CONTEXT)):
        with pytest.raises(SecretUnreadable):
            kek.unwrap(other, context)


def test_a_service_that_ignores_the_context_is_refused(service: KeyService) -> None:
    service.heeds = False
    with pytest.raises(UsageError, match="ignores `associated_data`"):
        client(service).wrap(KEY, CONTEXT)


def test_versions_of_the_key(service: KeyService) -> None:
    kek = client(service)
    old = kek.wrap(KEY, CONTEXT)
    service.rotate()
    assert kek.unwrap(old, CONTEXT) == KEY
    new = kek.wrap(KEY, CONTEXT)
    assert new.startswith(b"vault:v2:")
    service.lowest = 2
    with pytest.raises(SecretUnreadable, match="min_decryption_version"):
        kek.unwrap(old, CONTEXT)
    assert kek.unwrap(new, CONTEXT) == KEY


FAULTS = {
    "307": "answers from another node",
    "403": "refuses the token",
    "404": "no such engine or key",
    "429": "asked too often",
    "500": "out of order",
    "503": "sealed or in maintenance",
    "204": "answers strangely",
    "silence": "does not answer in time",
    "dripping": "does not answer in time",
    "hang up": "cannot be reached|breaks off",
    "enormous": "more than a key service has to say",
    "no JSON": "something else than the transit engine",
    "[]": "something else than the transit engine",
    '{"data": {}}': "answers without",
    '{"data": {"plaintext": "no base64!", "ciphertext": "plain"}}': "something else than a",
    '{"data": {"plaintext": "AAAA", "plaintext": "BBBB"}}': "something else than the transit engine",
    '{"data": {"plaintext": 7, "ciphertext": null}}': "answers without",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_whatever_fails_is_undecided(service: KeyService, fault: str) -> None:
    kek = client(service, 0.6)
    wrapped = kek.wrap(KEY, CONTEXT)
    service.fault = fault
    asks: tuple[Callable[[], object], ...] = (lambda: kek.unwrap(wrapped, CONTEXT), lambda: kek.wrap(KEY, CONTEXT))
    for ask in asks:
        with pytest.raises(Undecided, match=FAULTS[fault]) as refused:
            ask()
        assert not isinstance(refused.value, SecretUnreadable)
        assert refused.value.status == 503
        assert "quoted-by-the-service" not in str(refused.value)
        assert TOKEN not in str(refused.value)
    service.fault = ""
    assert kek.unwrap(wrapped, CONTEXT) == KEY


def test_a_service_that_is_not_there_or_shows_another_certificate(service: KeyService, tmp_path: Path) -> None:
    gone = TransitKey(
        url="https://127.0.0.1:9/v1/transit/keys/cloister", ca=service.ca, token_file=service.token_file, seconds=1
    )
    with pytest.raises(Undecided, match="cannot be reached"):
        gone.wrap(KEY, CONTEXT)
    (tmp_path / "other").mkdir()
    with key_service(tmp_path / "other") as other:
        stranger = TransitKey(url=service.url, ca=other.ca, token_file=service.token_file, seconds=1)
        with pytest.raises(Undecided, match="certificate that is not believed"):
            stranger.wrap(KEY, CONTEXT)
    assert not service.asked, "the token went to a server that is not believed"


def test_the_token_is_read_again_and_only_its_owner_may_read_it(service: KeyService) -> None:
    kek = client(service)
    wrapped = kek.wrap(KEY, CONTEXT)
    service.token = "hvs.renewed"
    with pytest.raises(Undecided, match="refuses the token"):
        kek.unwrap(wrapped, CONTEXT)
    service.token_file.write_text("hvs.renewed\n")
    assert kek.unwrap(wrapped, CONTEXT) == KEY
    service.token_file.chmod(0o644)
    with pytest.raises(Undecided, match="others can read"):
        kek.unwrap(wrapped, CONTEXT)
    with pytest.raises(UsageError, match="others can read"):
        client(service)


@pytest.mark.parametrize(
    "text",
    [
        "kms=http://127.0.0.1/v1/transit/keys/x,ca={ca},token={token}",
        "kms=https://127.0.0.1/transit/keys/x,ca={ca},token={token}",
        "kms=https://127.0.0.1/v1/transit/encrypt/x,ca={ca},token={token}",
        "kms=https://127.0.0.1/v1/../keys/x,ca={ca},token={token}",
        "kms=https://user@127.0.0.1/v1/transit/keys/x,ca={ca},token={token}",
        "kms=https://127.0.0.1/v1/transit/keys/x?a=b,ca={ca},token={token}",
        "kms=https://127.0.0.1/v1/transit/keys/x",
        "kms=https://127.0.0.1/v1/transit/keys/x,ca={ca}",
        "kms=https://127.0.0.1/v1/transit/keys/x,ca={token},token={token}",
        "kms=https://127.0.0.1/v1/transit/keys/x,ca={ca},token={ca}",
        "kms=https://127.0.0.1/v1/transit/keys/x,ca={ca},token={token},token={token}",
        "kms=", "kms", "file=", "tpm=", "vault", "",
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_before_anybody_is_asked(service: KeyService, text: str, tmp_path: Path) -> None:
    service.ca.chmod(0o600)
    with pytest.raises(UsageError):
        kek_of(text.format(ca=service.ca, token=service.token_file), tmp_path)


def test_a_broker_asks_once_and_serves_while_the_service_is_away(service: KeyService, tmp_path: Path) -> None:
    with desk(tmp_path, keks=lambda state: [kek_of(service.kek, state)]) as at:
        asked = len(service.asked)
        service.fault = "503"
        at.store_secret()
        at.attest()
        assert at.attester.open(at.resource().json()) == SECRET
        assert len(service.asked) == asked
        state = at.service.settings.state
        assert not (state / "kek").exists()
        stored = b"".join(file.read_bytes() for file in state.glob("broker.db*"))
        keys = [body["plaintext"] for _, _, body in service.asked if "plaintext" in body]
        assert stored
        assert keys
        assert all(base64.b64decode(key) not in stored for key in keys)
    with pytest.raises(Undecided, match="sealed"), desk(tmp_path, keks=lambda state: [kek_of(service.kek, state)]):
        pass
    service.fault = ""
    with desk(tmp_path, at.attester, keks=lambda state: [kek_of(service.kek, state)]) as again:
        again.attest()
        assert again.attester.open(again.resource().json()) == SECRET


def test_another_key_than_the_databases_is_named(service: KeyService, tmp_path: Path) -> None:
    with desk(tmp_path, keks=lambda state: [kek_of(service.kek, state)]):
        pass
    with pytest.raises(SecretUnreadable, match=r"under kms https.*; at hand is file [0-9a-f]{16}$"), desk(tmp_path):
        pass
    assert json.dumps(service.asked).count("encrypt") == 1
