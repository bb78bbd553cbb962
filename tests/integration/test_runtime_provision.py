"""How the runtime gets a program's secrets from a carrier, and that it refuses whatever is not in order."""

import hashlib
import os
import socket
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.forge.carrier import NONCE, SENDER, STRANGER, PlayedCarrier, block, manifest, report_data, seal, send_frame

from cloister.evidence.software import libraries_digest
from cloister.launch import _abi
from cloister.launch.runtime_file import runtime_path

pytestmark = [pytest.mark.needs_runtime, pytest.mark.needs_program("cc")]

SHOW = r"""
#include <stdio.h>
#include <unistd.h>
extern char **environ;
int main(int argc, char **argv) {
    char directory[4096];
    for (int i = 0; i < argc; i++) printf("argument %s\n", argv[i]);
    for (char **one = environ; *one; one++) printf("variable %s\n", *one);
    printf("directory %s\n", getcwd(directory, sizeof directory));
    return 7;
}
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A static program that shows what it was given."""
    folder = tmp_path_factory.mktemp("program")
    source, built = folder / "show.c", folder / "show"
    source.write_text(SHOW)
    subprocess.run(["cc", "-O1", "-static", "-o", built, source], check=True, timeout=60)
    return built


def start(carrier: Path, program: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [runtime_path(), f"{_abi.OPTION_ATTESTER}{carrier}", "--", str(program), *(arguments or ("show",))],
        capture_output=True, text=True, check=False, timeout=60, env={"HOSTS": "choice", "PATH": os.environ["PATH"]},
    )  # fmt: skip


def test_a_program_gets_what_the_broker_encrypted(tmp_path: Path, program: Path) -> None:
    plaintext = block([b"show", b"--key", b"s3cret"], {b"TOKEN": b"t0ken"}, directory=str(tmp_path).encode())
    with PlayedCarrier(tmp_path / "c", plaintext) as carrier:
        done = start(tmp_path / "c", program)
    assert done.returncode == 7, done.stderr
    assert done.stdout.splitlines() == [
        "argument show", "argument --key", "argument s3cret", "variable TOKEN=t0ken",
        f"variable CLOISTER_ATTESTER={tmp_path / 'c'}", f"directory {tmp_path}",
    ]  # fmt: skip
    [statement], [quote] = carrier.heard.of(_abi.FRAME_STATEMENT), carrier.heard.of(_abi.FRAME_QUOTE)
    assert statement[:32] == hashlib.sha256(program.read_bytes()).digest()
    assert statement[32:64] == hashlib.sha256(b"\xa0").digest(), "an empty map in CBOR"
    assert quote == report_data(NONCE, carrier.key)
    assert carrier.heard.of(_abi.FRAME_HELLO) == [struct.pack("<II", _abi.ABI_VERSION, _abi.HELLO_GUARDED)]


def test_keys_are_used_once(tmp_path: Path, program: Path) -> None:
    with PlayedCarrier(tmp_path / "c", block()) as carrier:
        for _ in range(4):
            assert start(tmp_path / "c", program).returncode == 7
    assert len({one[-32:] for one in carrier.heard.of(_abi.FRAME_STATEMENT)}) == 4


def test_arguments_are_the_users_where_the_session_has_none(tmp_path: Path, program: Path) -> None:
    with PlayedCarrier(tmp_path / "c", block()):
        done = start(tmp_path / "c", program, "show", "one", "two")
    assert [line for line in done.stdout.splitlines() if line.startswith("argument")] == [
        "argument show", "argument one", "argument two"
    ]  # fmt: skip


def test_arguments_are_the_sessions_alone(tmp_path: Path, program: Path) -> None:
    with PlayedCarrier(tmp_path / "c", block([b"show", b"safe"])):
        done = start(tmp_path / "c", program, "show", "--unsafe")
    assert (done.returncode, done.stdout) == (_abi.EXIT_NOT_PROVISIONED, "")
    assert "the session says the command line" in done.stderr


