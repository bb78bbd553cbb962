"""A platform key and a counter in a TPM: swtpm, which is libtpms with the TPM 2.0 reference code."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.forge.sealing import MemoryKey, eavesdropped, header_of, program, software_tpm

from cloister.errors import UsageError
from cloister.seal import Binding, FileCounter, Mismatch, Policy, SealedForAnother, Sealer, Terms
from cloister.seal.tpm import FIRST_INDEX, TpmCounter, TpmPlatformKey

pytest.importorskip(
    "tpm2_pytss", reason="not installed: tpm2-pytss (pip install 'cloister[tpm]')", exc_type=ImportError
)
pytestmark = pytest.mark.needs_program("swtpm", "tpm2_getcap")

BINDING = Binding(Policy.MEASUREMENT, 0)
INDEX = FIRST_INDEX + 0x10


@pytest.fixture
def tpm(tmp_path: Path) -> Iterator[str]:
    with software_tpm(tmp_path / "tpm") as tcti:
        yield tcti


def tool(tcti: str, *words: str) -> str:
    return subprocess.run(["tpm2", *words, "-T", tcti], check=True, capture_output=True, text=True, timeout=30).stdout


def test_the_key_is_the_same_after_a_restart_and_another_in_another_tpm(tmp_path: Path) -> None:
    made = []
    for place in ("first", "first", "second"):
        with software_tpm(tmp_path / place) as tcti, TpmPlatformKey(tcti) as key:
            made.append(bytes(key.derive(b"info", BINDING)))
            assert key.derive(b"other info", BINDING) != made[-1]
    assert made[0] == made[1] != made[2]


def test_data_sealed_by_one_tpm_is_refused_by_another(tmp_path: Path) -> None:
    with software_tpm(tmp_path / "first") as tcti, TpmPlatformKey(tcti) as key:
        sealed = Sealer(key, program()).seal(b"secret")
        assert Sealer(key, program()).unseal(sealed) == b"secret"
        with pytest.raises(SealedForAnother) as told:
            Sealer(key, program(b"another")).unseal(sealed)
        assert told.value.mismatches == (Mismatch.MEASUREMENT,)
    with software_tpm(tmp_path / "second") as tcti, TpmPlatformKey(tcti) as key:
        with pytest.raises(SealedForAnother) as told:
            Sealer(key, program()).unseal(sealed)
        assert told.value.mismatches == (Mismatch.PLATFORM,)


def test_a_cleared_tpm_has_another_key(tpm: str) -> None:
    with TpmPlatformKey(tpm) as key:
        before = key.derive(b"info", BINDING)
    tool(tpm, "clear")
    with TpmPlatformKey(tpm) as key:
        assert key.derive(b"info", BINDING) != before


def test_it_is_hmac_by_the_tpm_so_that_hkdf_s_definition_holds(tpm: str, tmp_path: Path) -> None:
    """The tool of tpm2-tools makes the same primary key and the same HMAC."""
    with TpmPlatformKey(tpm) as key:
        made = key.derive(b"info", BINDING)
    (tmp_path / "unique").write_bytes(
        len(b"cloister platform key 1").to_bytes(2, "little") + b"cloister platform key 1"
    )
    context, data, out = (str(tmp_path / name) for name in ("context", "data", "out"))
    Path(data).write_bytes(b"info\1")
    attributes = "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda|sign"
    tool(tpm, "createprimary", "-C", "o", "-G", "hmac:sha256", "-g", "sha256", "-a", attributes, "-c", context,
         "-u", str(tmp_path / "unique"))  # fmt: skip
    tool(tpm, "hmac", "-c", context, "-g", "sha256", "-o", out, data)
    assert Path(out).read_bytes() == made


def test_the_key_cannot_leave_the_tpm(tpm: str) -> None:
    """TPM2_Duplicate is refused for it: fixedTPM, fixedParent."""
    with TpmPlatformKey(tpm) as key, pytest.raises(key._tss.TSS2_Exception):
        key._tpm.duplicate(key._key, key._tss.ESYS_TR.NULL, None, key._tss.TPMT_SYM_DEF_OBJECT(
            algorithm=key._tss.TPM2_ALG.NULL))  # fmt: skip


def test_answers_are_encrypted_on_the_bus(tpm: str) -> None:
    """Who listens does not see the derived key; without the session, he does."""
    with eavesdropped(tpm) as (tapped, heard), TpmPlatformKey(tapped) as key:
        made = bytes(key.derive(b"info", BINDING))
        assert b"info" not in heard
        assert made not in heard
        key._tpm.hmac(key._key, b"info\1", key._tss.TPM2_ALG.SHA256)
        assert b"info" in heard
        assert made in heard


def test_nothing_is_left_in_the_tpm(tpm: str) -> None:
    """A TPM has three places for objects: twenty keys one after the other do not fill them."""
    for _ in range(20):
        with TpmPlatformKey(tpm) as key:
            key.derive(b"info", BINDING)
    assert tool(tpm, "getcap", "handles-transient") == tool(tpm, "getcap", "handles-loaded-session") == ""


def test_a_tpm_that_is_not_there_is_an_error_that_names_it() -> None:
    with pytest.raises(UsageError, match=r"swtpm:host=127\.0\.0\.1,port=1"):
        TpmPlatformKey("swtpm:host=127.0.0.1,port=1")


def test_the_longest_header_fits(tpm: str) -> None:
    with TpmPlatformKey(tpm) as key:
        sealer = Sealer(key, program())
        assert sealer.unseal(sealer.seal(b"x", Terms(label="l" * 255)), label="l" * 255) == b"x"
        with pytest.raises(ValueError, match="1024"):
            key.derive(bytes(1024), BINDING)


# ---------------------------------------------------------------- the counter


def test_a_counter_in_the_tpm_refuses_old_data(tpm: str, tmp_path: Path) -> None:
    counter, sealer = TpmCounter(INDEX, tpm), Sealer(MemoryKey(), program())
    old = sealer.seal(b"old", Terms(counter=counter))
    sealer.stored(header_of(old), counter)
    assert sealer.unseal(old, counter=TpmCounter(INDEX, tpm)) == b"old"
    new = sealer.seal(b"new", Terms(counter=counter))
    sealer.stored(header_of(new), counter)
    with pytest.raises(SealedForAnother, match="old"):
        sealer.unseal(old, counter=counter)
    with pytest.raises(SealedForAnother):
        sealer.unseal(new, counter=FileCounter(tmp_path / "counter"))


def test_making_the_counter_again_does_not_set_it_back(tpm: str) -> None:
    """The administrator removes the NV index: the TPM begins above where it was."""
    counter = TpmCounter(INDEX, tpm)
    for _ in range(3):
        counter.advance_to(counter.read() + 1)
    before = counter.read()
    tool(tpm, "nvundefine", hex(INDEX))
    assert counter.read() > before


def test_an_index_that_is_no_counter_is_refused(tpm: str) -> None:
    """An ordinary index could be written with any number."""
    tool(tpm, "nvdefine", hex(INDEX), "-s", "8", "-a", "authread|authwrite")
    with pytest.raises(UsageError, match="something else"):
        TpmCounter(INDEX, tpm)
    with pytest.raises(UsageError, match="not between"):
        TpmCounter(0x01C00002, tpm)
    assert re.search(f"0x{INDEX:x}", tool(tpm, "getcap", "handles-nv-index"), re.IGNORECASE)


def test_a_step_of_two_is_refused(tpm: str) -> None:
    counter = TpmCounter(INDEX, tpm)
    stands = counter.read()
    for value in (stands - 1, stands + 2):
        with pytest.raises(UsageError, match="cannot go"):
            counter.advance_to(value)
    counter.advance_to(stands)
    assert counter.read() == stands
