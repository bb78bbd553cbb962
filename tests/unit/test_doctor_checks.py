"""Checks that read files, on machines made of files."""

import os
import struct
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from cloister.doctor import Command, Machine, NoFix, Status, enclave, exposure, guest, host
from cloister.doctor.check import Check
from cloister.doctor.processor import LEAVES, Leaf, NoProcessor, Processor, Registers
from cloister.doctor.runtime import RuntimeFile, look_at_runtime, runtime_check

NO_CPUID = NoProcessor(reason="a test")
Files = dict[str, str]


@pytest.fixture
def machine(tmp_path: Path) -> Callable[[Files], Machine]:
    def make(files: Files) -> Machine:
        for name, text in files.items():
            path = tmp_path / name.lstrip("/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return Machine(root=tmp_path)

    return make


def amd(**registers: int) -> Processor:
    answers = dict.fromkeys(LEAVES, Registers(0, 0, 0, 0))
    answers[Leaf(0x80000000)] = Registers(0x80000028, 0, 0, 0)
    answers[Leaf(0x8000001F)] = Registers(0, 0, 0, 0)._replace(**registers)
    return Processor(source="a test", registers=answers)


SWAPS = "Filename Type Size Used Priority\n"


@pytest.mark.parametrize(
    ("check", "files", "status"),
    [
        (enclave.kernel, {"/proc/sys/kernel/osrelease": "6.1.0-18-amd64\n"}, Status.OK),
        (enclave.kernel, {"/proc/sys/kernel/osrelease": "5.14.0\n"}, Status.OK),
        (enclave.kernel, {"/proc/sys/kernel/osrelease": "5.10.0-28-amd64\n"}, Status.MISSING),
        (enclave.kernel, {}, Status.UNKNOWN),
        (exposure.swap, {"/proc/swaps": SWAPS}, Status.OK),
        (exposure.swap, {"/proc/swaps": f"{SWAPS}/dev/sda2 partition 1 0 -2\n"}, Status.MISSING),
        (exposure.swap, {}, Status.UNKNOWN),
        (exposure.hibernation, {}, Status.OK),
        (exposure.hibernation, {"/sys/power/state": "freeze mem\n"}, Status.OK),
        (exposure.hibernation, {"/sys/power/state": "freeze mem disk\n"}, Status.MISSING),
        (exposure.cores, {"/proc/sys/kernel/core_pattern": "core\n"}, Status.OK),
        (exposure.cores, {"/proc/sys/kernel/core_pattern": "|/usr/share/apport %p\n"}, Status.MISSING),
        (exposure.cores, {}, Status.UNKNOWN),
        (exposure.bpf, {"/proc/sys/kernel/unprivileged_bpf_disabled": "2"}, Status.OK),
        (exposure.bpf, {"/proc/sys/kernel/unprivileged_bpf_disabled": "0"}, Status.MISSING),
        (exposure.bpf, {}, Status.OK),
        (exposure.lockdown, {"/sys/kernel/security/lockdown": "none integrity [confidentiality]"}, Status.OK),
        (exposure.lockdown, {"/sys/kernel/security/lockdown": "[none] integrity confidentiality"}, Status.MISSING),
        (host.tdx, {"/sys/module/kvm_intel/parameters/tdx": "Y\n"}, Status.OK),
        (host.tdx, {"/sys/module/kvm_intel/parameters/tdx": "N\n"}, Status.MISSING),
        (host.tdx, {}, Status.MISSING),
        (host.tpm, {"/dev/tpmrm0": "", "/sys/class/tpm/tpm0/tpm_version_major": "2\n"}, Status.OK),
        (host.tpm, {"/dev/tpm0": "", "/sys/class/tpm/tpm0/tpm_version_major": "1\n"}, Status.MISSING),
        (guest.cca_guest, {"/sys/bus/platform/devices/arm-cca-dev": ""}, Status.OK),
        (guest.cca_guest, {}, Status.MISSING),
        (guest.tsm, {"/sys/kernel/config/tsm/report/.keep": ""}, Status.OK),
        (guest.tsm, {"/proc/mounts": "proc /proc proc rw 0 0\n"}, Status.MISSING),
    ],
)
def test_files_decide(
    check: Callable[[Machine], Check], files: Files, status: Status, machine: Callable[[Files], Machine]
) -> None:
    found = check(machine(files))
    assert found.status is status
    assert found.evidence
    assert isinstance(found.fix, NoFix) or status is not Status.OK


def test_sev_needs_the_module_too(machine: Callable[[Files], Machine]) -> None:
    cpuid = amd(eax=0b11011, ebx=51, ecx=509, edx=100)
    off = host.sev(machine({}), cpuid)
    assert (off.status, isinstance(off.fix, Command)) == (Status.MISSING, True)
    on = host.sev(machine({"/sys/module/kvm_amd/parameters/sev_snp": "Y\n"}), cpuid)
    assert on.status is Status.OK
    assert "C-bit 51, 509 ASIDs, 99 of them for SEV-ES and SNP" in on.evidence


def test_without_cpuid_the_processor_s_checks_are_unknown(machine: Callable[[Files], Machine]) -> None:
    found = [host.sgx(NO_CPUID), host.sme(NO_CPUID), host.sev(machine({}), NO_CPUID)]
    assert {check.status for check in found} == {Status.UNKNOWN}


def test_a_device_of_another_user_is_denied(
    machine: Callable[[Files], Machine], monkeypatch: pytest.MonkeyPatch
) -> None:
    where = machine({"/dev/sev-guest": ""})
    assert guest.guest_checks(where, NO_CPUID)[0].status is Status.OK
    monkeypatch.setattr("os.access", lambda *_: False)
    denied = guest.guest_checks(where, NO_CPUID)[0]
    assert denied.status is Status.DENIED
    assert isinstance(denied.fix, Command)


STATUS = "Name:\tx\nNoNewPrivs:\t0\nCapBnd:\t000001ffffffffff\n"
ORDINARY = {"/proc/self/status": STATUS, "/proc/self/uid_map": "         0          0 4294967295\n"}


def capability(*, permitted: int, effective: bool) -> bytes:
    return struct.pack("<5I", 0x02000000 | effective, permitted, 0, 0, 0)


def runtime_with(attribute: bytes, path: Path, machine: Machine, monkeypatch: pytest.MonkeyPatch) -> RuntimeFile:
    """A runtime file with this attribute, on a file system that honours it."""
    path.touch(mode=0o755)
    monkeypatch.setattr("os.getxattr", lambda *_: attribute)
    monkeypatch.setattr("os.statvfs", lambda _: SimpleNamespace(f_flag=0))
    return look_at_runtime(path, machine)


@pytest.mark.parametrize(
    ("attribute", "lifts", "words"),
    [
        (capability(permitted=1 << 14, effective=True), True, "cap_ipc_lock+ep"),
        (capability(permitted=1 << 14, effective=False), False, "without cap_ipc_lock"),
        (capability(permitted=1 << 13, effective=True), False, "without cap_ipc_lock"),
        (b"\x00" * 20, False, "unknown format"),
    ],
)
def test_file_capabilities(
    attribute: bytes,
    *,
    lifts: bool,
    words: str,
    tmp_path: Path,
    machine: Callable[[Files], Machine],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = runtime_with(attribute, tmp_path / "runtime", machine(ORDINARY), monkeypatch)
    assert found.lifts_memory_lock is lifts
    assert words in found.capability


@pytest.mark.parametrize(
    ("files", "fix"),
    [
        ({"/proc/self/status": STATUS.replace("1ffffffffff", "000a80425fb")}, "--cap-add IPC_LOCK"),
        ({"/proc/self/uid_map": "0 1000 1\n"}, "--ulimit memlock"),
        ({"/proc/self/status": STATUS.replace("NoNewPrivs:\t0", "NoNewPrivs:\t1")}, "prlimit"),
    ],
)
def test_where_a_capability_is_ignored_another_fix_is_given(
    files: Files, fix: str, tmp_path: Path, machine: Callable[[Files], Machine], monkeypatch: pytest.MonkeyPatch
) -> None:
    granted = capability(permitted=1 << 14, effective=True)
    found = runtime_with(granted, tmp_path / "runtime", machine(ORDINARY | files), monkeypatch)
    assert not found.lifts_memory_lock
    assert fix in found.more_room.text


def test_a_capability_on_a_nosuid_mount_lifts_nothing(
    tmp_path: Path, machine: Callable[[Files], Machine], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "runtime"
    runtime_with(capability(permitted=1 << 14, effective=True), path, machine(ORDINARY), monkeypatch)
    monkeypatch.setattr("os.statvfs", lambda _: SimpleNamespace(f_flag=os.ST_NOSUID))
    assert not look_at_runtime(path, machine(ORDINARY)).lifts_memory_lock


def test_the_runtime_must_be_there_and_executable(tmp_path: Path) -> None:
    path = tmp_path / "runtime"
    assert runtime_check(look_at_runtime(path, Machine())).status is Status.MISSING
    path.touch(mode=0o644)
    assert runtime_check(look_at_runtime(path, Machine())).status is Status.DENIED
    path.chmod(0o755)
    assert runtime_check(look_at_runtime(path, Machine())).status is Status.OK
