"""Hosts that tamper with a launch, on every machine; and what a host that listens to all of it learns of the secret."""

import json
import secrets
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.forge.emulated_sev import quick_keystore
from tests.machines.build import program
from tests.machines.running import Run

from cloister.app.launching import Launch, Owner, Secret, Tampering, changed_program
from cloister.app.launching_sev import SevLaunch, sev_owner
from cloister.cli import main
from cloister.emulate.catalogue import kind_of
from cloister.emulate.host import HostView
from cloister.emulate.launch_step import Stage
from cloister.emulate.machine import Machine, Shape
from cloister.emulate.secret_channel import SecretReceiver, open_data, seal_data, seal_for
from cloister.emulate.sev.launch_steps import Tampering as SevTampering
from cloister.emulate.shared import BounceBuffer
from cloister.emulate.terminal import unsafe_plain_terminal
from cloister.emulate.vendors.keystore import Keystore
from cloister.errors import SignatureInvalid
from cloister.measure.image import Architecture, Image, read_image
from cloister.measure.program import MEASURED

SEV = ("sev", "sev-es")
OTHERS = tuple(name for name in MEASURED if name not in SEV)
ENCRYPTED = tuple(name for name in MEASURED if name != "keystone")
"""Keystone keeps the host out by PMP alone: its DRAM is plain."""

SOURCE = """
#include <stdio.h>
int main(void) {
    static char secret[64];
    FILE *file = fopen("/run/secrets/secret", "r");
    if (!file) { puts("no secret"); return 1; }
    printf("%zu bytes: %s\\n", fread(secret, 1, sizeof secret - 1, file), secret);
    fflush(stdout);
    getchar();  /* the adversary acts while it waits */
    return 0;
}
"""


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("tampering")
    quick_keystore(found)
    (found / "holder.c").write_text(SOURCE)
    return found


@pytest.fixture(params=list(MEASURED))
def name(request: pytest.FixtureRequest) -> str:
    """Every machine that measures what it launches."""
    return str(request.param)


def binary(directory: Path, architecture: Architecture) -> Path:
    path = directory / f"holder-{architecture}"
    if not path.exists():
        path.write_bytes(program(directory / "holder.c", architecture))
        path.chmod(0o755)
    return path


def launch(
    name: str, directory: Path, tampering: str, capfd: pytest.CaptureFixture[str]
) -> tuple[int, list[dict[str, object]]]:
    """Exit status of `cloister launch`, and its messages."""
    secret = directory / "secret"
    secret.write_bytes(secrets.token_hex(16).encode())
    command = ["launch", "--json", "--tee", name, "--tamper", tampering, "--keys", str(directory / "store")]
    path = binary(directory, kind_of(name).architecture)
    status = main([*command, "--secret-file", str(secret), "--", str(path)])
    printed = capfd.readouterr()
    assert secret.read_text() not in printed.out
    if status:
        assert secret.read_text() not in printed.err
    *steps, last = [json.loads(line) for line in printed.out.splitlines()]
    assert last["accepted"] is (status == 0)
    assert all(step["ok"] for step in steps[:-1])
    return status, steps


CASES = [
    (machine, one)
    for machine in OTHERS
    for one in Tampering
    if one is not Tampering.NONE and (machine, one) != ("keystone", Tampering.DEBUG)  # which has no debug mode
]


