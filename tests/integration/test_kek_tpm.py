"""A key-encryption key in a TPM, by the programs of tpm2-tools, on a software TPM that belongs to the test."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.services.key_broker import SECRET, desk
from tests.services.tpm import Tpm, tpm

from cloister.broker.secrets_key import SecretUnreadable
from cloister.errors import Undecided, UsageError
from cloister.serve.keys import tpm_tools
from cloister.serve.keys.choice import kek_of
from cloister.serve.keys.tpm import TpmKey
from cloister.serve.keys.tpm_tools import TpmFailed, TpmTools

pytestmark = pytest.mark.needs_program("swtpm", "tpm2_createprimary", "tpm2_unseal")

KEY, CONTEXT = b"the key of a database, 32 bytes.", b"database key 01"


@pytest.fixture(scope="module")
def chip() -> Iterator[Tpm]:
    with tpm() as made:
        yield made


def test_a_key_is_sealed_and_comes_back(chip: Tpm) -> None:
    kek = TpmKey(chip.tcti)
    wrapped = kek.wrap(KEY, CONTEXT)
    assert KEY not in wrapped
    assert kek.unwrap(wrapped, CONTEXT) == KEY
    again = TpmKey(chip.tcti)
    assert again.unwrap(wrapped, CONTEXT) == KEY
    assert again.identifier == kek.identifier


def test_nothing_stays_in_the_tpm(chip: Tpm) -> None:
    """It has three places: were one lost each time, the fourth would fail."""
    kek = TpmKey(chip.tcti)
    for _ in range(3):
        kek.unwrap(kek.wrap(KEY, CONTEXT), CONTEXT)
    with TpmTools(chip.tcti) as tools:
        for handles in ("handles-transient", "handles-loaded-session", "handles-saved-session"):
            assert tools.run("tpm2_getcap", handles) == b""


def test_what_was_changed_or_stands_elsewhere_does_not_open(chip: Tpm) -> None:
    kek = TpmKey(chip.tcti)
    wrapped = kek.wrap(KEY, CONTEXT)
    changed = bytearray(wrapped)
    changed[-1] ^= 1
    for one, context in (
        (wrapped, b"another"), (bytes(changed), CONTEXT), (wrapped[:-1], CONTEXT), (b"", CONTEXT),
        (b"\0\0\0\0", CONTEXT),
    ):  # fmt: skip
        with pytest.raises(SecretUnreadable):
            kek.unwrap(one, context)


def test_another_tpm_does_not_open_it(chip: Tpm) -> None:
    wrapped = TpmKey(chip.tcti).wrap(KEY, CONTEXT)
    with tpm() as other:
        assert TpmKey(other.tcti).identifier != TpmKey(chip.tcti).identifier
        with pytest.raises(SecretUnreadable, match="another TPM"):
            TpmKey(other.tcti).unwrap(wrapped, CONTEXT)


def test_without_a_tpm_it_is_undecided(chip: Tpm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = TpmKey(f"swtpm:path={tmp_path / 'none'}")
    for ask in (lambda: gone.identifier, lambda: gone.wrap(KEY, CONTEXT)):
        with pytest.raises(TpmFailed, match="tpm2_createprimary failed") as failed:
            ask()
        assert failed.value.status == 503
    monkeypatch.setattr(tpm_tools, "SECONDS", 0.0001)
    with pytest.raises(Undecided, match="did not end"):
        TpmKey(chip.tcti).wrap(KEY, CONTEXT)
    monkeypatch.setitem(tpm_tools.ENVIRONMENT, "PATH", str(tmp_path))
    with pytest.raises(UsageError, match="install tpm2-tools"):
        TpmKey(chip.tcti).wrap(KEY, CONTEXT)
    with pytest.raises(ValueError, match="96 bytes"):
        TpmKey(chip.tcti).wrap(bytes(97), CONTEXT)


def test_a_broker_with_its_key_in_the_tpm(chip: Tpm, tmp_path: Path) -> None:
    with desk(tmp_path, keks=lambda state: [kek_of(chip.kek, state)]) as at:
        at.store_secret()
        at.attest()
        assert at.attester.open(at.resource().json()) == SECRET
        assert not (at.service.settings.state / "kek").exists()
    with desk(tmp_path, at.attester, keks=lambda state: [kek_of(chip.kek, state)]) as again:
        again.attest()
        assert again.attester.open(again.resource().json()) == SECRET
    with (
        tpm() as other,
        pytest.raises(SecretUnreadable, match=r"under tpm [0-9a-f]+; at hand is tpm"),
        desk(tmp_path, keks=lambda state: [kek_of(other.kek, state)]),
    ):
        pass
