"""Who writes to the cache, or hands over files for it, cannot make verification believe, hang, or write elsewhere."""

import os
import time
from pathlib import Path

import pytest
from tests.forge.intel import FMSPC, IntelForge
from tests.forge.x509 import NOW, revocation_list
from tests.services.command import collateral
from tests.services.vendors import members_of_collateral

from cloister.endorse import cache
from cloister.endorse.importing import import_files
from cloister.endorse.piece import CERTIFICATE, CRL, Piece
from cloister.errors import EndorsementUnavailable, ParseError, UsageError
from cloister.evidence import sgx as sgx_evidence
from cloister.model import Unchecked
from cloister.verification import sgx

FORGE = IntelForge()
BUNDLE = Piece.of_members(members_of_collateral(FORGE.collateral()))


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    cache.store(tmp_path / "cache", [BUNDLE], now=NOW, report=pytest.fail)
    return tmp_path / "cache"


def reports_of(directory: Path) -> tuple[int, list[str]]:
    """How many pieces are taken, and what is reported."""
    reports: list[str] = []
    return len(cache.pieces(directory, report=reports.append)), reports


def test_a_directory_that_everybody_may_write_to_is_refused(
    directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory.chmod(0o777)
    with pytest.raises(UsageError, match="every user of this machine may write to the cache"):
        cache.load(directory)
    with pytest.raises(UsageError, match="every user of this machine may write to the cache"):
        cache.store(directory, [BUNDLE], now=NOW, report=pytest.fail)
    assert collateral(capsys, "show", "--cache", directory).code == 2


def test_a_file_that_everybody_may_write_to_is_ignored(directory: Path) -> None:
    (directory / BUNDLE.name).chmod(0o666)
    taken, (report,) = reports_of(directory)
    assert taken == 0
    assert "may be written by every user" in report


def test_links_are_not_followed(directory: Path, tmp_path: Path) -> None:
    path = directory / BUNDLE.name
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    assert reports_of(directory)[0] == 0


def test_a_link_in_the_place_of_a_file_is_replaced_and_not_written_through(directory: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    path = directory / BUNDLE.name
    path.unlink()
    path.symlink_to(victim)
    cache.store(directory, [BUNDLE], now=NOW, report=lambda _: None)
    assert victim.read_text() == "precious"
    assert not path.is_symlink()
    assert reports_of(directory) == (1, [])


@pytest.mark.timeout(20)
@pytest.mark.parametrize("kind", ["a pipe", "a device", "a huge file", "a sparse terabyte"])
def test_odd_files_neither_hang_nor_exhaust(directory: Path, kind: str) -> None:
    path = directory / f"certificate-x-{'0' * 16}.pem"
    if kind == "a pipe":
        os.mkfifo(path)
    elif kind == "a device":
        path.symlink_to("/dev/zero")
    else:
        with path.open("wb") as file:
            file.truncate(1 << (30 if kind == "a huge file" else 40))
    start = time.monotonic()
    taken, reports = reports_of(directory)
    assert (taken, len(reports)) == (1, 1)
    assert time.monotonic() - start < 5


def test_names_with_control_characters_reach_no_terminal(directory: Path) -> None:
    (directory / "x\x1b[2J\n.pem").write_bytes(b"")
    _, (report,) = reports_of(directory)
    assert report.isprintable()


def test_a_forged_bundle_in_the_cache_is_not_believed(directory: Path) -> None:
    """Somebody who may write puts in statements under his own root, newer than the real ones."""
    attacker = IntelForge()
    newer = attacker.collateral(tcb_info=attacker.tcb_info(tcbEvaluationDataNumber=99))
    cache.store(directory, [Piece.of_members(members_of_collateral(newer))], now=NOW, report=pytest.fail)
    quote = sgx_evidence.parse(FORGE.sgx_quote())
    endorsements = cache.load(directory)
    assert len(endorsements.intel) == 2
    verified = sgx.verify(
        quote, anchors=FORGE.anchors, endorsements=endorsements, at=NOW, challenge=Unchecked("not asked")
    )
    assert verified.tcb.status == "UpToDate"
    (directory / BUNDLE.name).unlink()
    with pytest.raises(EndorsementUnavailable, match="was refused"):
        sgx.verify(
            quote, anchors=FORGE.anchors, endorsements=cache.load(directory), at=NOW, challenge=Unchecked("not asked")
        )


def test_a_statement_with_another_signature_is_named_in_the_list(
    directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is kept is not verified, and `show` does not pretend that it was."""
    members = members_of_collateral(FORGE.collateral())
    forged = members | {"tcb_info": members["tcb_info"].replace("UpToDate", "OutOfDate")}
    cache.store(directory, [Piece.of_members(forged)], now=NOW, report=pytest.fail)
    ran = collateral(capsys, "show", "--cache", directory)
    assert ran.err.count("signed  NOT ESTABLISHED") == 2  # the forge's own root is no vendor's either
    assert "signed  yes" not in ran.err


def test_an_import_writes_only_into_the_cache(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Names of files come from certificates, which say what an attacker likes."""
    root = FORGE.root.certificate
    for name in ("../../escape", "/etc/cron.d/x", ".partial-x", "a\0b", "-" * 64, "ä" * 32):
        made = FORGE.pck_certificate(name=name)
        (tmp_path / "in.der").write_bytes(made.encoded)
        ran = collateral(capsys, "import", tmp_path / "in.der", "--cache", tmp_path / "deep" / "cache")
        assert ran.code == 0, name
    assert {path.name for path in tmp_path.iterdir()} == {"in.der", "deep"}
    names = [path.name for path in (tmp_path / "deep" / "cache").iterdir()]
    assert len(names) == 6
    assert all(name.startswith("certificate-") and name.isascii() and len(name) < 120 for name in names)
    assert root.name not in names


def test_an_import_is_all_or_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "good.der").write_bytes(FORGE.root.certificate.encoded)
    (tmp_path / "bad.der").write_bytes(b"\x30\x00")
    ran = collateral(capsys, "import", tmp_path / "good.der", tmp_path / "bad.der", "--cache", tmp_path / "cache")
    assert ran.code == 2
    assert "bad.der" in ran.err
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    "data",
    [
        b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n" * 200_000,
        b"-----BEGIN CERTIFICATE-----\n" * 500_000,
        b"[" * 8_000_000,
        b'{"tcb_info":"' + b"x" * 8_000_000 + b'","qe_identity":"x"}',
        b"[" + b"{}," * 3_000_000 + b"{}]",
        b"0" * 16_000_000,
        b"#\n" * 8_000_000,
        b"\x30\x80" * 4_000_000,
        b'{"cert_chain":[{"data":[' + b"0," * 4_000_000 + b"0]}]}",
        b"\x04\0\0\0\x81\0\0\0" + b"\xff" * 4_000_000,
        bytes(17 << 20),
    ],
    ids=["PEM blocks", "PEM beginnings", "nesting", "a long string", "objects", "digits", "comments", "DER", "numbers",
         "sizes", "more than allowed"],
)  # fmt: skip
@pytest.mark.timeout(30)
def test_a_file_that_is_a_bomb_is_refused_soon(data: bytes) -> None:
    start = time.monotonic()
    with pytest.raises(ParseError):
        import_files([("bomb", data)])
    assert time.monotonic() - start < 10


def test_every_bit_of_an_imported_file_may_be_wrong() -> None:
    """Import gives pieces or ParseError or UsageError, never something else."""
    quoted = BUNDLE.at("x", NOW).serialize()
    originals = [FORGE.pck.encoded, revocation_list(FORGE.root).encoded, quoted]
    for original in originals:
        for at in range(0, len(original), 1 + len(original) // 400):
            for mask in (0x01, 0x80):
                damaged = original[:at] + bytes([original[at] ^ mask]) + original[at + 1 :]
                try:
                    import_files([("damaged", damaged)])
                except (ParseError, UsageError):
                    continue


def test_fmspc_from_the_command_line_cannot_change_the_request(capsys: pytest.CaptureFixture[str]) -> None:
    for text in ("", "0", FMSPC.hex() + "&ca=x", "../../../../x", "00606A00000g", "00606A0000\n0", "\uff10" * 12):
        assert collateral(capsys, "fetch", "--intel-fmspc", text, "--url", "http://127.0.0.1:1").code == 2


def test_a_piece_of_one_kind_is_no_other() -> None:
    with pytest.raises(ParseError):
        Piece.of_der(FORGE.pck.encoded, CRL)
    with pytest.raises(ParseError):
        Piece.of_der(revocation_list(FORGE.root).encoded, CERTIFICATE)
