"""Attacks on sessions: hostile files, secrets in the open, forged consent, quiet weakening, wrong attesters."""

import hashlib
import hmac
import json
import logging
import resource
import time
import traceback
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from tests.forge.results import LATER, NONCE, NOW
from tests.forge.sessions import (
    ATTESTED_KEY,
    MEASUREMENT,
    OTHER,
    accepted,
    attested,
    document,
    public_pem,
    session,
    submodule,
    text,
    token,
    trusting,
)

from cloister.appraise.vector import Tier, TrustVector
from cloister.broker.release import ReleaseOutcome, ReleasePolicy
from cloister.broker.session.approval import Approval, agreement, approval_json, parse_approval, sign_approval
from cloister.broker.session.canonical import canonical_form, session_hash
from cloister.broker.session.difference import differences
from cloister.broker.session.provision import provision
from cloister.broker.session.read import parse_session
from cloister.broker.session.secret_value import SecretValue
from cloister.broker.session.session import Session
from cloister.cli._session_text import described
from cloister.errors import BindingInvalid, Denied, NotAttested, ParseError, PolicyError, SignatureInvalid
from cloister.model import Challenge, Unchecked
from cloister.result.algorithms import Algorithm
from cloister.result.signing import SigningKey
from cloister.verification.recipe import Tcb

PLANTED = "plantedsecretvalue"
ALICE, BOB, MALLORY = (SigningKey.generate(Algorithm.EDDSA) for _ in range(3))


def refusal(data: bytes) -> str:
    with pytest.raises(PolicyError) as caught:
        parse_session(data, "s.yaml")
    return str(caught.value)


def owned(threshold: int = 2, *keys: SigningKey, **changes: Any) -> Session:
    people = [{"name": f"owner{n}", "key": public_pem(key)} for n, key in enumerate(keys or (ALICE, BOB))]
    return session(approvals={"threshold": threshold, "owners": people}, **changes)


# ------------------------------------------------------------------------------------------------- hostile files

