"""What is wrong with a session is said with file, line, column and what to do; what is right is read as it is meant."""

from typing import Any

import pytest
from tests.forge.sessions import MEASUREMENT, OTHER, SALT, SIGNER, document, public_pem, session, text

from cloister.broker.session.read import parse_session
from cloister.broker.session.session import Given, Imported
from cloister.errors import PolicyError
from cloister.result.algorithms import Algorithm
from cloister.result.signing import SigningKey

START = f'name: app\nversion: "1"\nsalt: "{SALT}"\n'
SERVICE = f"""services:
  - name: web
    attestation:
      - tee: sgx
        measurement: "{MEASUREMENT}"
"""
ALICE = SigningKey.generate(Algorithm.EDDSA)
BOB = SigningKey.generate()


def refusal(yaml: str | bytes) -> str:
    with pytest.raises(PolicyError) as caught:
        parse_session(yaml.encode() if isinstance(yaml, str) else yaml, "s.yaml")
    return str(caught.value)


@pytest.mark.parametrize(
    ("yaml", "place", "says"),
    [
        ("", "1:1", "empty"),
        ("# only a comment\n", "1:1", "empty"),
        ("name: app\nname: app\n", "2:1", "stands twice"),
        ("name: &a app\n", "1:7", "anchor"),
        ("name: *a\n", "1:7", "alias"),
        ("name: !!str app\n", "1:7", "tag"),
        ("name: !ruby/object app\n", "1:7", "tag"),
        ("%YAML 1.1\n---\nname: app\n", "1:1", "directive"),
        ("name: app\n---\nname: app\n", "2:1", "second document"),
        ("<<: {name: app}\n", "1:1", "double quotes"),
        ("? [name]\n: app\n", "1:3", "a key is text"),
        ("name: [app\n", "2:1", "not YAML"),
        ("name: app\n\tversion: x\n", "2:1", "not YAML"),
        ("name: app\r\nversion: 1\r\n", "2:10", "double quotes"),
        ("name: a\u202epp\n", "1:8", "U+202E"),
        ("name: a\u0085pp\n", "1:8", "U+0085"),
        ("name: app\n\x00", "2:1", "U+0000"),
        ("- name\n", "1:1", "write a mapping"),
        ("app\n", "1:1", "write a mapping"),
        ("nmae: app\n", "1:1", "did you mean `name`?"),
        ("volumes: []\n", "1:1", "SCONE's volumes"),
        ("name: app\n", "1:1", "`version` is missing"),
        ("name: a b\n", "1:7", "not a session's name"),
        ("name: no\n", "1:7", "double quotes"),
        ("name: 1:20\n", "1:7", "double quotes"),
        ("name: 010\n", "1:7", "double quotes"),
        ("name: 2026-01-31\n", "1:7", "double quotes"),
        ("name:\n", "1:6", "double quotes"),
        ("name: [app]\n", "1:7", "not a list or mapping"),
        ('name: app\nversion: "0.3"\n', "2:10", "write one of 1"),
        (f"{START}predecessor: abc\n", "4:14", "64 hexadecimal digits"),
        (f"{START}services: web\n", "4:11", "write a list"),
        (f"{START}services: []\n", "4:11", "write 1 to"),
    ],
)
def test_the_file(yaml: str, place: str, says: str) -> None:
    message = refusal(yaml)
    assert message.startswith(f"s.yaml:{place}: ")
    assert says in message


def test_bytes_that_are_no_text() -> None:
    assert refusal(b"name: app\nversion: \xff\n").startswith("s.yaml:2:10: a byte that is not UTF-8")


