"""`cloister attack`: what it prints, what it writes, and what its exit codes say."""

import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from cloister.cli import main
from cloister.emulate.attacks.battery import ATTACKS
from cloister.emulate.attacks.literature import LITERATURE, Expected
from cloister.emulate.attacks.outcome import Outcome
from cloister.emulate.catalogue import KINDS, NATIVE

MACHINES = (NATIVE.name, *KINDS)
CROSS_COMPILERS = pytest.mark.needs_program("cc", "aarch64-linux-gnu-gcc", "riscv64-linux-gnu-gcc")


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> str:
    directory = tmp_path_factory.mktemp("keys")
    directory.chmod(0o700)
    return str(directory)


def cloister(*words: str, seconds: int = 100, **environment: str) -> subprocess.CompletedProcess[str]:
    settings = {**os.environ, "PYTHONPATH": ":".join(sys.path), **environment}
    return subprocess.run(
        [sys.executable, "-m", "cloister", *words], env=settings, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=seconds, check=False,
    )  # fmt: skip


class Page(HTMLParser):
    """What a page would load from elsewhere, what it links to, its anchors, and the classes of its cells."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.cells: list[str] = []
        self.links: set[str] = set()
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag in {"script", "link", "img", "iframe", "object"} or "src" in given:
            self.loads.append(tag)
        if tag == "td":
            self.cells.append(given.get("class") or "")
        if tag == "a":
            self.links.add((given.get("href") or "").removeprefix("#"))
        if given.get("id"):
            self.anchors.add(given["id"] or "")


def test_one_machine_in_sentences(keys: str) -> None:
    done = cloister("attack", "--tee", "sev", "--keys", keys, "host-read", "remap")
    assert done.returncode == 0, done
    assert re.search(r"^  stopped: read ciphertext, [0-9a-f]{16}\.\.\.$", done.stdout, re.MULTILINE)
    assert "  SUCCEEDED: the program believes that it has 1,000,000\n" in done.stdout
    assert "so does real hardware (SEVered, EuroSec 2018)" in done.stdout
    assert done.stderr == ""


def test_json(keys: str) -> None:
    done = cloister("attack", "--tee", "native", "--json", "--keys", keys)
    document = json.loads(done.stdout)
    assert done.returncode == 0
    assert document["agrees"] is True
    assert [one["name"] for one in document["attacks"]] == list(ATTACKS)
    assert {cell["outcome"] for cell in document["cells"]} == {"succeeded"}
    assert all(cell["observed"] and cell["source"] for cell in document["cells"])


@CROSS_COMPILERS
@pytest.mark.slow
@pytest.mark.timeout(400)
def test_the_whole_matrix_is_what_is_published(tmp_path: Path, keys: str) -> None:
    place = tmp_path / "matrix.html"
    done = cloister("attack", "--matrix", "--html", str(place), "--keys", keys, seconds=380)
    assert done.returncode == 0, done.stdout
    head, *rows = done.stdout.splitlines()[: len(ATTACKS) + 1]
    assert head.split() == ["attack", *MACHINES]
    for row in rows:
        name, *words = row.split()
        assert [word.lower() for word in words] == [LITERATURE[name][one].outcome for one in MACHINES], row
    page = Page(place.read_text())
    assert page.loads == [], "the page can be mailed: it needs nothing from elsewhere"
    assert sorted(page.cells) == sorted(str(LITERATURE[name][one].outcome) for name in ATTACKS for one in MACHINES)
    assert page.links == page.anchors == set(ATTACKS)


def test_an_outcome_that_differs_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], keys: str, tmp_path: Path
) -> None:
    wrong = Expected(Outcome.DETECTED, "nobody")
    monkeypatch.setitem(LITERATURE["host-read"], "native", wrong)
    place = tmp_path / "page.html"
    assert main(["attack", "--tee", "native", "--keys", keys, "--html", str(place), "host-read"]) == 10
    assert "real hardware: detected (nobody)" in capsys.readouterr().out
    page = place.read_text()
    assert "<strong>1 cell differs</strong>" in page
    assert Page(page).cells == ["succeeded differs"]


def test_what_cannot_be_tried_is_said(keys: str, tmp_path: Path) -> None:
    done = cloister("attack", "--tee", "trustzone", "--keys", keys, "cold-boot", PATH=str(tmp_path))
    assert done.returncode == 16
    assert "not tried: no compiler for arm64 here" in done.stdout
    assert "apt-get install gcc-aarch64-linux-gnu" in done.stdout


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--tee", "sexy"], "no emulated machine is called 'sexy'"),
        (["--tee", "sev", "shouting"], "no attack is called 'shouting'"),
        (["--tee", "native", "--html", "/nonexistent/page.html", "host-read"], "cannot write"),
        (["--tee", "sev", "--only", "gdb"], "for the software enclave"),
        (["--tee", "sev", "--matrix"], "not allowed with"),
    ],
)
def test_wrong_words(words: list[str], part: str, keys: str) -> None:
    done = cloister("attack", "--keys", keys, *words)
    assert done.returncode == 2
    assert part in done.stderr
