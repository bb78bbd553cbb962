"""`cloister shield`, and what `cloister run --shield` hands to the runtime."""

import json
import os
from pathlib import Path

import pytest
from tests.services.start_block import read_again

from cloister import cli
from cloister.shield.volume.keys import VolumeKey
from cloister.shield_policy.block import ShieldBlock
from cloister.shield_policy.entries import FilesEntry
from cloister.shield_policy.words import FileKind

POLICY = '[[shield.files]]\npath = "/data"\nkind = "encrypted"\nvolume = "app.volume"\nunsafe_key_file = "app.key"\n'


class Executed(Exception):
    """In place of the runtime."""


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    VolumeKey.make(tmp_path / "app.key").close()
    path = tmp_path / "shield.toml"
    path.write_text(POLICY)
    return path


def executed(monkeypatch: pytest.MonkeyPatch, *words: str) -> list[str]:
    """The runtime's command line."""
    found: list[list[str]] = []

    def execv(path: str, command: list[str]) -> None:
        assert path == command[0]
        found.append(command)
        raise Executed

    monkeypatch.setattr(os, "execv", execv)
    monkeypatch.setattr("cloister.launch.command.runtime_path", lambda: "/runtime")
    monkeypatch.setattr("signal.signal", lambda *_: None)
    with pytest.raises(Executed):
        cli.main(["run", *words])
    return found[0]


def test_the_block_goes_through_a_pipe_and_nowhere_else(
    policy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PLANTED", "variable")
    runtime, start, shield, *rest = executed(monkeypatch, "--shield", str(policy), "--", "/bin/echo", "argument")
    assert (runtime, shield, rest) == ("/runtime", "--shield", ["--", "/bin/echo", "/bin/echo"])
    descriptor = int(start.removeprefix("--start-fd="))
    assert os.get_inheritable(descriptor)
    assert os.readlink(f"/proc/self/fd/{descriptor}").startswith("pipe:")
    with os.fdopen(descriptor, "rb") as pipe:
        found = read_again(pipe.read())
    assert found["command"] == [b"/bin/echo", b"argument"]
    assert found["environment"][b"PLANTED"] == b"variable"
    assert (found["pwd"], found["files"]) == (b"", {})
    key = (policy.parent / "app.key").read_bytes()[16:]
    volume = str(policy.parent / "app.volume")
    entry = FilesEntry(kind=FileKind.ENCRYPTED, path="/data", container=volume, key=key, name="/data")
    assert ShieldBlock.parse(found["shield"]) == ShieldBlock(entries=(entry,))
    said = capsys.readouterr().err
    assert "an older volume in place of" in said
    assert key.hex() not in said
    assert sorted(one.name for one in policy.parent.iterdir()) == ["app.key", "shield.toml"]


def test_a_root_that_is_given_needs_no_warning(
    policy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    policy.write_text(POLICY + f'root = "3:{"ab" * 32}"\n')
    start = executed(monkeypatch, "--shield", str(policy), "--", "/bin/true")[1]
    os.close(int(start.removeprefix("--start-fd=")))
    assert not capsys.readouterr().err


def test_without_shields_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert executed(monkeypatch, "/bin/echo", "a") == ["/runtime", "--", "/bin/echo", "/bin/echo", "a"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--start-fd", "0"], "--shield and --start-fd exclude each other"),
        (["--unsafe-no-guard"], "--shield and --unsafe-no-guard exclude each other"),
        (["--broker", "https://x", "--session", "a"], "--shield and --broker exclude each other"),
        (["--tee", "sgx"], "--shield and --tee exclude each other"),
    ],
)
def test_what_cannot_be_meant_together(
    policy: Path, words: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "execv", lambda *_: pytest.fail("something was run"))
    assert cli.main(["run", "--shield", str(policy), *words, "--", "/bin/true"]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("kind", "kinds"), "shield.toml:3: shield.files.kinds: unknown key"),
        (("app.key", "other.key"), "other.key is not there; `cloister volume create"),
        (("unsafe_key_file", "key"), "is a secret of a session"),
    ],
)
def test_a_policy_that_is_wrong_runs_nothing(
    policy: Path,
    change: tuple[str, str],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(os, "execv", lambda *_: pytest.fail("something was run"))
    policy.write_text(POLICY.replace(*change))
    assert cli.main(["run", "--shield", str(policy), "--", "/bin/true"]) == 2
    assert said in capsys.readouterr().err


def test_check_says_what_is_dangerous(policy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["shield", "check", str(policy)]) == 10
    captured = capsys.readouterr()
    assert "/data                        encrypted: ciphertext, but the host has the key" in captured.out
    assert f"{policy}:1: dangerous: shield.unsafe_key_file: this machine's administrator reads" in captured.out
    assert captured.err == f"{policy}: shield policy: 1 dangerous, 1 risky\n"


def test_check_strict_counts_what_is_risky(policy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    policy.write_text(POLICY.replace('unsafe_key_file = "app.key"', 'key = "data"'))
    assert cli.main(["shield", "check", str(policy)]) == 0
    assert cli.main(["shield", "check", "--strict", str(policy)]) == 10
    capsys.readouterr()
    assert cli.main(["shield", "check", "--json", str(policy)]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [one["severity"] for one in document["findings"]] == ["risky"]
    assert document["files"][0]["key"] == {"secret": "data"}


def test_show_lists_what_the_program_finds(policy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    policy.write_text(
        '[shield]\nunsafe_open_network = true\n[[shield.files]]\npath = "/tmp"\nkind = "memory"\n'
        f'[[shield.listen]]\nport = 8443\nprotocol = "ra-tls"\nclients = ["sha256:{"ab" * 32}"]\n'
        '[[shield.connect]]\naddress = "::1"\nport = 53\nprotocol = "plain"\nunsafe_plain = true\n'
        '[shield.console]\nkey = "console"\nterminal = true\n'
    )
    assert cli.main(["shield", "show", str(policy)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "/tmp                         memory: gone when the program ends, never on a disk",
        "other paths                  refused",
        "listens on 8443              ra-tls; certificate with evidence, made inside; 1 known clients only",
        "connects to [::1]:53         plain: everybody on the way reads and changes it",
        "other connections            open, in the clear",
        "console                      encrypted, a terminal; key console of the session",
    ]
    assert cli.main(["shield", "show", "--json", str(policy)]) == 0
    assert json.loads(capsys.readouterr().out)["listen"][0]["clients"] == ["sha256:" + "ab" * 32]


def test_what_is_no_policy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["shield", "show", str(tmp_path / "missing")]) == 2
    (tmp_path / "bytes").write_bytes(b"\xff")
    assert cli.main(["shield", "show", str(tmp_path / "bytes")]) == 2
    assert "not UTF-8 text" in capsys.readouterr().err


def test_frameworks_have_their_own_shields(policy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["run", "--shield", str(policy), "--tee", "sgx", "--with", "gramine", "--", "/bin/true"]
    assert cli.main(words) == 2
    assert "--shield is not for programs in a framework" in capsys.readouterr().err