@pytest.mark.parametrize("escape", [r"\ud800", r"\UFFFFFFFF", r"\U00110000", r"\x", r"\q"])
def test_escapes_that_are_no_character(escape: str) -> None:
    assert "s.yaml:1:" in refusal(f'name: "{escape}"\n')


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        ({"tee": "sgx"}, "any program"),
        ({"tee": "sgx", "measurement": []}, "write 1 to"),
        ({"tee": "sgx", "measurement": "ab"}, "64 hexadecimal digits"),
        ({"tee": "tdx", "measurement": MEASUREMENT}, "96 hexadecimal digits"),
        ({"tee": "sgx", "measurement": "xy" * 32}, "hexadecimal digits"),
        ({"tee": "tpm", "measurement": MEASUREMENT}, "what a machine booted"),
        ({"tee": "vtx", "measurement": MEASUREMENT}, "write one of software, sgx"),
        ({"measurement": MEASUREMENT}, "`tee` is missing"),
        ({"mrenclave": MEASUREMENT}, "write `tee: sgx` and `measurement:`"),
        ({"tee": "sgx", "signer": SIGNER}, "minimum_security_version"),
        ({"tee": "sgx", "signer": SIGNER, "minimum_security_version": 0}, "every enclave of this signer"),
        ({"tee": "tdx", "signer": SIGNER, "minimum_security_version": 0}, "does not say who signed"),
        ({"tee": "sgx", "signer": "ab", "product": 0, "minimum_security_version": 0}, "64 hexadecimal digits"),
        ({"tee": "snp", "signer": "ab" * 48, "product": 0, "minimum_security_version": 0}, "no product number"),
        ({"tee": "sgx", "measurement": MEASUREMENT, "product": 0}, "together with `signer`"),
        ({"tee": "tdx", "measurement": "ab" * 48, "minimum_security_version": 1}, "no security version"),
        ({"tee": "sgx", "measurement": MEASUREMENT, "tolerate": ["Revoked"]}, "write one of"),
        ({"tee": "sgx", "measurement": MEASUREMENT, "tolerate": ["debug-mode"]}, "unsafe_allow_debug"),
        ({"tee": "sgx", "measurement": MEASUREMENT, "ignore_advisories": ["INTEL-SA-1"]}, "add `tolerate:` too"),
        ({"tee": "snp", "measurement": "ab" * 48, "tolerate": ["OutOfDate"]}, "publishes no TCB status"),
        ({"tee": "software", "measurement": MEASUREMENT}, "anchors: [software]"),
        ({"tee": "cca", "measurement": MEASUREMENT}, "anchors: [owner]"),
        ({"tee": "sgx", "measurement": MEASUREMENT, "anchors": ["testing"]}, "write one of hardware"),
        ({"tee": "sgx", "measurement": MEASUREMENT, "claims": {"mrenclave": OTHER}}, "key of its own"),
        ({"tee": "sgx", "measurement": MEASUREMENT, "claims": {"debug": False}}, "key of its own"),
        ({"tee": "sgx", "measurement": MEASUREMENT, "claims": {"rtmr0": "ab"}}, "no claim rtmr0"),
        ({"tee": "sgx", "measurement": MEASUREMENT, "unsafe_allow_debug": "true"}, "without quotes"),
        ({"tee": "sgx", "measurement": MEASUREMENT, "minimum_security_version": "1"}, "without quotes"),
        ({"tee": "sgx", "measurement": MEASUREMENT, "minimum_security_version": -1}, "without quotes, sign"),
        ({"tee": "sgx", "measurement": MEASUREMENT, "minimum_security_version": 1 << 40}, "a number from"),
    ],
)
def test_an_attestation_entry(rule: dict[str, Any], says: str) -> None:
    made = document()
    made["services"][0]["attestation"] = [rule]
    message = refusal(text(made))
    assert says in message
    assert message.startswith("s.yaml:")


def test_a_place_is_that_of_the_value() -> None:
    message = refusal(START + SERVICE.replace(MEASUREMENT, "ab"))
    assert message.startswith("s.yaml:8:22: a mrenclave of sgx has 64")


