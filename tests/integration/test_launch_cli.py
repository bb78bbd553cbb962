"""`cloister launch`: the whole dialogue on every machine, and a program that reads its secret and attests itself."""

import json
import os
import pty
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.forge.emulated_sev import quick_keystore
from tests.machines.build import program
from tests.machines.running import SMALL, Run

from cloister.app.launching import trust_in
from cloister.app.launching_sev import SECRET as SECRET_ENTRY
from cloister.cli import main
from cloister.emulate.attestation_files import provide_attestation, provide_secret
from cloister.emulate.catalogue import kind_of, native_kind
from cloister.emulate.vendors.keystore import Keystore
from cloister.errors import NotFresh
from cloister.measure.image import Architecture, read_image
from cloister.measure.program import MEASURED, program_measurement
from cloister.model import Challenge
from cloister.verifier import Verifier

SECRET = b"one-secret-of-the-owner"
DATA = b"what the owner's customers told"
READER = """
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void show(const char *path) {
    char data[65536];
    int file = strcmp(path, "-") == 0 ? 0 : open(path, O_RDONLY);
    if (file < 0) { printf("%s: %s\\n", path, strerror(errno)); return; }
    ssize_t size = read(file, data, sizeof data);
    printf("%s: ", path);
    for (ssize_t at = 0; at < size; at++) printf("%02x", (unsigned char)data[at]);
    printf("\\n");
    close(file);
}

int main(int argc, char **argv) {
    unsigned char nonce[64] = {0};
    for (int at = 1; at < argc; at++) {
        if (strncmp(argv[at], "nonce=", 6) == 0) {
            memcpy(nonce, argv[at] + 6, strlen(argv[at]) - 6);
            int file = open("/dev/attestation/user_report_data", O_WRONLY);
            if (file < 0) { printf("nonce: %s\\n", strerror(errno)); continue; }
            if (write(file, nonce, sizeof nonce) < 0) printf("nonce: %s\\n", strerror(errno));
            close(file);
        } else show(argv[at]);
    }
    return 7;
}
"""
QUOTE = "/dev/attestation/quote"


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A program's source, a secret, and keys."""
    found = tmp_path_factory.mktemp("launch")
    quick_keystore(found)
    (found / "reader.c").write_text(READER)
    (found / "secret").write_bytes(SECRET)
    return found


@pytest.fixture(params=list(MEASURED))
def machine(request: pytest.FixtureRequest) -> str:
    """Every machine that measures what it launches."""
    return str(request.param)


def binary(directory: Path, architecture: Architecture) -> Path:
    """The program, compiled."""
    path = directory / f"reader-{architecture}"
    if not path.exists():
        path.write_bytes(program(directory / "reader.c", architecture))
        path.chmod(0o755)
    return path


def words(machine: str, directory: Path, *options: str) -> list[str]:
    """A command line; the program shows its secret."""
    path = binary(directory, kind_of(machine).architecture)
    keys = ["--keys", str(directory / "store"), "--secret-file", str(directory / "secret")]
    return ["launch", "--tee", machine, *keys, *options, "--", str(path), "/run/secrets/secret"]