def test_the_carriers_refusal_is_shown_plainly(tmp_path: Path, program: Path) -> None:
    def refuse(carrier: PlayedCarrier, connection: socket.socket) -> None:
        carrier.hear(connection)
        send_frame(connection, _abi.FRAME_REFUSED, struct.pack("<I", 4) + b"denied: \x1b[31mno rule\nnames it")

    with PlayedCarrier(tmp_path / "c", b"", answers=refuse):
        done = start(tmp_path / "c", program)
    assert (done.returncode, done.stdout) == (_abi.EXIT_NOT_PROVISIONED, "")
    assert done.stderr == "cloister: denied: ?[31mno rule\nnames it\n"


Lie = Callable[[PlayedCarrier, socket.socket, bytes], None]


def sealed_as(make: Callable[[bytes], bytes]) -> Lie:
    def lie(carrier: PlayedCarrier, connection: socket.socket, key: bytes) -> None:
        send_frame(connection, _abi.FRAME_NONCE, NONCE.encode())
        carrier.hear(connection)
        send_frame(connection, _abi.FRAME_SEALED, make(key))

    return lie


def nonce_of(nonce: bytes) -> Lie:
    def lie(carrier: PlayedCarrier, connection: socket.socket, key: bytes) -> None:
        del key
        send_frame(connection, _abi.FRAME_NONCE, nonce)
        carrier.hear(connection)
        raise AssertionError("it answered")

    return lie


def raw(data: bytes) -> Lie:
    return lambda _carrier, connection, _key: connection.sendall(data)


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


OTHER_KEY = bytes(range(1, 33))
LIES: dict[str, Lie] = {
    "broker's key": sealed_as(lambda key: flipped(seal(key, block()), 3)),
    "encapsulated key": sealed_as(lambda key: flipped(seal(key, block()), 35)),
    "ciphertext": sealed_as(lambda key: flipped(seal(key, block()), 72)),
    "another sender": sealed_as(lambda key: seal(key, block(), sender=STRANGER)),
    "no sender": sealed_as(lambda key: seal(key, block(), sender=None)),
    "a sender of low order": sealed_as(lambda key: bytes(32) + seal(key, block())[32:]),
    "tag": sealed_as(lambda key: flipped(seal(key, block()), -1)),
    "another key": sealed_as(lambda _: seal(OTHER_KEY, block())),
    "another protocol": sealed_as(lambda key: seal(key, block(), b"something else")),
    "a point of low order": sealed_as(lambda key: seal(key, block())[:32] + bytes(32) + seal(key, block())[64:]),
    "cut": sealed_as(lambda key: seal(key, block())[:72]),
    "empty": sealed_as(lambda _: b""),
    "nonce with another key": nonce_of(b'x","tee-pubkey":{"alg":"HPKE-4"},"y":"'),
    "empty nonce": nonce_of(b""),
    "long nonce": nonce_of(b"A" * 256),
    "unknown kind": raw(struct.pack("<II", 99, 0)),
    "out of turn": raw(struct.pack("<II", _abi.FRAME_SEALED, 4) + b"1234"),
    "huge": raw(struct.pack("<II", _abi.FRAME_NONCE, 0xFFFFFFFF)),
    "half a header": raw(b"\x04\0"),
    "half a frame": raw(struct.pack("<II", _abi.FRAME_NONCE, 100) + b"A"),
    "nothing": raw(b""),
}


@pytest.mark.parametrize("lie", LIES)
def test_lies_start_nothing(tmp_path: Path, program: Path, lie: str) -> None:
    def answers(carrier: PlayedCarrier, connection: socket.socket) -> None:
        carrier.hear(connection)
        send_frame(connection, _abi.FRAME_MANIFEST, manifest())
        _, statement = carrier.hear(connection)
        LIES[lie](carrier, connection, statement[-32:])

    with PlayedCarrier(tmp_path / "c", b"", answers=answers):
        done = start(tmp_path / "c", program)
    assert (done.returncode, done.stdout) == (_abi.EXIT_NOT_PROVISIONED, ""), done.stderr
    assert done.stderr.startswith("cloister: ")


