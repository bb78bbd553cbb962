"""Targets of what strangers, owners and the database hand to a broker."""

import contextlib
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

from tests.fuzz import fixed
from tests.fuzz.law import Broken, Reader
from tests.fuzz.service import answer

from cloister import _json
from cloister._yaml import read_yaml
from cloister.attest.console_link import Call
from cloister.broker.audit import Checkpoint, LogReport, parse_checkpoint, segments, verify_log
from cloister.broker.audit.entry import Entry, parse_entry
from cloister.broker.audit.event_json import event_of_json, json_of_event
from cloister.broker.audit.report import Grade
from cloister.broker.nonces import Purpose, Ticket
from cloister.broker.recipient import Recipient
from cloister.broker.root_report import RootReport, StartName
from cloister.broker.secrets_rule import ReleaseRule, parse_rule
from cloister.broker.session.approval import Approval, agreement, approval_json, parse_approval
from cloister.broker.session.canonical import canonical_form
from cloister.broker.session.difference import differences
from cloister.broker.session.key_material import certificates_in, check_certificate, load_private_key, private_jwk
from cloister.broker.session.read import parse_session
from cloister.broker.session.read_document import session_of_document
from cloister.broker.session.remarks import remarks
from cloister.broker.session.request_signature import SignedBy, read_signature
from cloister.broker.session.session import Session
from cloister.cli._log_text import document as report_document
from cloister.cli._log_text import entry_document, entry_lines, report_lines
from cloister.errors import NotAttested, ParseError, PolicyError, UsageError, VerificationError
from cloister.frameworks.danger_shield import findings_of_shield
from cloister.measure.init_data import read_init_data
from cloister.model import Unchecked
from cloister.serve.kbs_messages import Attestation, parse_attestation, parse_request
from cloister.shield_policy.block import ShieldBlock
from cloister.shield_policy.document import policy_document, policy_of_document
from cloister.shield_policy.reading import read_shield_policy

__all__ = ["BROKER", "PLANTED"]

PLANTED: Final = b"plantedsecretvalue"
"""Stands as a secret's value in the seeds. No refusal quotes it."""
INTACT: Final = frozenset({Grade.INTACT, Grade.TORN})


def json_value(read: Callable[[object], Any]) -> Callable[[bytes], Any]:
    """For readers of a value of JSON."""
    return lambda data: read(_json.loads(data, "x"))


def session(data: bytes) -> Session:
    """A session, and everything that is asked of one before it takes effect."""
    found = parse_session(data, "x")
    remarks(found)
    if differences(found, found):
        raise Broken("session: it differs from itself")
    again = session_of_document(_json.loads(canonical_form(found), "x"), "x", known=found)
    if differences(found, again) or differences(again, found):
        raise Broken("session: what is shown of it reads as another")
    return found


@cache
def owned() -> Session:
    """The session that approvals are of."""
    from tests.fuzz.seeds_broker import OWNED  # noqa: PLC0415 - seeds are made of what is here

    return parse_session(OWNED, "owned.yaml")


def approval(data: bytes) -> Approval:
    """An approval, counted. Only the owner can have made one that counts."""
    found = parse_approval(data, "x")
    try:
        agreement(owned(), None, [found])
    except VerificationError as error:
        str(error).encode()
    return found


def challenge(data: bytes) -> Ticket:
    """A cookie."""
    return fixed.challenges().read(data.decode("latin-1"), Purpose.KBS)


def signature(data: bytes) -> SignedBy:
    """The header of a signed request."""
    return read_signature(data.decode("latin-1"), fixed.ASKED)


def recipient(value: object) -> Recipient:
    """A key that something can be encrypted to, once it is accepted."""
    found = Recipient.of_jwk(value)
    found.encrypt(b"secret")
    return found


def attestation(data: bytes) -> Attestation:
    """An answer to a challenge, for each kind of TEE."""
    parse_attestation(data, "az-snp-vtpm")
    return parse_attestation(data, "snp")


def rule_bytes(rule: ReleaseRule) -> bytes:
    """What is stored of a rule."""
    return rule.text().encode()


def entry(line: bytes) -> Entry:
    """An entry, shown."""
    found = parse_entry(line)
    [*entry_lines(found)]
    entry_document(found)
    return found


@cache
def directory() -> Path:
    """For files, gone when the process ends."""
    made = tempfile.TemporaryDirectory(prefix="cloister-fuzz-")
    KEPT.append(made)
    return Path(made.name)


KEPT: Final[list[Any]] = []