@pytest.mark.parametrize(
    ("secret", "says"),
    [
        ({"name": "s", "kind": "ascii"}, "exactly one of value, generate and import; here are 0"),
        ({"name": "s", "kind": "ascii", "value": "x", "generate": {}}, "here are 2"),
        ({"name": "s", "kind": "jwt", "generate": {}}, "write jwt-key"),
        ({"name": "s", "kind": "ascii", "size": 20}, "generate: { size: 32 }"),
        ({"name": "s", "kind": "ascii", "value": "Zürich"}, "outside ASCII"),
        ({"name": "s", "kind": "binary", "value": "00ff"}, "hex: or base64:"),
        ({"name": "s", "kind": "binary", "value": "hex:0"}, "not hex"),
        ({"name": "s", "kind": "binary", "value": "base64:x"}, "not base64"),
        ({"name": "s", "kind": "aes-key", "value": "hex:" + "00" * 20}, "16, 24 or 32 bytes"),
        ({"name": "s", "kind": "private-key", "value": "x"}, "no private key in PEM"),
        ({"name": "s", "kind": "x509", "value": "x"}, "no private key in PEM"),
        ({"name": "s", "kind": "x509", "generate": {}}, "needs a subject"),
        ({"name": "s", "kind": "x509", "generate": {"common_name": "$$SCONE::pin$$"}}, "no place here"),
        ({"name": "s", "kind": "ascii", "generate": {"algorithm": "P-256"}}, "has no meaning for a ascii"),
        ({"name": "s", "kind": "aes-key", "generate": {"algorithm": "P-256"}}, "one of AES-256"),
        ({"name": "s", "kind": "ascii", "generate": {"size": 8}}, "a number from 16"),
        ({"name": "s", "kind": "ascii", "import": {"session": "team/app", "secret": "s"}}, "a circle"),
        (
            {"name": "s", "kind": "ascii", "import": {"session": "b", "secret": "s"}, "export": ["c"]},
            "only the session",
        ),
        ({"name": "s", "kind": "ascii", "generate": {}, "export": ["team/app"]}, "does not export to itself"),
        ({"name": "s", "kind": "ascii", "generate": {}, "export": ["b", {"session": "b"}]}, "stands twice"),
        ({"name": "pin", "kind": "ascii", "generate": {}}, "a second secret"),
        ({"name": "s", "kind": "ascii", "value": "a $$SCONE::nowhere$$"}, "no secret of this session"),
        ({"name": "s", "kind": "ascii", "value": "a $$SCONE::s$$"}, "circle: s"),
        ({"name": "s", "kind": "binary", "value": "hex:00$$SCONE::pin$$"}, "not hex"),
        ({"name": "s", "kind": "ascii", "value": "a $$SCONE::unshared$$"}, ":hex$$"),
    ],
)
def test_a_secret(secret: dict[str, Any], says: str) -> None:
    made = document()
    made["secrets"].append(secret)
    assert says in refusal(text(made))


def test_secrets_in_a_circle() -> None:
    made = document()
    made["secrets"] += [
        {"name": "a", "kind": "ascii", "value": "x$$SCONE::b$$"},
        {"name": "b", "kind": "ascii", "value": "x$$CLOISTER::c:hex$$"},
        {"name": "c", "kind": "ascii", "value": "x$$SCONE::a$$"},
        {"name": "d", "kind": "ascii", "value": "leads into it: $$SCONE::a$$"},
    ]
    assert "a circle: a, b, c, d" in refusal(text(made))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"command": "sh -c 'x'"}, "there is no shell"),
        ({"command": "server $HOME"}, "there is no shell"),
        ({"command": "server @@1"}, "of the host"),
        ({"environment": {"A": "@@REGION"}}, "of the host"),
        ({"command": " "}, "an empty command"),
        ({"environment": {"1A": "x"}}, "a variable's name"),
        ({"environment": ["A=x"]}, "write a mapping"),
        ({"environment": {"A": "$$SCONE::nowhere$$"}}, "no secret of this session"),
        ({"environment": {"A": "$$SCONE::pin:crt$$"}}, "can be written as text, hex, base64"),
        ({"environment": {"A": "$$SCONE::unshared$$"}}, "do not fit into text"),
        ({"environment": {"A": "$$SCONE::pin$"}}, "looks like a reference"),
        ({"environment": {"A": "$$scone::pin$$"}}, "looks like a reference"),
        ({"environment": {"A": "$$SCONE:pin$$"}}, "looks like a reference"),
        ({"injection_files": [{"path": "/a", "content": "x$$SCONE::unshared$$"}]}, "do not fit into text"),
        ({"injection_files": [{"path": "a", "content": "x"}]}, "an absolute path"),
        ({"injection_files": [{"path": "/a/../b", "content": "x"}]}, "one reading"),
        ({"injection_files": [{"path": "/a", "content": "x"}, {"path": "/a", "content": "y"}]}, "stands twice"),
        ({"pwd": "/a\nb"}, "without control characters"),
        ({"secrets": ["nowhere"]}, "no secret of this session"),
        ({"fspf_path": "/x"}, "file shield"),
        ({"attestation": []}, "write 1 to"),
    ],
)
def test_a_service(changes: dict[str, Any], says: str) -> None:
    made = document()
    made["services"][0] |= changes
    assert says in refusal(text(made))


