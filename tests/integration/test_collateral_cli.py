"""`cloister collateral` from end to end: what a quote needs is fetched, listed, and verifies that quote."""

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from tests.forge.intel import FMSPC, IntelForge
from tests.forge.x509 import NOW, Authority, revocation_list
from tests.services.command import collateral
from tests.services.vendors import Answer, VendorService, members_of_collateral

from cloister.endorse import cache
from cloister.evidence import sgx as sgx_evidence
from cloister.evidence import tdx as tdx_evidence
from cloister.model import Tee, Unchecked
from cloister.verification import sgx, tdx

UNASKED = Unchecked("not asked")


@pytest.fixture(scope="module")
def forge() -> IntelForge:
    return IntelForge()


@pytest.fixture
def service(forge: IntelForge) -> Iterator[VendorService]:
    with VendorService() as made:
        for tee in (Tee.SGX, Tee.TDX):
            made.publish_bundle(members_of_collateral(forge.collateral(tee)))
        ark = Authority("ARK-Forged")
        made.publish_product("Genoa", [Authority("SEV-Forged", ark).certificate, ark.certificate], revocation_list(ark))
        yield made


@pytest.fixture
def words(service: VendorService, tmp_path: Path) -> list[str]:
    return ["--url", service.url, "--cache", str(tmp_path / "cache")]


def test_what_was_fetched_for_a_quote_verifies_it(
    forge: IntelForge, words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "sgx.bin").write_bytes(forge.sgx_quote())
    (tmp_path / "tdx.bin").write_bytes(forge.tdx_quote())
    ran = collateral(capsys, "fetch", tmp_path / "sgx.bin", tmp_path / "tdx.bin", *words)
    assert (ran.code, ran.out) == (0, "")
    endorsements = cache.load(tmp_path / "cache")
    for module, evidence in (
        (sgx, sgx_evidence.parse(forge.sgx_quote())),
        (tdx, tdx_evidence.parse(forge.tdx_quote())),
    ):
        verified = module.verify(evidence, anchors=forge.anchors, endorsements=endorsements, at=NOW, challenge=UNASKED)
        assert verified.tcb.status == "UpToDate"