@pytest.mark.parametrize(("machine", "tampering"), CASES)
def test_whatever_the_host_does_the_secret_stays(
    machine: str, tampering: Tampering, directory: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    status, steps = launch(machine, directory, tampering, capfd)
    last = steps[-1]
    assert (status, last["ok"]) == (5, False)
    sent = any(step["sender"] == "owner" and step["stage"] == Stage.SECRET for step in steps)
    assert sent is (tampering is Tampering.CHANGED_SECRET)  # that one is sealed for the right key, then damaged
    assert last["receiver"] == ("owner" if not sent else last["receiver"])
    expected = {
        Tampering.CHANGED_PROGRAM: "another program was launched",
        Tampering.DEBUG: "debug",
        Tampering.OLD_EVIDENCE: "does not contain the nonce",
        Tampering.OWN_KEY: "does not contain the nonce",
        Tampering.CHANGED_SECRET: "changed on its way",
    }
    assert expected[tampering] in str(last["failure"]).lower().replace("debugged", "debug")


@pytest.mark.parametrize("tampering", [one for one in SevTampering if one is not SevTampering.NONE])
@pytest.mark.parametrize("machine", SEV)
def test_sev_dialogues_end_where_the_tampering_is_noticed(
    machine: str, tampering: SevTampering, directory: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    status, steps = launch(machine, directory, tampering, capfd)
    stages = {
        SevTampering.SWAPPED_PDH: (Stage.DEPLOY, "guest owner"),
        SevTampering.ALTERED_POLICY: (Stage.LAUNCH, "security processor"),
        SevTampering.CHANGED_IMAGE: (Stage.MEASURE, "guest owner"),
        SevTampering.OLD_SECRET: (Stage.SECRET, "security processor"),
        SevTampering.CHANGED_SECRET: (Stage.SECRET, "security processor"),
    }
    assert status == 5
    assert (steps[-1]["stage"], steps[-1]["receiver"]) == stages[tampering]


def test_a_changed_program_measures_otherwise(name: str, directory: Path, capfd: pytest.CaptureFixture[str]) -> None:
    status, steps = launch(name, directory, "changed-program", capfd)
    assert status == 5
    assert steps[-1]["expected"] != steps[-1]["actual"]
    assert steps[-1]["expected"]
    status, _ = launch(name, directory, "none", capfd)
    assert status == 0


class Adversary:
    """Whoever is on the host: keeps every message of the launch, everything in the bounce buffer, every register."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.heard: list[bytes] = []
        self.dram = b""
        put = BounceBuffer.put

        def listening(buffer: BounceBuffer, data: bytes) -> None:
            self.heard.append(bytes(data))
            put(buffer, data)

        monkeypatch.setattr(BounceBuffer, "put", listening)

    def sees(self, view: HostView) -> None:
        """The registers that an exit shows."""
        self.heard.extend(value.to_bytes(64, "little") for value in view.registers.values())


def dialogue(machine: Machine, name: str, image: Image, secret: Secret) -> Launch | SevLaunch:
    """With data that hold the secret once more."""
    vouching, data = machine.vouching(datetime.now(UTC)), b"data: " + secret.value
    if name in SEV:
        return SevLaunch(machine, image, sev_owner(name, image, secret, vouching, with_data=True), secret, data=data)
    return Launch(machine, image, Owner(name, image, secret, vouching, data))


def test_the_host_hears_everything_and_never_the_secret(
    name: str, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adversary, value = Adversary(monkeypatch), secrets.token_hex(16).encode()
    kind = kind_of(name)
    made: list[Machine] = []

    def dump(_count: int) -> None:
        """While the program waits, with the secret in its memory: all of DRAM."""
        made[0].settle()
        adversary.dram = b"".join(bytes(made[0].dram.page(page)) for page in range(made[0].shape.memory))

    run = Run(typed=[b"\n"], waiting=dump)
    machine = kind.make(Shape(memory=8192, frames=512), run.terminal(), Keystore(directory / "store"))
    made.append(machine)
    image = read_image(binary(directory, kind.architecture).read_bytes(), "holder")
    try:
        machine.host.on_exit = adversary.sees
        launched = dialogue(machine, name, image, Secret("secret", value))
        adversary.heard += [step.message for step in launched.steps()]
        assert launched.accepted
        machine.start(["program"], {})
        assert machine.run().status == 0
    finally:
        machine.close()
    assert bytes(run.output) == b"32 bytes: " + value + b"\n"  # the owner's terminal
    assert len(adversary.heard) > 10
    assert not any(value[at : at + 8] in one for one in adversary.heard for at in range(0, len(value), 8))
    assert (value in adversary.dram) is (name not in ENCRYPTED)


def test_on_a_plain_console_the_same_search_finds_it(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: what the program prints crosses to the host in plain."""
    adversary, value = Adversary(monkeypatch), secrets.token_hex(16).encode()
    terminal = unsafe_plain_terminal(lambda _: b"", lambda _: None)
    machine = kind_of("tdx").make(Shape(memory=8192, frames=512), terminal, Keystore(directory / "store"))
    try:
        image = read_image(binary(directory, Architecture.X86_64).read_bytes(), "holder")
        launched = dialogue(machine, "tdx", image, Secret("secret", value))
        adversary.heard += [step.message for step in launched.steps()]
        assert not any(value in one for one in adversary.heard)
        machine.start(["program"], {})
        assert machine.run().status == 0
    finally:
        machine.close()
    assert any(value in one for one in adversary.heard)


def test_secrets_are_sealed_for_one_receiver() -> None:
    receiver, other = SecretReceiver(), SecretReceiver()
    packet = seal_for(receiver.public, b"secret")
    assert receiver.open(packet) == b"secret"
    assert seal_for(receiver.public, b"secret") != packet
    attempts: list[tuple[SecretReceiver, bytes]] = [(other, packet), (receiver, b""), (receiver, packet[:-1])]
    attempts += [(receiver, packet[:at] + bytes([packet[at] ^ 1]) + packet[at + 1 :]) for at in range(len(packet))]
    attempts += [(receiver, bytes(32) + packet[32:])]  # a key of small order
    for who, what in attempts:
        with pytest.raises(SignatureInvalid):
            who.open(what)


def test_data_are_opened_with_their_key_and_unchanged() -> None:
    key, sealed = seal_data(b"data")
    assert open_data(key, sealed) == b"data"
    assert b"data" not in sealed
    changed = [sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :] for at in range(len(sealed))]
    for wrong_key, what in [(key, one) for one in changed] + [(bytes(32), sealed), (b"", sealed)]:
        with pytest.raises(SignatureInvalid):
            open_data(wrong_key, what)


def test_owners_do_not_print_their_secret() -> None:
    assert "hidden" not in repr(Secret("name", b"hidden"))


def test_the_change_is_one_bit(directory: Path) -> None:
    image = read_image(binary(directory, Architecture.X86_64).read_bytes(), "holder")
    before, after = (b"".join(page.content for page in one.pages) for one in (image, changed_program(image)))
    assert (int.from_bytes(before, "big") ^ int.from_bytes(after, "big")).bit_count() == 1
