"""The README's verdict is a true transcript: of a real quote and Intel's statements of that time."""

import shutil
from pathlib import Path

import pytest
from tests.samples.conftest import EVIDENCE

from cloister.cli import main

README = (Path(__file__).parents[2] / "README.md").read_text()
QUOTE = "intel-sgx/automata-dcaprs-lib-v3/quote.bin"
COLLATERAL = "collateral-intel/sgx-00606a000000-tcbinfo-v3-eval17-2025-08-15-f80c13.json"


def test_the_verdict_in_the_readme(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    block = README[README.index("$ cat app.toml\n") :]
    policy, rest = block.removeprefix("$ cat app.toml\n").split("$ cloister ", maxsplit=1)
    command, rest = rest.split("\n", maxsplit=1)
    shown, status = rest.split("$ echo $?\n", maxsplit=1)
    (tmp_path / "app.toml").write_text(policy)
    shutil.copy(EVIDENCE / QUOTE, tmp_path / "quote.bin")
    shutil.copy(EVIDENCE / COLLATERAL, tmp_path / "collateral.json")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    code = main([*command.split(), "--collateral", str(tmp_path / "empty")])
    assert (capsys.readouterr().err, code) == (shown, int(status.split("\n", maxsplit=1)[0]))