def test_progress_names_every_url_and_every_piece(
    words: list[str], service: VendorService, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    service.fail("/vcek/v1/Genoa/crl", Answer(status=503, headers={"Retry-After": "0"}))
    ran = collateral(capsys, "fetch", "--amd-product", "Genoa", *words)
    assert ran.code == 0
    lines = ran.err.splitlines()
    assert lines[:4] == [
        "AMD Genoa (VCEK):",
        f"  {service.url}/vcek/v1/Genoa/cert_chain",
        f"  {service.url}/vcek/v1/Genoa/crl",
        "  answered 503; again in 0 s",
    ]
    assert lines[-1] == f"3 pieces kept in {tmp_path / 'cache'}"
    assert ran.err.count("  holds   ") == ran.err.count("  signed  ") == ran.err.count("  from    ") == 3


def test_both_certificate_authorities_are_asked_for_a_bare_fmspc(
    forge: IntelForge, words: list[str], service: VendorService, capsys: pytest.CaptureFixture[str]
) -> None:
    other = revocation_list(Authority("Forged SGX PCK Processor CA", forge.root))
    crls = (revocation_list(forge.root), other)
    service.publish_bundle(members_of_collateral(forge.collateral(crls=crls)))
    ran = collateral(capsys, "fetch", "--intel-fmspc", FMSPC.hex(), *words)
    assert ran.code == 0
    assert len(service.asked) == len(set(service.asked)) == 5


def test_a_failure_does_not_keep_the_rest_from_coming(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ran = collateral(capsys, "fetch", "--amd-product", "Milan", "--amd-product", "Genoa", *words)
    assert ran.code == 6
    assert "/vcek/v1/Milan/cert_chain: not found" in ran.err.splitlines()[-1]
    assert len(cache.pieces(tmp_path / "cache", report=pytest.fail)) == 3


def test_certificates_are_fetched_once_and_lists_every_time(
    words: list[str], service: VendorService, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(3):
        assert collateral(capsys, "fetch", "--amd-product", "Genoa", *words).code == 0
    assert service.asked == ["/vcek/v1/Genoa/cert_chain"] + ["/vcek/v1/Genoa/crl"] * 3


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "nothing to fetch"),
        (["--intel-fmspc", "12"], "'12' is not an FMSPC; it has 12 hexadecimal digits"),
        (["--tee", "sgx"], "--tee belongs to --intel-fmspc"),
        (["--amd-product", "Naples"], "invalid choice"),
        (["--timeout", "0", "--amd-product", "Milan"], "is not between 0 and"),
        (["--timeout", "nan", "--amd-product", "Milan"], "is not between 0 and"),
        (["missing.bin"], "cannot read missing.bin: No such file or directory"),
        (["--url", "http://example.com", "--amd-product", "Milan"], "is not https; plain http is for this machine"),
        (["--authorities", "missing.pem", "--amd-product", "Milan"], "cannot read certificate authorities"),
    ],
)
def test_a_wrong_command_line_is_refused_before_anything_is_asked(
    arguments: list[str], reason: str, service: VendorService, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = [] if "--url" in arguments else ["--url", service.url]
    ran = collateral(capsys, "fetch", *arguments, *where, "--cache", tmp_path / "cache")
    assert ran.code == 2
    assert reason in ran.err
    assert not service.asked
    assert not (tmp_path / "cache").exists()


def test_evidence_that_is_none_is_refused_by_its_name(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "noise.bin").write_bytes(b"\xfe" * 100)
    ran = collateral(capsys, "fetch", tmp_path / "noise.bin", *words)
    assert ran.code == 2
    assert "noise.bin" in ran.err


def test_exit_code_6_names_the_url_and_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with VendorService() as gone:
        url = gone.url
    ran = collateral(capsys, "fetch", "--amd-product", "Milan", "--url", url, "--cache", tmp_path / "cache")
    assert ran.code == 6
    last = ran.err.splitlines()[-1]
    assert last.startswith(f"cloister collateral: {url}/vcek/v1/Milan/cert_chain: cannot be reached: ")
    assert "https_proxy" in last
    assert "cloister collateral import" in last


# ---------------------------------------------------------------- import and show


@pytest.fixture
def filled(forge: IntelForge, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    (tmp_path / "bundle.json").write_text(json.dumps(members_of_collateral(forge.collateral())))
    (tmp_path / "root.der").write_bytes(forge.root.certificate.encoded)
    ran = collateral(capsys, "import", tmp_path / "bundle.json", tmp_path / "root.der", "--cache", tmp_path / "cache")
    assert (ran.code, ran.out) == (0, "")
    assert ran.err.splitlines()[-1] == f"2 pieces, 2 of them new, in {tmp_path / 'cache'}"
    return tmp_path / "cache"


def test_what_was_imported_verifies_as_well(forge: IntelForge, filled: Path) -> None:
    quote = sgx_evidence.parse(forge.sgx_quote())
    verified = sgx.verify(quote, anchors=forge.anchors, endorsements=cache.load(filled), at=NOW, challenge=UNASKED)
    assert verified.tcb.status == "UpToDate"


def test_a_second_import_has_nothing_new(filled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ran = collateral(capsys, "import", tmp_path / "root.der", *filled.iterdir(), "--cache", filled)
    assert ran.err.splitlines()[-1] == f"2 pieces, 0 of them new, in {filled}"


@pytest.mark.parametrize(
    ("days", "left", "outside"),
    [
        (0, "15 days left (TCB info ends first)", 0),
        (14.5, "12 hours left (TCB info ends first)", 0),
        (16, "EXPIRED 24 hours ago (TCB info)", 1),
        (-16, "not yet: begins in 24 hours", 1),
        (-400, "not yet: begins in ", 2),
    ],
)
def test_the_list_says_how_long_it_still_holds(
    days: float, left: str, outside: int, filled: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    at = NOW + timedelta(days=days)
    ran = collateral(capsys, "show", "--cache", filled, "--at", at.isoformat())
    assert (ran.code, ran.out) == (0, "")
    assert left in ran.err
    assert f"2 pieces in {filled}; {outside} do not hold at {at:%Y-%m-%d %H:%M} UTC" in ran.err


def test_the_list_names_the_file_it_came_from(filled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert f"  from    {tmp_path / 'bundle.json'}, 2" in collateral(capsys, "show", "--cache", filled).err


def test_the_list_as_json(filled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ran = collateral(capsys, "show", "--json", "--at", NOW.isoformat(), "--cache", filled)
    document = json.loads(ran.out)
    assert (ran.code, ran.err) == (0, "")
    assert document["at"] == NOW.isoformat()
    certificate, bundle = document["pieces"]
    assert (certificate["kind"], bundle["kind"]) == ("certificate", "intel")
    assert bundle["holds"] is True
    assert [window["part"] for window in bundle["windows"]][:2] == ["TCB info", "QE identity"]
    assert bundle["anchor"] is None
    assert "not a trust anchor" in bundle["doubt"]


def test_an_empty_cache_is_no_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ran = collateral(capsys, "show", "--cache", tmp_path / "none")
    assert ran.code == 0
    assert ran.err.startswith(f"0 pieces in {tmp_path / 'none'}")


def test_damage_is_told_once_beside_the_list(filled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    damaged = next(filled.glob("*.json"))
    damaged.write_bytes(damaged.read_bytes()[:-100])
    ran = collateral(capsys, "show", "--json", "--cache", filled)
    assert len(json.loads(ran.out)["pieces"]) == 1
    assert ran.err.count(f"{damaged} is ignored") == 1


@pytest.mark.parametrize("time", ["yesterday", "", "2026-13-01", "1e9", "9" * 40])
def test_a_time_that_is_none_is_refused(time: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ran = collateral(capsys, "show", "--cache", tmp_path, "--at", time)
    assert ran.code == 2
    assert "--at takes a time like" in ran.err
