"""Intel's and AMD's real collateral: imported, served as the vendors serve it, fetched, kept, and signed by them."""

import csv
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.samples.conftest import EVIDENCE
from tests.services.command import collateral
from tests.services.vendors import Answer, VendorService

from cloister._x509 import Certificate, Crl
from cloister.cli._collateral_fetch import unless_it_came_along
from cloister.cli._collateral_state import standings
from cloister.endorse import cache
from cloister.endorse.bundle import members_of
from cloister.endorse.fetch import Fetcher
from cloister.endorse.importing import import_files
from cloister.endorse.intel import IntelCollateral
from cloister.endorse.kds import fetch_amd
from cloister.endorse.needs import AmdRequest, IntelRequest, needs
from cloister.endorse.pcs import fetch_intel
from cloister.endorse.piece import Piece
from cloister.errors import ParseError, UsageError
from cloister.evidence import sgx, snp, tdx
from cloister.evidence.snp import Product
from cloister.model import Tee

BUNDLES = sorted((EVIDENCE / "collateral-intel").glob("?[gd]x-*.json"))
AMD = EVIDENCE / "collateral-amd"
CONTAINERS = [
    EVIDENCE / "intel-sgx" / "openenclave-evidence-container" / "endorsements",
    *sorted((EVIDENCE / "intel-tdx" / "openenclave-endorsement-containers").glob("*endorsement*.bin")),
]
REPORTS = sorted((EVIDENCE / "amd-sev-snp").glob("*/vcek.der"))


