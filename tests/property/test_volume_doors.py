"""Vector registers survive AES-GCM where it is linked into the runtime: a patched call site has no other protection."""

import re
import subprocess
from pathlib import Path

import pytest
from tests.property.runtime_pieces.pieces_unsafe import RUNTIME

pytestmark = pytest.mark.needs_program("cc", "make", "objcopy")

SOURCE = Path(__file__).parent / "volume_pieces" / "doors.c"
NAMES = ("gcm_is_supported", "gcm_init", "gcm_init_128", "gcm_seal", "gcm_open")


def built(place: Path, *, doors: bool) -> Path:
    """The program, linked with the very objects of the runtime; without doors, straight to what is behind them."""
    objects = [place / "volume" / "aes_gcm.o", *([place / "volume" / "aes_gcm_doors.o"] if doors else [])]
    subprocess.run(["make", "-s", "-C", RUNTIME, f"BUILD={place}", *map(str, objects)], check=True)
    names = [] if doors else [f"-D{name}={name}_inside" for name in NAMES]
    command = ["cc", "-O1", "-no-pie", f"-I{RUNTIME / 'volume'}", *names, str(SOURCE), *map(str, objects)]
    subprocess.run([*command, "-o", str(place / "program")], check=True)
    return place / "program"


def test_all_registers_survive_all_doors(tmp_path: Path) -> None:
    done = subprocess.run([built(tmp_path, doors=True)], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == ["init kept", "seal kept", "open kept", "text is back"]
    assert done.returncode == 0


def test_without_doors_they_are_lost(tmp_path: Path) -> None:
    done = subprocess.run([built(tmp_path, doors=False)], capture_output=True, text=True, check=False)
    assert "seal lost" in done.stdout.splitlines()


def test_every_function_has_its_door() -> None:
    header = (RUNTIME / "volume" / "aes_gcm.h").read_text()
    assert set(re.findall(r"\b(gcm_\w+)\(", header)) == set(NAMES)
    doors = (RUNTIME / "volume" / "aes_gcm_doors.S").read_text()
    assert set(re.findall(r"^ *door (\w+)$", doors, re.MULTILINE)) == set(NAMES)