def owners(threshold: int, **keys: str) -> dict[str, Any]:
    return {"threshold": threshold, "owners": [{"name": name, "key": key} for name, key in keys.items()]}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"approvals": owners(3, alice=public_pem(ALICE), bob=public_pem(BOB))}, "can never agree"),
        ({"approvals": owners(1, alice=public_pem(ALICE), bob=public_pem(ALICE))}, "count as two"),
        ({"approvals": owners(0, alice=public_pem(ALICE))}, "a number from 1"),
        ({"approvals": owners(1, alice="AAAA")}, "a public key in PEM"),
        ({"approvals": owners(1, ANY=public_pem(ALICE))}, "has a meaning"),
        ({"approvals": {"threshold": 1, "owners": []}}, "write 1 to"),
        ({"access_policy": {"update": ["ANY"]}}, "take its secrets"),
        ({"access_policy": {"read": ["alice"]}}, "no owner's name"),
        ({"access_policy": {"read": ["NONE", "CREATOR"]}}, "stand alone"),
        ({"access_policy": {"create_sessions": ["CREATOR"]}}, "no rights here"),
    ],
)
def test_people(changes: dict[str, Any], says: str) -> None:
    assert says in refusal(text(document(**changes)))


def test_values_need_a_salt() -> None:
    made = document()
    del made["salt"]
    assert "guess at them" in refusal(text(made))
    made["secrets"][1] = {"name": "pin", "kind": "ascii", "generate": {}}
    assert session(made).salt is None


def test_limits() -> None:
    assert "at most" in refusal("# " + "x" * (128 << 10))
    assert "more than" in refusal("a: " + "[" * 40)
    assert "more than" in refusal("a: [" + "x," * 20_000 + "]")
    assert "65 items" in refusal(text(document(services=document()["services"] * 65)))


def test_what_is_read() -> None:
    made = document()
    made["services"][0]["command"] = "server  --token $$SCONE::token$$"
    made["services"][0]["arguments"] = ["-v"]
    made["secrets"].append({"name": "url", "kind": "ascii", "value": "db:$$SCONE::pin$$@$$CLOISTER::token:hex$$"})
    made["secrets"].append({"name": "other", "kind": "ascii", "import": {"session": "b", "secret": "s"}})
    made["services"][0]["secrets"] = ["url"]
    read = session(made)
    service = read.services[0]
    assert [one.text for one in service.command] == ["server", "--token", "$$SCONE::token$$", "-v"]
    assert read.secrets_of(service) == ("pin", "token", "url")
    assert read.by_name["url"].origin == Given(composed_of=("pin", "token"))
    assert read.by_name["other"].origin == Imported(session="b", secret="s")
    assert [one.name for one in read.recipients_of("pin")] == ["web"]
    assert read.recipients_of("unshared") == ()
    assert service.attestation[0].anchors == {"hardware"}
    assert service.attestation[0].set_by("measurement") == "session.yaml:11"
    assert service.attestation[0].set_by("anchors") == "session.yaml:9 (default of `anchors`)"


def test_owners_may_stand_in_the_access_policy() -> None:
    read = session(
        approvals=owners(1, alice=public_pem(ALICE), bob=public_pem(BOB)),
        access_policy={"read": ["alice", "CREATOR"], "update": ["bob"]},
    )
    assert read.approvals is not None
    alice, bob = (one.fingerprint for one in read.approvals.owners)
    assert read.access.allows("read", fingerprint=alice, is_creator=False)
    assert read.access.allows("read", fingerprint="", is_creator=True)
    assert not read.access.allows("read", fingerprint=bob, is_creator=False)
    assert read.access.allows("update", fingerprint=bob, is_creator=False)
    assert not read.access.allows("update", fingerprint=alice, is_creator=True)
    with pytest.raises(ValueError, match="read or update"):
        read.access.allows("delete", fingerprint=bob, is_creator=False)


def test_a_session_may_only_hold_secrets_for_others() -> None:
    read = session({"name": "vault", "version": "1", "secrets": [
        {"name": "k", "kind": "aes-key", "generate": {}, "export": ["team/app"]},
    ]})  # fmt: skip
    assert read.services == ()
    assert [one.session for one in read.exports_of("k")] == ["team/app"]


def test_a_secret_where_a_name_belongs_is_not_quoted() -> None:
    made = document()
    made["services"][0] |= {"secrets": ["hunter2hunter2"]}
    said = refusal(text(made))
    assert "no secret of this session" in said
    assert "hunter2" not in said