def index(folder: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((EVIDENCE / folder / "index.json").read_text())
    return found


def stamp(time: datetime | None) -> str:
    return f"{time:%Y-%m-%dT%H:%M:%SZ}"


def one(path: Path) -> Piece:
    (piece,) = import_files([(str(path), path.read_bytes())])
    return piece


def test_the_corpus_is_there() -> None:
    assert (len(BUNDLES), len(CONTAINERS), len(QUOTES), len(REPORTS) > 15) == (36, 3, 45, True)


@pytest.mark.parametrize("path", BUNDLES, ids=lambda path: path.stem)
def test_a_real_bundle_keeps_its_texts_and_windows_and_is_signed_by_intel(path: Path) -> None:
    piece, said, written = one(path), index("collateral-intel")[path.name], json.loads(path.read_text())
    content = piece.content
    assert isinstance(content, IntelCollateral)
    assert content.tcb_info.decode() == written["tcb_info"]
    assert content.qe_identity.decode() == written["qe_identity"]
    windows = {window.part: window for window in piece.windows}
    assert stamp(windows["TCB info"].start) == said["tcb_info_issue_date"]
    assert stamp(windows["TCB info"].end) == said["tcb_info_next_update"]
    assert stamp(windows["QE identity"].end) == said["qe_identity_next_update"]
    assert piece.stem.startswith(f"intel-{said['kind']}-{said['fmspc'].lower()}-{said['pck_crl_ca']}-")
    assert Piece.parse(piece.serialize()).payload == piece.payload
    (standing,) = standings([piece], datetime.now(UTC))
    assert (standing.anchor, standing.doubt) == ("Intel SGX Root CA", "")


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("collateral") / "cache"
    files = [*BUNDLES, *AMD.glob("*.der"), *AMD.glob("*.crl"), *CONTAINERS]
    found = import_files((str(path), path.read_bytes()) for path in files)
    cache.store(directory, found, now=datetime.now(UTC), report=pytest.fail)
    return directory


def test_all_of_it_lives_in_one_cache(everything: Path) -> None:
    loaded = cache.load(everything, report=pytest.fail)
    assert (len(loaded.certificates), len(loaded.crls)) == (10, 2)
    assert len(loaded.intel) >= 36
    assert len({one.tcb.issued for one in loaded.intel if one.tcb.fmspc.hex() == "00606a000000"}) == 6


def test_every_real_piece_is_under_a_vendor_s_root(everything: Path) -> None:
    found = standings(cache.pieces(everything, report=pytest.fail), datetime.now(UTC))
    assert not [(one.piece.name, one.doubt) for one in found if not one.anchor]
    assert {one.anchor for one in found} == {"Intel SGX Root CA", "ARK-Milan", "ARK-Genoa", "ARK-Turin"}


def test_amd_s_windows_are_as_the_index_says(everything: Path) -> None:
    by_source = {Path(piece.source).name: piece for piece in cache.pieces(everything, report=pytest.fail)}
    for name, said in index("collateral-amd").items():
        window = by_source[name].window
        start, end = said["valid"] if "valid" in said else (said["this_update"], said["next_update"])
        assert (str(window.start), str(window.end)) == (start, end)


@pytest.mark.parametrize("path", CONTAINERS, ids=lambda path: path.name)
def test_open_enclave_s_containers_are_opened(path: Path) -> None:
    piece = one(path)
    (standing,) = standings([piece], datetime.now(UTC))
    assert standing.anchor == "Intel SGX Root CA"
    content = piece.content
    assert isinstance(content, IntelCollateral)
    assert content.tcb.tee is (Tee.SGX if "sgx" in str(path.parent) else Tee.TDX)


@pytest.mark.parametrize("path", CONTAINERS, ids=lambda path: path.name)
def test_a_container_with_one_wrong_size_is_refused(path: Path) -> None:
    data = path.read_bytes()
    head = data.index(b"\x01\0\0\0\x02\0\0\0") if data.startswith(b"#") else 0
    for at in range(head + 8, head + 8 + 40, 4):
        damaged = data[:at] + bytes([data[at] ^ 0x40]) + data[at + 1 :]
        pointer = not data.startswith(b"#") and (at - 8) % 16 < 8
        if pointer or (not data.startswith(b"#") and (at - 8) % 16 == 12):
            continue  # addresses in the process that wrote it, and padding: neither is read
        with pytest.raises((ParseError, UsageError)):
            import_files([("damaged", damaged)])


def test_trustee_s_evidence_gives_its_certificate() -> None:
    piece = one(EVIDENCE / "amd-sev-snp" / "format-trustee-coco-evidence" / "evidence.json")
    assert isinstance(piece.content, Certificate)
    assert piece.content.name == "SEV-VCEK"


@pytest.mark.parametrize("pccs", [False, True], ids=["Intel's service", "a caching service"])
@pytest.mark.parametrize("path", BUNDLES, ids=lambda path: path.stem)
def test_a_real_bundle_survives_being_served(path: Path, *, pccs: bool) -> None:
    members, said = members_of(json.loads(path.read_text())), index("collateral-intel")[path.name]
    request = IntelRequest(tee=Tee(said["kind"]), fmspc=said["fmspc"].lower(), ca=said["pck_crl_ca"])
    with VendorService(pccs=pccs) as service:
        service.publish_bundle(members)
        piece = fetch_intel(Fetcher(), request, url=service.url)
    assert piece.payload == one(path).payload


def rows() -> dict[str, set[str]]:
    """The bundles that fit each quote."""
    found: dict[str, set[str]] = {}
    with (EVIDENCE / "dcap-verdicts.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            found.setdefault(row["quote_dir"], set()).add(row["collateral_file"])
    return found


QUOTES = list(rows()) if EVIDENCE.is_dir() else []


@pytest.mark.parametrize("name", QUOTES)
def test_a_quote_needs_the_collateral_that_its_verdicts_were_made_with(name: str) -> None:
    data = (EVIDENCE / name / "quote.bin").read_bytes()
    (need,) = needs(sgx.parse(data) if name.startswith("intel-sgx") else tdx.parse(data))
    assert isinstance(need, IntelRequest)
    for file in rows()[name]:
        said = index("collateral-intel")[file]
        assert (need.tee, need.fmspc, need.ca) == (said["kind"], said["fmspc"].lower(), said["pck_crl_ca"])


@pytest.mark.parametrize("path", REPORTS, ids=lambda path: path.parent.name)
def test_the_chip_of_a_real_report_is_asked_for_at_its_tcb(path: Path) -> None:
    data, vcek = (path.parent / "report.bin").read_bytes(), Certificate.parse(path.read_bytes())
    (need,) = needs(snp.parse(data))
    assert isinstance(need, AmdRequest)
    chain = [Certificate.parse((AMD / f"{name}-milan.der").read_bytes()) for name in ("ask", "ark")]
    crl = Crl.parse((AMD / "crl-ark-milan-2022-05-09.crl").read_bytes())
    with VendorService() as service:
        for product in Product:
            service.publish_product(product, chain, crl)

        def every_chip(path: str) -> Answer:
            return Answer(body=vcek.encoded) if "SPL=" in path else service.answers[path]

        service.answer = every_chip  # type: ignore[method-assign]
        pieces = list(fetch_amd(Fetcher(), need, url=service.url))
    if need.chip_id:
        assert pieces[0].content == vcek
        assert service.asked[0].startswith("/vcek/v1/")
        assert "blSPL=" in service.asked[0]
    else:  # the host masks its chip's identifier: only issuers can be fetched
        assert not any("SPL=" in path for path in service.asked)


def test_a_certificate_that_stands_beside_the_report_is_not_asked_for() -> None:
    folder = EVIDENCE / "amd-sev-snp" / "trustee-evidence-genoa"
    report, vcek = (folder / "report.bin").read_bytes(), Certificate.parse((folder / "vcek.der").read_bytes())
    (need,) = needs(snp.parse(report))
    assert isinstance(need, AmdRequest)
    assert need.chip_id
    assert unless_it_came_along(need, [vcek]) == AmdRequest(products=(Product.GENOA,))
    other = Certificate.parse((folder.parent / "virtee-report-milan" / "vcek.der").read_bytes())
    issuers = [Certificate.parse(path.read_bytes()) for path in AMD.glob("*.der")]
    assert unless_it_came_along(need, [other, *issuers]) == need


def test_one_command_for_a_real_quote(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = "intel-sgx/automata-dcaprs-lib-v3"
    file = max(rows()[name])
    with VendorService() as service:
        service.publish_bundle(members_of(json.loads((EVIDENCE / "collateral-intel" / file).read_text())))
        words = ["fetch", EVIDENCE / name / "quote.bin", "--url", service.url, "--cache", tmp_path / "cache"]
        ran = collateral(capsys, *words)
    assert ran.code == 0
    assert "signed  yes, under Intel SGX Root CA" in ran.err
    assert "EXPIRED" in ran.err
