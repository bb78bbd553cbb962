"""The cache on disk: whole files or none, generations side by side, damage noticed, many processes at once."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from tests.forge.intel import IntelForge
from tests.forge.x509 import NOW, revocation_list
from tests.services.vendors import members_of_collateral

from cloister.endorse import cache
from cloister.endorse.piece import CERTIFICATE, CRL, Piece
from cloister.errors import UsageError
from cloister.evidence import sgx as sgx_evidence
from cloister.model import Tee, Unchecked
from cloister.verification import sgx

ROOT = Path(__file__).parents[2]
FORGE = IntelForge()
BUNDLE = Piece.of_members(members_of_collateral(FORGE.collateral()))
CERTIFICATE_PIECE = Piece.of_der(FORGE.pck.encoded, CERTIFICATE)
LIST = Piece.of_der(revocation_list(FORGE.root).encoded, CRL)
ALL = [BUNDLE, CERTIFICATE_PIECE, LIST]


def refuse(message: str) -> None:
    pytest.fail(f"reported: {message}")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    made = tmp_path / "deep" / "cache"
    cache.store(made, [one.at("https://example.com/x", None) for one in ALL], now=NOW, report=refuse)
    return made


def test_everything_comes_back(directory: Path) -> None:
    found = cache.load(directory, report=refuse)
    assert found.certificates == (FORGE.pck,)
    assert [one.encoded for one in found.crls] == [LIST.payload]
    assert [one.tcb_info for one in found.intel] == [FORGE.collateral().tcb_info]
    assert found.intel[0].source == "https://example.com/x"
    assert all(source.endswith(": https://example.com/x") for source in found.sources)
    assert [one.obtained for one in cache.pieces(directory, report=refuse)] == [NOW] * 3


def test_evidence_is_verified_with_what_comes_back(directory: Path) -> None:
    quote = sgx_evidence.parse(FORGE.sgx_quote())
    verified = sgx.verify(
        quote, anchors=FORGE.anchors, endorsements=cache.load(directory), at=NOW, challenge=Unchecked("not asked")
    )
    assert verified.tcb.status == "UpToDate"


def test_a_second_load_gives_the_same_objects(directory: Path) -> None:
    """So that a signature that was checked once is not checked again."""
    first, second = cache.load(directory), cache.load(directory)
    assert first.intel[0] is second.intel[0]


def test_a_directory_that_does_not_exist_is_empty(tmp_path: Path) -> None:
    assert cache.load(tmp_path / "none", report=refuse).intel == ()


def test_a_second_time_nothing_is_written_and_the_first_origin_stays(directory: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in directory.iterdir()}
    assert cache.store(directory, [one.at("elsewhere", None) for one in ALL], now=NOW, report=refuse) == []
    assert {path: path.stat().st_mtime_ns for path in directory.iterdir()} == before


def test_generations_stand_side_by_side(directory: Path) -> None:
    later = FORGE.collateral(tcb_info=FORGE.tcb_info(tcbEvaluationDataNumber=18))
    cache.store(directory, [Piece.of_members(members_of_collateral(later))], now=NOW, report=refuse)
    assert [one.tcb.evaluation for one in cache.load(directory).intel] == [17, 18]


def test_files_are_readable_by_all_and_writable_by_their_owner(directory: Path) -> None:
    assert {stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()} == {0o644}
    assert not stat.S_IMODE(directory.stat().st_mode) & 0o022


def test_the_default_is_in_the_user_s_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache.default_directory() == tmp_path / "cloister" / "collateral"
    monkeypatch.setenv("HOME", "/home/somebody")
    for unset in ("", "relative/is/invalid"):  # XDG Base Directory Specification
        monkeypatch.setenv("XDG_CACHE_HOME", unset)
        assert cache.default_directory() == Path("/home/somebody/.cache/cloister/collateral")


@pytest.mark.parametrize("piece", ALL, ids=["bundle", "certificate", "revocation list"])
@pytest.mark.parametrize("damage", ["cut short", "emptied", "a bit", "renamed"])
def test_a_damaged_file_is_reported_ignored_and_mended(directory: Path, piece: Piece, damage: str) -> None:
    path = directory / piece.name
    data = bytearray(path.read_bytes())
    if damage == "renamed":
        path = path.rename(directory / piece.name.replace(piece.digest, "0" * 16))
    elif damage == "a bit":
        at = data.rindex(b"a", 0, len(data) * 3 // 4)
        data[at] ^= 1
        path.write_bytes(data)
    else:
        path.write_bytes(data[: len(data) // 2 if damage == "cut short" else 0])
    reports: list[str] = []
    assert len(cache.pieces(directory, report=reports.append)) == 2
    assert len(reports) == 1
    assert reports[0].startswith(f"{path} is ignored: ")
    cache.store(directory, [piece], now=NOW, report=reports.append)
    assert len(cache.pieces(directory, report=lambda _: None)) == 3


def test_without_a_listener_damage_is_a_warning(directory: Path) -> None:
    (directory / BUNDLE.name).write_bytes(b"")
    with pytest.warns(UserWarning, match="is ignored"):
        assert cache.load(directory).intel == ()


def test_what_is_no_endorsement_is_reported(directory: Path) -> None:
    for name in ("notes.txt", "vcek.der", "other.pem"):
        (directory / name).write_bytes(b"x")
    (directory / "folder.pem").mkdir()
    (directory / ".partial-x").write_bytes(b"half written by another process")
    reports: list[str] = []
    assert len(cache.pieces(directory, report=reports.append)) == 3
    assert [Path(one.split(" is ignored")[0]).name for one in reports] == [
        "folder.pem", "notes.txt", "other.pem", "vcek.der"
    ]  # fmt: skip


@pytest.mark.needs_program("openssl")
def test_other_tools_read_the_files(directory: Path) -> None:
    done = subprocess.run(
        ["openssl", "x509", "-noout", "-subject", "-in", directory / CERTIFICATE_PIECE.name],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "Forged Intel SGX PCK Certificate" in done.stdout
    assert json.loads((directory / BUNDLE.name).read_text())["tcb_info"] == FORGE.collateral().tcb_info.decode()


WRITER = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from cloister.endorse import cache
from cloister.endorse.importing import import_files
found = import_files((name, Path(name).read_bytes()) for name in sys.argv[2:])
for _ in range(40):
    cache.store(Path(sys.argv[1]), found, now=datetime.now(UTC), report=sys.exit)
    cache.pieces(Path(sys.argv[1]), report=sys.exit)
    for piece in found[::2]:
        (Path(sys.argv[1]) / piece.name).unlink(missing_ok=True)
    cache.store(Path(sys.argv[1]), found, now=datetime.now(UTC), report=sys.exit)
"""


def test_many_processes_write_at_once(directory: Path, tmp_path: Path) -> None:
    """Each sees whole files only: a half-written one would be reported, and end its process."""
    together = tmp_path / "together"
    files = [str(path) for path in directory.iterdir()]
    command = [sys.executable, "-c", WRITER, str(together), *files]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    running = [subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    ended = [(one.communicate(timeout=60)[1], one.returncode) for one in running]
    assert ended == [("", 0)] * 4
    assert len(cache.pieces(together, report=refuse)) == 3
    assert not [path for path in together.iterdir() if path.name.startswith(".")]


def test_a_failed_write_leaves_nothing(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    later = Piece.of_members(members_of_collateral(FORGE.collateral(Tee.TDX)))
    with pytest.raises(UsageError, match=r"cannot write to the cache .*: No space left on device"):
        cache.store(directory, [later], now=NOW, report=refuse)
    assert len(list(directory.iterdir())) == 3


def test_a_file_in_place_of_the_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"is not a directory|cannot"):
        cache.load(tmp_path / "file")
    with pytest.raises(UsageError, match="cannot write to the cache"):
        cache.store(tmp_path / "file", ALL, now=NOW, report=refuse)
