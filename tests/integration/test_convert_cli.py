"""`cloister convert` and `cloister manifest check`, as a user runs them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tests.forge.frameworks import EGO, GRAMINE, SCONE

from cloister.broker.session.read import parse_session
from cloister.errors import PolicyError
from cloister.measure.software import read_measurement

ANSI = "\x1b[31m"


def cloister(directory: Path, *words: str, standard_input: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cloister", *words]
    return subprocess.run(
        command, cwd=directory, input=standard_input, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "app.manifest").write_text(GRAMINE)
    (tmp_path / "enclave.json").write_text(json.dumps(EGO))
    (tmp_path / "session.yml").write_text(SCONE)
    return tmp_path


def test_a_manifest_becomes_an_enclave_json(place: Path) -> None:
    done = cloister(place, "convert", "--to", "ego", "app.manifest", "-o", "made.json")
    assert done.returncode == 0, done.stderr
    assert json.loads((place / "made.json").read_text())["exe"] == "/usr/bin/python3"
    assert "app.manifest:" in done.stderr
    assert "lost: threads: EGo has 32" in done.stderr
    assert done.stdout == ""


def test_strict_says_by_its_exit_code_that_something_was_lost(place: Path) -> None:
    assert cloister(place, "convert", "--to", "ego", "--strict", "app.manifest").returncode == 10
    assert cloister(place, "convert", "--to", "ego", "--strict", "enclave.json").returncode == 0


def test_json_names_every_difference(place: Path) -> None:
    done = cloister(place, "convert", "--to", "gramine", "--service", "web", "--json", "session.yml")
    document = json.loads(done.stdout)
    assert document["from"] == "scone"
    outcomes = {one["item"]: one["outcome"] for one in document["differences"]}
    assert outcomes["environment.PW"] == "lost"
    assert document["text"].startswith("libos.entrypoint")


def test_standard_input_is_read(place: Path) -> None:
    done = cloister(place, "convert", "--from", "scone-env", "--to", "gramine", "-", standard_input="SCONE_HEAP=1G\n")
    assert 'sgx.enclave_size = "1G"' in done.stdout


def test_a_session_for_the_broker_gets_a_salt_of_its_own(place: Path) -> None:
    """One that others know hides nothing."""
    salts = set()
    (place / "session.yml").write_text(SCONE.replace('salt: "00112233445566778899aabbccddeeff"\n', ""))
    for name in ("a.yaml", "b.yaml"):
        done = cloister(place, "convert", "--to", "cloister-session", "--service", "web", "session.yml", "-o", name)
        assert done.returncode == 0, done.stderr
        text = (place / name).read_text()
        salts.add(next(line for line in text.splitlines() if line.startswith("salt:")))
    assert len(salts) == 2


def test_a_small_session_is_taken_by_the_broker(place: Path) -> None:
    (place / "small.yml").write_text(
        'name: team/app\nversion: "0.3"\nservices:\n  - name: web\n    command: python3 app.py\n'
        f'    attestation: [{{ mrenclave: "{"ab" * 32}" }}]\n    environment: {{ PW: "$$SCONE::pw$$" }}\n'
        "secrets: [{ name: pw, kind: ascii, size: 24 }]\n"
    )
    done = cloister(place, "convert", "--to", "cloister-session", "small.yml", "-o", "out.yaml")
    assert "lost" not in done.stderr
    made = parse_session((place / "out.yaml").read_bytes(), "out.yaml")
    assert made.name == "team/app"
    assert cloister(place, "session", "check", "out.yaml").returncode == 0


def test_what_a_session_still_needs_is_said(place: Path) -> None:
    """A signer without its product and least version would let old, broken versions in: the broker refuses it."""
    text = SCONE.replace("          isvprodid: 6\n          isvsvn_min: 2\n", "")
    assert text != SCONE
    (place / "session.yml").write_text(text)
    done = cloister(place, "convert", "--to", "cloister-session", "--service", "web", "session.yml", "-o", "out.yaml")
    assert "missing: a valid file: cloister-session:" in done.stderr
    with pytest.raises(PolicyError):
        parse_session((place / "out.yaml").read_bytes(), "out.yaml")


def test_a_manifest_with_digests_becomes_one_of_the_software_enclave(place: Path) -> None:
    files = "".join(f'  {{ uri = "file:{path}", sha256 = "{"ab" * 32}" }},\n' for path in ("/bin/app", "/lib/x.so"))
    (place / "m").write_text(f'libos.entrypoint = "/bin/app"\nsgx.trusted_files = [\n{files}]\n')
    done = cloister(place, "convert", "--to", "cloister-manifest", "m")
    made = read_measurement(done.stdout, "made")
    assert (made.program, list(made.manifest.files)) == ("/bin/app", ["/lib/x.so"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--to", "ego", "nothing.here"], "cannot read nothing.here"),
        (["--to", "ego", "session.yml"], "there are several services"),
        (["--to", "ego", "app.manifest", "--service", "x"], "--service is for sessions"),
        (["--to", "ego", "binary"], "is not UTF-8"),
        (["--to", "ego", "app.manifest", "-o", "no/such/place"], "cannot write no/such/place"),
    ],
)
def test_what_is_wrong_ends_with_2_and_a_message(place: Path, words: list[str], said: str) -> None:
    (place / "binary").write_bytes(b"\xff\xfe")
    done = cloister(place, "convert", *words)
    assert done.returncode == 2, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_hostile_name_moves_no_cursor(place: Path) -> None:
    (place / "m").write_text('libos.entrypoint = "/a"\nsgx."x\\u001b[31m" = 1\nloader.env."y\\u001b[31m" = "z"\n')
    for words in (["convert", "--to", "scone-env", "m"], ["manifest", "check", "m"]):
        done = cloister(place, *words)
        assert ANSI not in done.stderr + done.stdout, words


def test_check_names_line_reason_and_advice(place: Path) -> None:
    (place / "m").write_text('libos.entrypoint = "/a"\nsgx.debug = true\n')
    done = cloister(place, "manifest", "check", "m")
    assert done.returncode == 10
    assert "m:2: dangerous: sgx.debug: the host reads and changes" in done.stdout
    assert "\n    turn it off" in done.stdout
    assert "1 dangerous, 1 risky" in done.stderr


def test_check_ends_by_what_is_asked_for(place: Path) -> None:
    (place / "m").write_text('libos.entrypoint = "/a"\nsgx.isvsvn = 1\n')
    assert cloister(place, "manifest", "check", "m").returncode == 0
    assert cloister(place, "manifest", "check", "--strict", "m").returncode == 10, "no attestation is risky"
    done = cloister(place, "manifest", "check", "--json", "m")
    assert json.loads(done.stdout)["findings"][0]["key"] == "sgx.remote_attestation"


def test_several_files_are_checked_together(place: Path) -> None:
    (place / "scone.env").write_text("SCONE_MODE=sim\n")
    done = cloister(place, "manifest", "check", "--service", "web", "session.yml", "scone.env")
    assert "scone.env:1: dangerous: " in done.stdout
    assert "session.yml:" in done.stdout
