"""The memory proof for every emulated TEE: the exercise's program, whose secret is looked for in memory and in DRAM.

TrustZone and Keystone do not encrypt DRAM: their file holds the secret, as their modules do (CaSE, S&P 2016; Keystone,
EuroSys 2020). Everywhere else neither the emulator's memory nor DRAM shows it.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.machines.build import LAB_PROGRAM, program

from cloister.emulate.catalogue import KINDS, kind_of

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_runtime, pytest.mark.slow, pytest.mark.timeout(180)]

IN_THE_CLEAR = {"trustzone", "keystone"}
SECONDS = 150


def proved(tmp_path: Path, tee: str) -> dict[str, Any]:
    """What `cloister prove --tee` says of the exercise's program."""
    architecture = kind_of(tee).architecture
    path = tmp_path / "app"
    path.write_bytes(program(LAB_PROGRAM, architecture))
    path.chmod(0o755)
    words = ["prove", "--json", "--tee", tee, "--hold", "0.5", "--finish", "\\n", "--", str(path)]
    done = subprocess.run(
        [sys.executable, "-m", "cloister", *words],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "XDG_DATA_HOME": str(tmp_path / "data"), "TMPDIR": str(tmp_path)},
    )
    assert done.stdout, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


@pytest.mark.parametrize("tee", KINDS)
def test_the_secret_is_where_the_architecture_leaves_it(tmp_path: Path, tee: str) -> None:
    document = proved(tmp_path, tee)
    if tee not in IN_THE_CLEAR:
        assert document["verdict"] == "protected", document["sentence"]
        return
    assert document["verdict"] == "leaked", document["sentence"]
    assert all("/dram" in leak["where"] for leak in document["leaks"]), document["leaks"]


def test_without_a_tee_dram_gives_it_away(tmp_path: Path) -> None:
    document = proved(tmp_path, "native")
    assert document["verdict"] == "leaked", document["sentence"]
