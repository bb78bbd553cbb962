"""`cloister run --broker` and its options: what goes together, and what the carrier is told."""

import base64
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cloister import cli
from cloister.attest.starting import Plan, start_carrier
from cloister.cli import _run_attested
from cloister.errors import UsageError
from cloister.evidence.software import libraries_digest
from cloister.launch.command import RuntimeOptions
from cloister.launch.runtime_file import runtime_path
from cloister.measure.software import Manifest, SoftwareMeasurement, write_measurement

DIGEST = bytes([7]) * 32
BROKER = ["--broker", "https://broker:8443", "--session", "team/shop"]


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    file = tmp_path / "app.toml"
    measured = SoftwareMeasurement(program="/bin/true", executable=DIGEST, manifest=Manifest({"/lib/x": DIGEST}))
    file.write_text(write_measurement(measured))
    return file


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--session", "x"], "--session is for programs that get secrets"),
        (["--service", "x"], "--service is for"),
        (["--ca", "x"], "--ca is for"),
        (["--attest", "background"], "--attest is for"),
        (["--verifier", "x"], "--verifier is for"),
        (["--host-key", "x"], "--host-key is for"),
        (["--flow", "x"], "--flow is for"),
        (["--broker", "https://x"], "--broker needs --session NAME"),
        ([*BROKER, "--start-fd", "0"], "--start-fd and --broker exclude each other"),
        ([*BROKER, "--unsafe-no-guard"], "--unsafe-no-guard excludes --broker"),
        ([*BROKER, "--attest", "passport"], "go together"),
        ([*BROKER, "--verifier", "https://x"], "go together"),
        ([*BROKER, "--attest", "background", "--verifier", "https://x"], "go together"),
        ([*BROKER, "--tee", "sgx"], "are for the software enclave"),
        (["--manifest", "x", "--tee", "sgx"], "are for the software enclave"),
        (["--manifest", "/nonexistent"], "cannot read /nonexistent"),
        ([*BROKER, "--manifest", "/nonexistent"], "cannot read /nonexistent"),
        ([*BROKER[:1], "broker", *BROKER[2:], "--manifest", "MANIFEST"], "give https://HOST:PORT"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_together_is_refused(
    words: list[str], said: str, manifest: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "execv", lambda *_: pytest.fail("something was run"))
    given = [str(manifest) if word == "MANIFEST" else word for word in words]
    assert cli.main(["run", "--quiet", *given, "--", "/bin/true"]) == 2
    assert said in capsys.readouterr().err


def test_a_plan_that_cannot_be_made_leaves_no_carrier(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The carrier was started meanwhile: it finds no plan, ends, and leaves no directory."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    before = len(os.listdir("/proc/self/fd"))

    def fail() -> Plan:
        raise UsageError("no such program")

    with pytest.raises(UsageError, match="no such program"):
        start_carrier(fail)
    assert len(os.listdir("/proc/self/fd")) == before
    assert not list(tmp_path.iterdir())


def planned(monkeypatch: pytest.MonkeyPatch, *words: str) -> tuple[Plan, RuntimeOptions]:
    """What the carrier would be told by this command line."""
    plans: list[Any] = []

    def note(make: Callable[[], Plan]) -> str:
        plans.append(make())
        return "/run/attester"

    monkeypatch.setattr(_run_attested, "start_carrier", note)
    options = RuntimeOptions()
    _run_attested.attested(cli.command_parser("run").parse_args([*words, "/bin/true"]), "/bin/true", options)
    return plans[0], options


def test_the_carrier_is_told_everything(manifest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(manifest.parent)
    more = ["--service", "web", "--ca", "ca.pem", "--attest", "passport", "--verifier", "https://verifier"]
    plan, options = planned(
        monkeypatch, *BROKER, *more, "--manifest", manifest.name, "--host-key", "key.pem", "--flow", "flow.jsonl"
    )
    here = os.fspath(manifest.parent)
    content = Manifest({"/lib/x": DIGEST}).serialize()
    assert plan == Plan(
        starter=os.getpid(), runtime=runtime_path(), manifest=base64.b64encode(content).decode(),
        libraries=libraries_digest({"/lib/x": DIGEST}).hex(), broker="https://broker:8443", session="team/shop",
        service="web", ca=f"{here}/ca.pem", verifier="https://verifier", host_key=f"{here}/key.pem",
        flow=f"{here}/flow.jsonl",
    )  # fmt: skip
    assert options.words() == ["--attester=/run/attester"]


def test_without_a_manifest_the_loader_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    plan, _ = planned(monkeypatch, *BROKER)
    listed = Manifest.parse(base64.b64decode(plan.manifest))
    assert listed.digest.hex() == plan.libraries
    assert any("libc.so" in path for path in listed.files)
    assert (plan.service, plan.ca, plan.verifier, plan.flow) == ("-", "", "", "")


def test_a_manifest_of_another_program_is_refused(manifest: Path) -> None:
    with pytest.raises(UsageError, match="is the manifest of /bin/true, not of /bin/false"):
        _run_attested.measured(str(manifest), "/bin/false")
    with pytest.raises(UsageError, match="is the manifest of /bin/true, not of"):
        _run_attested.measured(str(manifest), "bin/../true")