LAUGHS = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{name}: &{name} [{','.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
BOMBS = {
    "a billion laughs": LAUGHS,
    "lists in lists": "[" * 100_000,
    "mappings in mappings": "{a: " * 30_000,
    "indented lists": "- " * 60_000,
    "complex keys": "? " * 60_000,
    "very many items": "- a\n" * 32_000,
    "very many keys": "".join(f"k{n}: v\n" for n in range(14_000)),
    "a long word": "a: " + "x" * 130_000,
    "a long quoted word": 'a: "' + "x " * 60_000 + '"',
    "an open quotation": "a: '" + "x\n" * 60_000,
    "an open flow": "a: [" + "x,\n" * 40_000,
    "blanks": "a:" + " " * 130_000 + "b",
    "line breaks": "\n" * 130_000,
    "comments": "#\n" * 65_000,
    "tags": "a: " + "!" * 130_000,
    "anchors": "&a " * 40_000,
    "a block scalar": "a: |\n" + " x\n" * 43_000,
    "a folded scalar": "a: >\n" + " x\n\n" * 30_000,
    "escapes": 'a: "' + r"\x41" * 30_000 + '"',
    "references": f'name: a\nversion: "1"\nservices: [{{name: a, attestation: [], pwd: "{"$$SCONE::" * 12_000}"}}]',
}


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS)
def test_a_bomb_is_refused_in_bounded_time_and_memory(bomb: str) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time()
    assert refusal(bomb.encode())
    assert time.process_time() - start < 10
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 128 << 10  # KiB


def test_a_file_that_is_too_long_is_not_read() -> None:
    start = time.process_time()
    assert "at most" in refusal(b"[" * (50 << 20))
    assert time.process_time() - start < 1


@pytest.mark.parametrize(
    "tag",
    [
        "!!python/object/apply:os.system ['touch /tmp/cloister-owned']",
        "!!python/name:os.system",
        "!!python/object/new:os",
    ],
)
def test_no_tag_makes_anything(tag: str) -> None:
    assert "tag" in refusal(f"name: {tag}\n".encode())


@pytest.mark.parametrize("word", ["no", "off", "1:20", "010", "0x10", "1_000", "1e3", "~", "2026-01-31", "null", "y"])
def test_what_two_readers_read_differently_is_refused(word: str) -> None:
    """The reviewer's editor and the broker must see one session."""
    made = text(document()).replace(b'"production"', word.encode())
    assert "double quotes" in refusal(made)


def test_a_key_that_stands_twice_cannot_hide_the_first() -> None:
    made = text(document()).decode()
    first = f'"measurement": "{MEASUREMENT}"'
    for other in (f'"measurement": "{OTHER}"', f'"\\x6deasurement": "{OTHER}"'):
        assert "stands twice" in refusal(made.replace(first, f"{first}, {other}").encode())


@pytest.mark.parametrize("character", ["\u202e", "\u2066", "\u200b", "\ufeff", "\u2028", "\x85", "\x1b", "\u061c"])
def test_text_that_shows_reviewers_something_else(character: str) -> None:
    made = text(document()).decode().replace("production", f"produ{character}ction")
    assert "cannot see" in refusal(made.encode()) or "U+" in refusal(made.encode())


# ------------------------------------------------------------------------------------------------- secrets in the open

SPOILED: list[tuple[str, dict[str, Any]]] = [
    ("unknown key", {"name": "s", "kind": "ascii", "value": PLANTED, "more": PLANTED}),
    ("wrong kind", {"name": "s", "kind": PLANTED, "value": PLANTED}),
    ("no AES key", {"name": "s", "kind": "aes-key", "value": PLANTED}),
    ("no base64", {"name": "s", "kind": "binary", "value": f"base64:{PLANTED}!"}),
    ("no hex", {"name": "s", "kind": "binary", "value": f"hex:{PLANTED}"}),
    ("no key", {"name": "s", "kind": "private-key", "value": f"-----BEGIN PRIVATE KEY-----\n{PLANTED}\n"}),
    ("no certificate", {"name": "s", "kind": "x509", "value": PLANTED}),
    ("no ASCII", {"name": "s", "kind": "ascii", "value": f"{PLANTED}é"}),
    ("half a reference", {"name": "s", "kind": "ascii", "value": f"{PLANTED}$$SCONE::"}),
    ("two origins", {"name": "s", "kind": "ascii", "value": PLANTED, "generate": {}}),
    ("a list", {"name": "s", "kind": "ascii", "value": [PLANTED]}),
    ("too long", {"name": "s", "kind": "ascii", "value": PLANTED * 1000}),
    ("in the wrong place", {"name": PLANTED + " ", "kind": "ascii", "generate": {}}),
    ("as a size", {"name": "s", "kind": "ascii", "generate": {"size": PLANTED}}),
    ("as a hash", {"name": "s", "kind": "ascii", "import": {"session": "b", "secret": "s", "session_hash": PLANTED}}),
]


@pytest.mark.parametrize("entry", [entry for _, entry in SPOILED], ids=[name for name, _ in SPOILED])
def test_no_error_quotes_a_value(entry: dict[str, Any]) -> None:
    made = document()
    made["secrets"].append(entry)
    with pytest.raises(PolicyError) as caught:
        session(made)
    assert PLANTED not in str(caught.value)
    assert PLANTED not in "".join(traceback.format_exception_only(caught.value))


@pytest.mark.parametrize("spoil", ["'", '"', " [", "\t", "\n  b", "{", ": :", "%", "`"])
def test_no_error_about_yaml_quotes_what_it_cannot_read(spoil: str) -> None:
    assert PLANTED not in refusal(f"name: app\nvalue: {spoil}{PLANTED}{spoil}: [\n!{PLANTED}!x y".encode())
    assert PLANTED not in refusal(f"name: !{PLANTED}!x y".encode())
    assert PLANTED not in refusal(f"name: @{PLANTED}".encode())


def with_planted() -> Session:
    made = document()
    made["secrets"][1]["value"] = PLANTED
    made["secrets"].append({"name": "url", "kind": "ascii", "value": "db:$$SCONE::pin$$/" + PLANTED[::-1]})
    return session(made)


def test_nothing_that_shows_a_session_shows_a_value(caplog: pytest.LogCaptureFixture) -> None:
    read = with_planted()
    logging.getLogger("a").warning("%r %s", read, [read.values])
    provided = provision(read, read.services[0], {"token": SecretValue(PLANTED.encode())})
    changes = differences(session(), read)
    everything = "\n".join([
        repr(read), str(read), repr(read.values), repr(read.salt), canonical_form(read).decode(), *described(read),
        caplog.text, repr(provided), *(one.text for one in changes), repr(SecretValue(PLANTED.encode()).__reduce_ex__),
        repr(vars(read)),
    ])  # fmt: skip
    assert PLANTED not in everything
    assert PLANTED[::-1] not in everything


def test_the_identity_is_no_oracle_for_guesses() -> None:
    """All that is public of a session with a weak value gives no means to try values."""
    made = document()
    made["secrets"][1]["value"] = "hunter2"
    form = canonical_form(session(made)).decode()
    commitment = next(one for one in json.loads(form)["secrets"] if one["name"] == "pin")["origin"]["commitment"]
    assert made["salt"] not in form
    message = b"cloister session secret 1\0pin\0ascii\0hunter2"
    guesses = [hashlib.sha256(message).hexdigest()]
    guesses += [
        hmac.digest(key, message, "sha256").hex() for key in (b"", b"\0" * 16, bytes.fromhex(session_hash(session())))
    ]
    assert commitment not in guesses
    assert commitment == hmac.digest(bytes.fromhex(made["salt"]), message, "sha256").hex(), "the control: with the salt"


@pytest.mark.parametrize(
    "place",
    [
        {"pwd": "/srv/$$SCONE::pin$$"},
        {"command": ["/bin/$$SCONE::pin$$"]},
        {"injection_files": [{"path": "/$$SCONE::pin$$", "content": ""}]},
        {"environment": {"$$SCONE::pin$$": "x"}},
        {"name": "$$SCONE::pin$$"},
        {"attestation": [{"tee": "sgx", "measurement": MEASUREMENT, "claims": {"configid": "$$SCONE::pin$$"}}]},
        {"attestation": [{"tee": "sgx", "measurement": "$$SCONE::pin$$"}]},
    ],
    ids=lambda place: next(iter(place)),
)
def test_a_secret_has_no_place_where_the_host_sees_it(place: dict[str, Any]) -> None:
    made = document()
    made["services"][0] |= place
    assert refusal(text(made))


@pytest.mark.parametrize("spelled", ["$$SCONE::pin$$", "$$CLOISTER::pin:hex$$", "$$scone::pin$$", "$$SCONE ::pin$$"])
def test_a_secret_has_no_place_in_a_certificate(spelled: str) -> None:
    made = document()
    made["secrets"].append({"name": "c", "kind": "x509", "generate": {"common_name": spelled}})
    assert "no place here" in refusal(text(made))


@pytest.mark.parametrize(
    "place",
    [
        {"pwd": f"/{PLANTED}"},
        {"environment": {"MODE": f"a{PLANTED}b"}},
        {"environment": {PLANTED: "x"}},
        {"command": ["server", PLANTED]},
        {"injection_files": [{"path": f"/{PLANTED}", "content": ""}]},
        {"injection_files": [{"path": "/a", "content": f"password={PLANTED}"}]},
        {"name": PLANTED},
    ],
    ids=lambda place: next(iter(place)),
)
def test_a_value_that_also_stands_in_the_open(place: dict[str, Any]) -> None:
    made = document()
    made["services"][0] |= place
    made["secrets"][1]["value"] = PLANTED
    message = refusal(text(made))
    assert "in the open" in message
    assert PLANTED not in message


def test_digits_of_a_key_that_also_stand_in_the_open() -> None:
    key = "0123456789abcdef" * 4
    made = document()
    made["secrets"][1] = {"name": "pin", "kind": "aes-key", "value": f"hex:{key}"}
    made["services"][0]["environment"] = {"KEY": key}
    assert "in the open" in refusal(text(made))


def test_a_value_cannot_ask_for_other_secrets() -> None:
    """Whoever chooses one secret (an exporter, a user) does not read the others by it."""
    read = session()
    hostile = SecretValue(b"$$SCONE::pin$$")
    got = provision(read, read.services[0], {"token": hostile})
    assert got.command[2].reveal() == b"$$SCONE::pin$$"


# ------------------------------------------------------------------------------------------------- forged consent


def test_the_control_these_approvals_do_count() -> None:
    made = owned()
    assert agreement(made, None, [sign_approval(made, ALICE), sign_approval(made, BOB)]).reached


def test_an_approval_of_another_session() -> None:
    made, other = owned(), owned(name="team/other")
    with pytest.raises(BindingInvalid, match="of another session"):
        agreement(made, None, [sign_approval(other, ALICE)])


def test_an_approval_of_another_version() -> None:
    made, other = owned(), owned(access_policy={"read": ["ANY"]})
    with pytest.raises(BindingInvalid, match="another version"):
        agreement(made, None, [sign_approval(other, ALICE)])


def test_an_approval_cannot_be_used_again_later_in_the_history() -> None:
    """v1 -> v2 -> back to v1's content: what the owners signed for v1 brings it back for nobody."""
    first = owned(1)
    second = owned(1, predecessor=session_hash(first), access_policy={"read": ["ANY"]})
    third = owned(1, predecessor=session_hash(second))
    for old in (sign_approval(first, ALICE), sign_approval(second, ALICE)):
        with pytest.raises(BindingInvalid):
            agreement(third, second, [old])
    with pytest.raises(PolicyError, match="the current session is"):
        agreement(first, second, [sign_approval(first, ALICE)])


def test_an_approval_relabelled_for_this_session() -> None:
    made, other = owned(), owned(name="team/other")
    stolen = sign_approval(other, ALICE)
    relabelled = replace(stolen, session=made.name, hash=session_hash(made), predecessor="")
    with pytest.raises(SignatureInvalid):
        agreement(made, None, [relabelled])


def test_an_approval_in_somebody_else_s_name() -> None:
    made = owned()
    own, victim = sign_approval(made, MALLORY), sign_approval(made, ALICE)
    with pytest.raises(BindingInvalid, match="has no say"):
        agreement(made, None, [own])
    with pytest.raises(SignatureInvalid):
        agreement(made, None, [replace(own, owner=victim.owner)])
    bob = sign_approval(made, BOB)
    with pytest.raises(SignatureInvalid):
        agreement(made, None, [replace(victim, owner=bob.owner)])


@pytest.mark.parametrize("key", [ALICE, SigningKey.generate(Algorithm.ES256), SigningKey.generate(Algorithm.PS256)])
def test_no_approval_with_one_bit_changed_counts(key: SigningKey) -> None:
    made = owned(1, key)
    good = sign_approval(made, key)
    assert agreement(made, None, [good]).reached
    for bit in range(0, len(good.signature) * 8, 13):
        changed = bytearray(good.signature)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(SignatureInvalid):
            agreement(made, None, [replace(good, signature=bytes(changed))])


def test_no_changed_character_of_an_approval_s_file_counts() -> None:
    made = owned(1)
    data = approval_json(sign_approval(made, ALICE)).encode()
    for at in range(len(data)):
        changed = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        with pytest.raises((ParseError, BindingInvalid, SignatureInvalid)):
            agreement(made, None, [parse_approval(changed, "a.json")])


def test_an_empty_signature() -> None:
    made = owned()
    good = sign_approval(made, ALICE)
    for signature in (b"", b"\0" * 64, good.signature + b"\0", good.signature[:-1]):
        with pytest.raises(SignatureInvalid):
            agreement(made, None, [replace(good, signature=signature)])


def test_one_owner_does_not_count_as_two() -> None:
    made = owned()
    approvals: list[Approval] = [sign_approval(made, ALICE) for _ in range(5)]
    assert not agreement(made, None, approvals).reached
    twice = document(approvals={"threshold": 2, "owners": [{"name": n, "key": public_pem(ALICE)} for n in ("a", "b")]})
    assert "count as two" in refusal(text(twice))


def test_an_update_cannot_choose_who_approves_it() -> None:
    old = owned(2)
    for update in (
        owned(1, MALLORY, predecessor=session_hash(old)),
        session(predecessor=session_hash(old)),
    ):
        assert agreement(update, old, []).needed == 2
        with pytest.raises(BindingInvalid, match="has no say"):
            agreement(update, old, [sign_approval(update, MALLORY)])


# ------------------------------------------------------------------------------------------------- quiet weakening


def weakens(new: dict[str, Any], old: dict[str, Any] | None = None) -> bool:
    return any(one.weakens for one in differences(session(old or document()), session(new)))


def quiet(name: str) -> dict[str, Any]:
    """Updates that give the attacker's program a secret without touching the entry of the service that had it."""
    made = document()
    spy = {"name": "spy", "attestation": [{"tee": "sgx", "measurement": OTHER}]}
    if name == "a new service":
        made["services"].append(spy | {"secrets": ["pin"]})
    elif name == "inside another secret":
        made["secrets"].append({"name": "wrapped", "kind": "ascii", "value": "x$$SCONE::token$$"})
        made["services"].append(spy | {"environment": {"A": "$$SCONE::wrapped:base64$$"}})
    elif name == "inside another secret, exported":
        made["secrets"].append({"name": "w", "kind": "ascii", "value": "x$$SCONE::token$$", "export": ["spy"]})
    elif name == "inside two others, exported":
        made["secrets"].append({"name": "w", "kind": "ascii", "value": "x$$SCONE::token$$"})
        made["secrets"].append({"name": "v", "kind": "ascii", "value": "x$$SCONE::w$$", "export": ["spy"]})
    elif name == "under a new name":
        made["secrets"].append({"name": "copy", "kind": "ascii", "value": "correct horse"})
        made["services"].append(spy | {"secrets": ["copy"]})
    elif name == "under a new name, the old one gone":
        made["secrets"][1] = {"name": "copy", "kind": "ascii", "value": "correct horse", "export": ["spy"]}
        made["services"][0]["secrets"] = ["copy"]
    elif name == "a value that the attacker knows":
        made["secrets"][0] = {"name": "token", "kind": "ascii", "value": "known to mallory"}
    else:
        made["secrets"][0] = {"name": "token", "kind": "ascii", "import": {"session": "spy", "secret": "token"}}
    return made


@pytest.mark.parametrize(
    "name",
    [
        "a new service",
        "inside another secret",
        "inside another secret, exported",
        "inside two others, exported",
        "under a new name",
        "under a new name, the old one gone",
        "a value that the attacker knows",
        "a value that the attacker makes",
    ],
)
def test_a_secret_cannot_get_out_quietly(name: str) -> None:
    assert weakens(quiet(name))


def test_two_strict_alternatives_do_not_allow_a_mixture() -> None:
    """Either this measurement with an old platform, or that one with a new: not that one with an old."""
    strict, old_platform = {"tee": "sgx", "measurement": MEASUREMENT, "tolerate": ["OutOfDate"]}, document()
    old_platform["services"][0]["attestation"] = [strict, {"tee": "sgx", "measurement": OTHER}]
    mixed = document()
    mixed["services"][0]["attestation"] = [strict, strict | {"measurement": OTHER}]
    assert weakens(mixed, old_platform)


# ------------------------------------------------------------------------------------------------- wrong attesters


def outcome(policy: ReleasePolicy | None = None, **changes: Any) -> ReleaseOutcome:
    chosen = policy or ReleasePolicy(session(), trusting())
    return chosen.decide(accepted(chosen, attested(**changes)), at=NOW).outcome


def test_the_control_this_program_gets_its_secrets() -> None:
    assert outcome() is ReleaseOutcome.RELEASE


@pytest.mark.parametrize(
    "attester",
    [
        {"claims": {"mrenclave": OTHER}},
        {"claims": {"mrenclave": OTHER, "measurement": MEASUREMENT, "MRENCLAVE": MEASUREMENT}},
        {"claims": {"mrenclave": [MEASUREMENT]}},
        {"claims": {"mrenclave": MEASUREMENT + "00"}},
        {"claims": {"mrenclave": ""}},
        {"claims": {"debug": True}},
        {"claims": {"debug": "false"}},
        {"claims": {"debug": []}},
        {"basis": {"anchor_kind": "testing"}},
        {"basis": {"anchor_kind": "software"}},
        {"basis": {"anchor_kind": ""}},
        {"basis": {"tcb": Tcb(status="OutOfDate")}},
        {"basis": {"tcb": Tcb(status="Revoked")}},
        {"basis": {"tcb": Tcb(status="uptodate")}},
        {"status": Tier.WARNING},
        {"status": Tier.CONTRAINDICATED},
        {"status": Tier.CONTRAINDICATED, "vector": TrustVector(executables=96), "policies": ()},
        {"evidence": {"tdx": {"mrenclave": MEASUREMENT, "debug": False}}},
        {"evidence": {"sgx": "mrenclave"}},
        {"evidence": {}},
        {"basis": None},
    ],
    ids=str,
)
def test_an_attester_that_is_not_the_one_named_is_denied(attester: dict[str, Any]) -> None:
    if attester.get("basis", 1) is None:
        bare = replace(submodule(), basis=None)
        policy = ReleasePolicy(session(), trusting())
        result = replace(attested(), submodules={"cpu0": bare})
        assert policy.decide(accepted(policy, result), at=NOW).outcome is ReleaseOutcome.DENIED
    else:
        assert outcome(**attester) is ReleaseOutcome.DENIED


def test_the_victim_s_measurement_beside_the_attacker_s_key() -> None:
    """Secrets go to the key of the submodule that was let in, never to another one's."""
    mallory = submodule(claims={"mrenclave": OTHER}, attested_key=MALLORY.spki)
    policy = ReleasePolicy(session(), trusting())
    decision = policy.decide(accepted(policy, attested(others={"cpu1": mallory})), at=NOW)
    assert (decision.outcome, decision.recipient) == (ReleaseOutcome.RELEASE, ATTESTED_KEY)
    without = attested(attested_key=b"", others={"cpu1": mallory})
    assert policy.decide(accepted(policy, without), at=NOW).outcome is ReleaseOutcome.NOT_ATTESTED


def test_a_result_of_a_verifier_that_nobody_trusts() -> None:
    policy = ReleasePolicy(session(), trusting())
    with pytest.raises(NotAttested):
        policy.accept(token(attested(), MALLORY), at=NOW, nonce=Challenge(NONCE), max_age=Unchecked("a test"))


def test_a_broker_s_verifier_that_the_owner_does_not_trust() -> None:
    narrow = session(verifiers=[{"name": "own", "key": public_pem(ALICE)}])
    policy = ReleasePolicy(narrow, [*trusting(), *trusting(ALICE)])
    with pytest.raises(NotAttested):
        accepted(policy)


def test_an_old_result_sent_again() -> None:
    policy = ReleasePolicy(session(), trusting())
    kept = accepted(policy)
    with pytest.raises(NotAttested):
        policy.accept(token(attested()), at=NOW, nonce=Challenge(b"y" * 32), max_age=Unchecked("a test"))
    with pytest.raises(NotAttested):
        policy.release(kept, ["token"], at=LATER + timedelta(seconds=1))


def test_a_denial_does_not_tell_which_secrets_exist() -> None:
    policy = ReleasePolicy(session(), trusting())
    given = accepted(policy)
    said = []
    for name in ("unshared", "xxshared"):
        with pytest.raises(Denied) as caught:
            policy.release(given, [name], at=NOW)
        said.append(str(caught.value).replace(name, "?"))
    assert said[0] == said[1]