def log(data: bytes) -> LogReport:
    """A log, verified: with the key alone, with a checkpoint, and with neither. Whoever has not the key forges none.

    What stands before a line of two dashes is a closed segment.
    """
    path = directory() / "audit.log"
    first, closed, rest = data.partition(b"--\n")
    data = first + rest
    segments.segment_path(path, 1).unlink(missing_ok=True)
    if closed:
        segments.segment_path(path, 1).write_bytes(first)
    path.write_bytes(rest if closed else first)
    genuine = b"".join(one.line() + b"\n" for one in fixed.log())
    with patch.object(segments, "WAIT", 0.0):
        reports = [
            verify_log(path, key=fixed.OWNER.spki),
            verify_log(path, key=fixed.OWNER.spki, checkpoints=[fixed.checkpoint()]),
        ]
        try:
            reports.append(verify_log(path, key=Unchecked("x")))
        except UsageError as error:
            str(error).encode()
    for one in reports:
        [*report_lines(one)]
        report_document(one)
    if reports[1].grade in INTACT and not data.startswith(genuine):
        raise Broken("verify_log: a log that was changed is called intact")
    return reports[1]


def private_key(pem: bytes) -> bytes:
    """An owner's private key or certificate, in the other form that services ask for."""
    certificates_in(pem)
    load_private_key(pem)
    try:
        check_certificate(pem)
    except ValueError as error:
        str(error).encode()
    return private_jwk(pem)


def root(data: bytes) -> RootReport:
    """A report of a root, and whose it says it is."""
    found = RootReport.parse(data)
    with contextlib.suppress(ParseError):
        if str(StartName.parse(found.name)) != found.name:
            raise Broken("StartName: it is written as another")
    return found


def shield(data: bytes) -> object:
    """A policy, and everything that is asked of one; its document reads as the same."""
    found = read_shield_policy(data.decode("utf-8", "replace"), "x", "/")
    findings_of_shield(found)
    if not [*found.local()] and policy_of_document(policy_document(found), "x") != found:
        raise Broken("read_shield_policy: its document reads as another")
    return found


BROKER: Final[dict[str, tuple[Reader, ...]]] = {
    "shield": (
        Reader(
            covers=("shield_policy.reading.read_shield_policy", "shield_policy.document.policy_of_document"),
            read=shield, refusals=(PolicyError,),
        ),
        Reader(covers=("shield_policy.block.ShieldBlock.parse",), read=ShieldBlock.parse, write=ShieldBlock.serialize),
        Reader(
            covers=("broker.root_report.RootReport.parse", "broker.root_report.StartName.parse"), read=root,
            write=RootReport.serialize,
        ),
    ),
    "session": (
        Reader(
            covers=("broker.session.read.parse_session", "broker.session.read_document.session_of_document"),
            read=session, refusals=(PolicyError,), never_quoted=PLANTED,
        ),
        Reader(
            covers=("_yaml.read_yaml",), read=lambda data: read_yaml(data, "x"),
            refusals=(PolicyError,), never_quoted=PLANTED,
        ),
    ),
    "canonical": (
        Reader(
            covers=("broker.session.read_document.session_of_document",),
            read=json_value(lambda value: session_of_document(value, "x")), refusals=(ParseError, PolicyError),
        ),
    ),
    "owner": (
        Reader(
            covers=("broker.session.approval.parse_approval",), read=approval,
            write=lambda found: approval_json(found).encode(), exact=False,
        ),
        Reader(
            covers=("broker.session.request_signature.read_signature",), read=signature, refusals=(NotAttested,),
        ),
        Reader(
            covers=("broker.session.key_material.load_private_key", "broker.session.key_material.certificates_in"),
            read=private_key, refusals=(ValueError,), never_quoted=PLANTED,
        ),
    ),
    "attester": (
        Reader(covers=("serve.kbs_messages.parse_request",), read=parse_request, refusals=(ParseError, NotAttested)),
        Reader(
            covers=("serve.kbs_messages.parse_attestation",), read=attestation, refusals=(ParseError, NotAttested)
        ),
        Reader(covers=("attest.console_link.Call.parse",), read=Call.parse),
        Reader(
            covers=("measure.init_data.read_init_data",), refusals=(PolicyError,),
            read=lambda data: read_init_data(data.decode("utf-8", "replace"), "x"),
        ),
        Reader(covers=("broker.recipient.Recipient.of_jwk",), read=json_value(recipient)),
        Reader(
            covers=("broker.secrets_rule.parse_rule",), read=json_value(parse_rule), write=rule_bytes, exact=False,
        ),
        Reader(
            covers=("broker.nonces.Challenges.read",), read=challenge, refusals=(NotAttested,),
            write=lambda ticket: ticket.text.encode(),
        ),
    ),
    "audit": (
        Reader(covers=("broker.audit.entry.parse_entry",), read=entry, write=Entry.line),
        Reader(
            covers=("broker.audit.checkpoint.parse_checkpoint",), read=parse_checkpoint, write=Checkpoint.serialize,
            exact=False,
        ),
        Reader(
            covers=("broker.audit.event_json.event_of_json",),
            read=json_value(lambda value: json_of_event(event_of_json(value))),
        ),
        Reader(covers=("broker.audit.verify.verify_log", "broker.audit.segments"), read=log, refusals=()),
    ),
    "service": (Reader(covers=("serve.service.Service",), read=answer, refusals=()),),
}  # fmt: skip
"""Name of a target to its readers."""