def test_a_launch_ends_with_a_program_that_has_its_secret(
    machine: str, directory: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(words(machine, directory)) == 7
    printed = capfd.readouterr().out
    assert f"/run/secrets/secret: {SECRET.hex()}\n" in printed
    assert [int(line[0]) for line in printed.splitlines() if line[:1].isdigit()] == [1, 2, 3, 4]
    path = binary(directory, kind_of(machine).architecture)
    assert main(["measure", "--tee", machine, str(path)]) == 0
    measured = capfd.readouterr().out.strip().partition("=")[2]
    assert measured in printed.replace("\n                           ", "")
    assert SECRET.decode() not in printed
    assert "REFUSED" not in printed


def test_json_has_every_message(machine: str, directory: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(words(machine, directory, "--json")) == 7
    printed = capfd.readouterr()
    *steps, last = [json.loads(line) for line in printed.out.splitlines()]
    assert last == {"accepted": True}
    assert all(step["ok"] and step["check"] and step["receiver"] for step in steps)
    assert sorted({step["stage"] for step in steps}) == [1, 2, 3, 4]
    assert SECRET.hex() in printed.err  # the program's own output


COMMANDS = {
    "sgx": ("ECREATE", "EADD", "EEXTEND", "EINIT"),
    "sgx-scalable": ("ECREATE", "EADD", "EEXTEND", "EINIT"),
    "sev-snp": ("SNP_GCTX_CREATE", "SNP_LAUNCH_START", "SNP_ACTIVATE", "SNP_LAUNCH_UPDATE", "SNP_LAUNCH_FINISH"),
    "tdx": (
        "TDH.MNG.CREATE", "TDH.MNG.KEY.CONFIG", "TDH.MNG.ADDCX", "TDH.MNG.INIT", "TDH.MEM.SEPT.ADD",
        "TDH.MEM.PAGE.ADD", "TDH.MR.EXTEND", "TDH.VP.CREATE", "TDH.VP.ADDCX", "TDH.VP.INIT", "TDH.MR.FINALIZE",
    ),
    "cca": (
        "RMI_GRANULE_DELEGATE", "RMI_REALM_CREATE", "RMI_RTT_CREATE", "RMI_DATA_CREATE", "RMI_RTT_INIT_RIPAS",
        "RMI_REC_CREATE", "RMI_REALM_ACTIVATE",
    ),
    "keystone": ("SBI_SM_CREATE_ENCLAVE", "SBI_SM_RUN_ENCLAVE"),
}  # fmt: skip
"""Machine -> the vendor's commands that its launch takes, in their order."""


@pytest.mark.parametrize("name", COMMANDS)
def test_the_vendors_commands_are_shown(name: str, directory: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(words(name, directory, "--json")) == 7
    steps = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    given = {step["name"]: step["fields"] for step in steps if step.get("stage") == 2}
    assert [one for one in given if one in COMMANDS[name]] == list(COMMANDS[name])
    running = [fields["running measurement"] for fields in given.values() if "running measurement" in fields]
    image = read_image(binary(directory, kind_of(name).architecture).read_bytes(), "reader")
    assert running[-1] == program_measurement(name, image).digest.value.hex()
    if name == "sgx":
        pages = int(given["EADD"]["given"].split()[0])
        assert given["EEXTEND"]["given"] == f"{16 * pages} times"


def test_the_secret_is_the_first_line_of_input_and_the_rest_is_the_programs(directory: Path) -> None:
    command = [sys.executable, "-m", "cloister", *words("sev", directory), "-"]
    at = command.index("--secret-file")
    command = [*command[:at], *command[at + 2 :]]
    ended = subprocess.run(command, check=False, input=b"typed\nrest\n", capture_output=True, timeout=60)
    assert ended.returncode == 7, ended.stderr
    assert b"/run/secrets/secret: " + b"typed".hex().encode() + b"\n" in ended.stdout
    assert b"-: " + b"rest\n".hex().encode() + b"\n" in ended.stdout


def test_step_waits_for_enter(directory: Path) -> None:
    """On a terminal: nothing further comes until Enter is typed."""
    command = [sys.executable, "-m", "cloister", *words("keystone", directory, "--step")]
    master, slave = pty.openpty()
    with subprocess.Popen(command, stdin=slave, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        os.close(slave)
        assert process.stdout is not None
        assert process.stderr is not None
        entered = 0
        while process.stderr.read(len(b"   [Enter]")) == b"   [Enter]":
            entered += 1
            os.write(master, b"\n")
        printed = process.stdout.read().decode()
        assert process.wait(timeout=60) == 7
    os.close(master)
    assert entered == printed.count(" -> ") == 7


def test_what_cannot_be_asked(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for machine, options, expected in (
        ("sev", ["--tamper", "old-evidence"], "swapped-pdh"),
        ("sgx", ["--tamper", "swapped-pdh"], "own-key"),
        ("keystone", ["--tamper", "debug-mode"], "no debug mode"),
        ("sev", ["--secret-name", "../x"], "no file name"),
        ("sev", ["--secret-file", "/nowhere"], "cannot read /nowhere"),
    ):
        assert main(words(machine, directory, *options)) == 2
        assert expected in capsys.readouterr().err
    for machine in ("sme", "trustzone", "native"):
        assert main(["launch", "--tee", machine, "--", "/bin/true"]) == 2
        assert "no attested launch" in capsys.readouterr().err
    assert main(["launch", "--tee", "sev"]) == 2
    wrong = words("sev", directory)
    wrong[wrong.index("--") + 1] = str(binary(directory, Architecture.ARM64))
    assert main(wrong) == 121


def test_data_travel_encrypted_and_are_opened_inside(
    machine: str, directory: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (directory / "data").write_bytes(DATA)
    command = [*words(machine, directory, "--data", str(directory / "data")), "/run/secrets/data"]
    assert main(command) == 7
    printed = capfd.readouterr().out
    assert f"/run/secrets/data: {DATA.hex()}\n" in printed
    assert f"/run/secrets/secret: {SECRET.hex()}\n" in printed
    assert main(words(machine, directory, "--data", str(directory / "data"), "--secret-name", "data")) == 2
    assert main(words(machine, directory, "--data", "/dev/null")) == 2


@pytest.mark.parametrize("name", ["sev", "sgx"])
def test_a_machine_that_is_too_small_says_so(name: str, directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = directory / "large.c"
    source.write_text("char data[1 << 21] = {1}; int main(void) { return data[4096]; }\n")
    large = directory / "large"
    large.write_bytes(program(source))
    large.chmod(0o755)
    command = words(name, directory, "--memory", "1")
    command[command.index("--") + 1] = str(large)
    assert main(command) == 121
    assert "give it more --memory" in capsys.readouterr().err


def test_linux_paths_of_sevs_secrets(directory: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = f"/sys/kernel/security/secrets/coco/{SECRET_ENTRY}"
    assert main([*words("sev", directory), path]) == 7
    assert f"{path}: {SECRET.hex()}\n" in capfd.readouterr().out


# ---- what a program finds inside


def played(name: str, directory: Path, *arguments: str) -> tuple[dict[str, str], Verifier]:
    """The program's output by line, and a verifier that believes this machine's manufacturer."""
    kind, run = kind_of(name), Run()
    image = read_image(binary(directory, kind.architecture).read_bytes(), "reader")
    machine = kind.make(SMALL, run.terminal(), Keystore(directory / "store"))
    try:
        machine.launch(image)
        provide_attestation(machine)
        provide_secret(machine.shim, "key", SECRET)
        machine.start(["program", *arguments], {})
        assert machine.run().status == 7
        anchors, given = trust_in(machine.vouching(datetime.now(UTC)))
    finally:
        machine.close()
    lines = dict(line.split(": ") for line in run.output.decode().splitlines())
    return lines, Verifier(anchors=anchors, endorsements=given)


def test_a_program_attests_itself(machine: str, directory: Path) -> None:
    nonce = b"nonce-of-verif-1" if machine in {"sev", "sev-es"} else b"the nonce of a verifier, of any length to 64"
    report, key = "/dev/attestation/report", "/run/secrets/key"
    lines, verifier = played(machine, directory, f"nonce={nonce.decode()}", QUOTE, report, key)
    assert lines[key] == SECRET.hex()
    if machine in {"sev", "sev-es", "sev-snp", "keystone"}:
        assert len(lines[report]) == len(lines[QUOTE])
    else:
        assert lines[report] == "No such file or directory"
    now = datetime.now(UTC)
    (verified,) = verifier.verify(bytes.fromhex(lines[QUOTE]), at=now, challenge=Challenge(nonce))
    measured = program_measurement(
        machine, read_image(binary(directory, kind_of(machine).architecture).read_bytes(), "reader")
    )
    assert verified.tee is measured.tee
    assert measured.digest.value in bytes.fromhex(lines[QUOTE])


def test_what_kind_of_evidence_it_is(machine: str, directory: Path) -> None:
    lines, _ = played(machine, directory, "/dev/attestation/attestation_type")
    found = bytes.fromhex(lines["/dev/attestation/attestation_type"]).decode()
    assert found == ("dcap" if machine.startswith("sgx") else str(MEASURED[machine][0]))


@pytest.mark.parametrize("name", ["sev", "sev-es"])
def test_sev_has_room_for_sixteen_bytes(name: str, directory: Path) -> None:
    lines, verifier = played(name, directory, "nonce=sixteen bytes, ++", QUOTE)
    assert lines["nonce"] == "Invalid argument"
    now = datetime.now(UTC)
    evidence = bytes.fromhex(lines[QUOTE])
    assert evidence[:16] == bytes(16)  # the refused data went nowhere
    with pytest.raises(NotFresh):
        verifier.verify(evidence, at=now, challenge=Challenge(b"sixteen bytes, +"))


def test_sealing_keys_are_the_enclaves_own(directory: Path) -> None:
    paths = ["/dev/attestation/keys/_sgx_mrenclave", "/dev/attestation/keys/_sgx_mrsigner"]
    first, _ = played("sgx", directory, *paths)
    again, _ = played("sgx", directory, *paths)
    assert [len(bytes.fromhex(first[path])) for path in paths] == [16, 16]
    assert first == again
    assert len(set(first.values())) == 2


@pytest.mark.parametrize("name", ["native", "sme", "trustzone"])
def test_without_attestation_there_are_no_such_files(name: str, directory: Path) -> None:
    run = Run()
    kind = native_kind(Architecture.X86_64) if name == "native" else kind_of(name)
    image = read_image(binary(directory, kind.architecture).read_bytes(), "reader")
    machine = kind.make(SMALL, run.terminal(), Keystore(directory / "store"))
    try:
        machine.launch(image)
        provide_attestation(machine)
        machine.start(["program", "nonce=x", QUOTE], {})
        assert machine.run().status == 7
    finally:
        machine.close()
    assert run.output.decode().splitlines() == [
        "nonce: No such file or directory", f"{QUOTE}: No such file or directory",
    ]  # fmt: skip