DAMAGED = {
    "nothing": b"",
    "cut": block([b"show"], {b"A": b"b"})[:-6],
    "longer": block() + b"\0",
    "many": struct.pack("<II", 0xFFFFFFFF, 0),
    "long": struct.pack("<III", 1, 0, 0xFFFFFFF0) + b"x",
    "files": block()[:-4] + struct.pack("<I", 5),
}


@pytest.mark.parametrize("what", DAMAGED)
def test_damaged_blocks_start_nothing(tmp_path: Path, program: Path, what: str) -> None:
    with PlayedCarrier(tmp_path / "c", DAMAGED[what]):
        done = start(tmp_path / "c", program)
    assert (done.returncode, done.stdout) == (_abi.EXIT_INTERNAL, "")
    assert "damaged" in done.stderr


BAD_MANIFESTS = {
    "nothing": b"",
    "cut": manifest({"/lib/a": bytes(32)})[:-1],
    "longer": manifest({"/lib/a": bytes(32)}) + b"\0",
    "many": struct.pack("<II", 0, 0xFFFFFFFF),
    "order": struct.pack("<II", 0, 2) + b"".join(struct.pack("<I", 2) + path + bytes(32) for path in (b"/b", b"/a")),
    "twice": struct.pack("<II", 0, 2) + b"".join(struct.pack("<I", 2) + path + bytes(32) for path in (b"/a", b"/a")),
    "flags": struct.pack("<II", 1, 0),
}


@pytest.mark.parametrize("what", BAD_MANIFESTS)
def test_bad_manifests_start_nothing(tmp_path: Path, program: Path, what: str) -> None:
    with PlayedCarrier(tmp_path / "c", block(), allowed=BAD_MANIFESTS[what]):
        done = start(tmp_path / "c", program)
    assert (done.returncode, done.stdout) == (_abi.EXIT_NOT_PROVISIONED, ""), done.stderr
    assert "manifest" in done.stderr


def test_no_carrier(tmp_path: Path, program: Path) -> None:
    done = start(tmp_path / "nobody", program)
    assert (done.returncode, done.stdout) == (_abi.EXIT_NOT_PROVISIONED, "")
    assert "--broker" in done.stderr


def test_a_program_that_is_not_there(tmp_path: Path) -> None:
    with PlayedCarrier(tmp_path / "c", block()) as carrier:
        done = start(tmp_path / "c", tmp_path / "missing")
    assert done.returncode == _abi.EXIT_NOT_FOUND, done.stderr
    assert not carrier.heard.of(_abi.FRAME_STATEMENT)
    assert done.stdout == ""


def test_secrets_need_the_guard(tmp_path: Path, program: Path) -> None:
    for option in (f"{_abi.OPTION_ATTESTER}{tmp_path / 'c'}", f"{_abi.OPTION_MANIFEST_FD}0"):
        words = [runtime_path(), _abi.OPTION_UNSAFE_NO_GUARD, option, "--", str(program), "show"]
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
        assert (done.returncode, done.stdout) == (_abi.EXIT_USAGE, "")
        assert "--unsafe-no-guard excludes" in done.stderr


BROKERS = {"named": SENDER, "another": STRANGER}


@pytest.mark.parametrize("who", BROKERS)
def test_a_broker_that_the_manifest_names_is_the_only_one(tmp_path: Path, program: Path, who: str) -> None:
    allowed = manifest({"broker": BROKERS[who].public_key().public_bytes_raw()})
    with PlayedCarrier(tmp_path / "c", block(), allowed=allowed) as carrier:
        done = start(tmp_path / "c", program)
    if who == "named":
        assert done.returncode == 7, done.stderr
        [statement] = carrier.heard.of(_abi.FRAME_STATEMENT)
        assert statement[32:64] == libraries_digest({"broker": SENDER.public_key().public_bytes_raw()})
    else:
        assert (done.returncode, done.stdout) == (_abi.EXIT_NOT_PROVISIONED, "")
        assert "another broker than the manifest names" in done.stderr
