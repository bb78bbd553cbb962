"""What a machine lacks for SGX, where a device is there and may not be used."""

import os
from pathlib import Path

import pytest

from cloister.launch.frameworks.needs import AESM, missing
from cloister.launch.frameworks.plan import Plan, Run


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("dev/sgx_enclave", "var/run/aesmd/aesm.socket"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    return tmp_path


def plan(*, hardware: bool = True) -> Plan:
    last = Run(words=("true",), directory=Path("/"))
    return Plan(framework="one", steps=(), last=last, tools={}, needs=(AESM,), hardware=hardware)


def test_nothing_is_missing(root: Path) -> None:
    assert missing(plan(), root) == []


def test_what_this_user_may_not_open_is_said(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    said = missing(plan(), root)
    assert said == [
        "/dev/sgx_enclave may not be opened by this user: add the user to the file's group, or use sudo",
        "/var/run/aesmd/aesm.socket may not be opened by this user: add the user to the file's group, or use sudo",
    ]


def test_without_hardware_nothing_of_it_is_looked_at(root: Path) -> None:
    (root / "dev/sgx_enclave").unlink()
    assert missing(plan(hardware=False), root) == []
    assert len(missing(plan(), root)) == 1


def test_the_last_mount_counts(root: Path) -> None:
    """/dev is mounted over: what is below is not seen."""
    (root / "proc").mkdir()
    (root / "proc/mounts").write_text("a /dev devtmpfs rw,noexec 0 0\nb /dev tmpfs rw 0 0\n")
    assert missing(plan(), root) == []
    (root / "proc/mounts").write_text("a /dev devtmpfs rw 0 0\nb /dev tmpfs rw,noexec 0 0\n")
    assert any("noexec" in one for one in missing(plan(), root))
