"""`cloister session` against a server of its own, over TLS: upload, show, diff, list, rotate, revoke, exit codes."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.forge.sessions import public_pem
from tests.services.serve_process import Running, serving

from cloister.broker.session.canonical import session_hash
from cloister.broker.session.read import read_session
from cloister.broker.session.read_people import fingerprint
from cloister.cli import main
from cloister.result.algorithms import Algorithm
from cloister.result.signing import SigningKey

VALUE = "planted-secret-value"
MEASUREMENT = f"software:measurement={'ab' * 32}"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    directory = tmp_path_factory.mktemp("sessions")
    with serving(directory) as made:
        token = directory / "token"
        token.write_text(made.token + "\n")
        token.chmod(0o600)
        yield made


def at(server: Running, *words: str, key: Path | None = None, token: bool = True) -> int:
    """Run `cloister session` against the server, with the token or a key or both."""
    where = ["--url", server.url, "--ca", str(server.state / "tls.pem")]
    who = ["--admin-token-file", str(server.state.parent / "token")] if token else []
    signed = [] if key is None else ["--key", str(key)]
    return main(["session", *words, *where, *who, *signed])


def key_file(path: Path, key: SigningKey) -> Path:
    path.write_bytes(key.to_pem())
    path.chmod(0o600)
    return path


def write(path: Path, name: str, *, extra: str = "", value: str = VALUE, predecessor: str = "") -> str:
    before = f'predecessor: "{predecessor}"\n' if predecessor else ""
    path.write_text(
        f'name: {name}\nversion: "1"\nsalt: "00112233445566778899aabbccddeeff"\n{before}'
        f'secrets:\n  - {{ name: given, kind: ascii, value: "{value}" }}\n'
        f"  - {{ name: made, kind: ascii, generate: {{}} }}\n{extra}"
    )
    path.chmod(0o600)
    return str(path)


def identity(file: str) -> str:
    return session_hash(read_session(Path(file)))


def test_from_create_to_upload_as_the_server_says(
    server: Running, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = str(tmp_path / "demo.yaml")
    assert main(["session", "create", "--name", "demo", "--measurement", MEASUREMENT, "-o", made]) == 0
    assert at(server, "upload", made) == 0
    said = capsys.readouterr()
    assert said.out == f"demo: in effect, number 1, hash {identity(made)}\n"
    assert f"cloister run --broker {server.url} --ca {server.state}/tls.pem --session demo -- PROGRAM" in said.err
    assert at(server, "upload", made) == 0
    assert "in effect already" in capsys.readouterr().err


def test_an_update_from_its_beginning_to_its_end(
    server: Running, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = write(tmp_path / "old.yaml", "team/app")
    assert at(server, "upload", old, "--json") == 0
    assert json.loads(capsys.readouterr().out)["number"] == 1
    new = write(tmp_path / "new.yaml", "team/app", value="another-value", extra='access_policy: { read: ["ANY"] }\n')
    assert at(server, "diff", new, "--strict") == 10
    said = capsys.readouterr().err
    assert "the value of `given` changed" in said
    assert "WEAKENS: who may read the session changed from CREATOR to ANY" in said
    assert at(server, "upload", new) == 2
    said = capsys.readouterr().err
    assert f"it replaces no session, but {identity(old)} is in effect" in said
    assert f'`predecessor: "{identity(old)}"`' in said
    assert f"cloister session diff {new}" in said
    new = write(
        tmp_path / "new.yaml", "team/app", value="another-value", extra='access_policy: { read: ["ANY"] }\n',
        predecessor=identity(old),
    )  # fmt: skip
    assert at(server, "upload", new) == 0
    shown = capsys.readouterr()
    assert shown.out == f"team/app: in effect, number 2, hash {identity(new)}\n"
    assert "the value of `given` changed" in shown.err
    assert "another-value" not in shown.err
    assert at(server, "diff", new, token=False, key=key_file(tmp_path / "any.pem", SigningKey.generate())) == 0
    assert "no change in meaning" in capsys.readouterr().err


def test_what_is_in_effect_is_shown_without_values(
    server: Running, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = write(tmp_path / "shown.yaml", "team/shown")
    assert at(server, "upload", file) == 0
    capfd.readouterr()
    assert at(server, "show", "team/shown") == 0
    said = capfd.readouterr()
    assert f"hash            {identity(file)}" in said.err
    assert "ascii, made by the broker (24 characters)" in said.err
    assert at(server, "show", "team/shown", "--json") == 0
    told = json.loads(capfd.readouterr().out)
    assert told["hash"] == identity(file)
    assert VALUE not in json.dumps(told) + said.err + said.out
    assert at(server, "show", "team/shown", "--canonical") == 0
    assert main(["session", "show", file, "--canonical"]) == 0
    both = capfd.readouterr().out
    assert both[: len(both) // 2] == both[len(both) // 2 :]


def test_list_rotate_and_revoke(server: Running, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path / "end.yaml", "team/end")
    assert at(server, "upload", file) == 0
    capsys.readouterr()
    assert at(server, "rotate", "team/end", "made") == 0
    assert capsys.readouterr().out == "team/end: number 2, new values of made\n"
    assert at(server, "rotate", "team/end", "given") == 2
    assert at(server, "rotate", "team/end", "none") == 2
    assert at(server, "list") == 0
    listed = capsys.readouterr().out
    assert f"team/end  number 2  {identity(file)}  since " in listed
    assert "team/end  number 1" not in listed
    assert at(server, "list", "--all", "--json") == 0
    found = json.loads(capsys.readouterr().out)["sessions"]
    assert [one["number"] for one in found if one["name"] == "team/end"] == [1, 2]
    assert at(server, "revoke", "team/end") == 0
    assert at(server, "revoke", "team/end") == 4
    assert at(server, "show", "team/end") == 4
    assert at(server, "upload", file) == 4
    assert at(server, "list") == 0
    assert f"team/end  number 2  {identity(file)}  revoked " in capsys.readouterr().out


def test_an_owner_s_key_is_enough_after_the_first_time(
    server: Running, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key = key_file(tmp_path / "me.pem", SigningKey.generate(Algorithm.ES384))
    other = key_file(tmp_path / "other.pem", SigningKey.generate(Algorithm.EDDSA))
    file = write(tmp_path / "own.yaml", "team/own")
    assert at(server, "upload", file, key=key, token=False) == 4
    assert at(server, "upload", file, key=key) == 0
    assert at(server, "show", "team/own", key=key, token=False) == 0
    assert at(server, "show", "team/own", key=other, token=False) == 4
    assert at(server, "show", "team/own") == 4
    new = write(tmp_path / "own.yaml", "team/own", value="another-value", predecessor=identity(file))
    assert at(server, "upload", new, key=other, token=False) == 4
    assert at(server, "upload", new, key=key, token=False) == 0
    assert at(server, "rotate", "team/own", "made", key=key, token=False) == 0
    assert at(server, "revoke", "team/own", key=other, token=False) == 4
    assert at(server, "revoke", "team/own", key=key, token=False) == 0
    capsys.readouterr()
    assert at(server, "list", key=key, token=False) == 5


def test_owners_approve_and_somebody_uploads(
    server: Running, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    alice = SigningKey.generate(Algorithm.EDDSA)
    key = key_file(tmp_path / "alice.pem", alice)
    pem = public_pem(alice).strip().replace("\n", "\n        ")
    people = f"approvals:\n  threshold: 1\n  owners:\n    - name: alice\n      key: |\n        {pem}\n"
    file = write(tmp_path / "agreed.yaml", "team/agreed", extra=people)
    assert at(server, "upload", file) == 4
    assert "0 of 1 owners have signed; missing: alice" in capsys.readouterr().err
    approval = str(tmp_path / "alice.json")
    assert main(["session", "sign", file, "--key", str(key), "-o", approval]) == 0
    assert at(server, "upload", file, "--approval", approval) == 0
    new = write(tmp_path / "more.yaml", "team/agreed", extra=people, value="another-value", predecessor=identity(file))
    assert main(["session", "sign", new, "--key", str(key)]) == 2
    assert at(server, "sign", new, "--against", file, key=key) == 2
    assert at(server, "sign", file, key=key) == 2
    capsys.readouterr()
    assert at(server, "sign", new, "-o", str(tmp_path / "more.json"), key=key) == 0
    assert "the value of `given` changed" in capsys.readouterr().err
    assert at(server, "upload", new, "--approval", str(tmp_path / "more.json")) == 0
    assert at(server, "rotate", "team/agreed", "made") == 4
    assert "owners must agree" in capsys.readouterr().err
    (tmp_path / "none.json").write_text("{}")
    assert at(server, "upload", file, "--approval", str(tmp_path / "none.json")) == 2
    assert len(fingerprint(alice.spki)) == 64


def test_what_goes_wrong_has_its_code(
    server: Running, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CLOISTER_ADMIN_TOKEN", raising=False)
    file = write(tmp_path / "x.yaml", "team/x")
    assert at(server, "show", "team/none") == 2
    assert at(server, "show", "no name") == 2
    assert at(server, "upload", file, token=False) == 2
    assert "no administrator's token" in capsys.readouterr().err
    assert main(["session", "diff", file]) == 2
    assert main(["session", "diff", file, file, "--url", server.url]) == 2
    assert (
        main(["session", "list", "--url", "https://127.0.0.1:9", "--admin-token-file", f"{server.state}/../token"]) == 6
    )
    key = key_file(tmp_path / "k.pem", SigningKey.generate())
    assert main(["session", "show", "team/x", "--url", "https://127.0.0.1:9", "--key", str(key)]) == 6
    assert main(["session", "show", "team/x", "--url", server.url, "--key", str(key)]) == 6
    assert "certificate" in capsys.readouterr().err
    key.chmod(0o644)
    assert at(server, "show", "team/x", key=key, token=False) == 2
