"""A session's YAML -> `Session`. Everything that is wrong is a PolicyError with file, line, column and what to do.

1. YAML without its traps (`_yaml.py`). 2. Known keys, each value of its shape (`language.py`).
3. What one entry must say to be meaningful (`read_attestation.py`, `read_secret.py`, `read_service.py`).
4. What belongs together, here: names are unique, references lead somewhere and not in circles, and no value that the
   owner wrote stands in the open elsewhere in the session.
"""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from cloister._yaml import LONGEST, read_yaml, wrong
from cloister.broker.session.canonical import open_texts
from cloister.broker.session.grammar import Found, Word
from cloister.broker.session.language import SESSION
from cloister.broker.session.read_people import access_of, approvals_of, holders_of
from cloister.broker.session.read_secret import secret_of
from cloister.broker.session.read_service import service_of
from cloister.broker.session.read_shield import check_shield_secrets
from cloister.broker.session.references import FORMATS, Template, template_of
from cloister.broker.session.secret_value import SecretValue
from cloister.broker.session.session import Given, Service, Session
from cloister.errors import UsageError

__all__ = ["parse_session", "read_session"]

SHORTEST_SOUGHT: Final = 6
"""Characters. A shorter value stands in other words by chance."""
RAW: Final = "raw"
BYTES: Final = re.compile(r"\A(?:hex|base64):(.+)", re.DOTALL)
"""The digits of a value that is written as bytes."""


def read_session(path: Path) -> Session:
    """The session in a file; UsageError if it cannot be read, PolicyError if it is wrong."""
    try:
        with path.open("rb") as file:
            return parse_session(file.read(LONGEST + 1), str(path))
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error


def parse_session(data: bytes, file: str) -> Session:
    """The session in these bytes; `file` names them in errors and explanations."""
    found = SESSION.read(read_yaml(data, file))
    read = [secret_of(one, found.text("name")) for one in found.records("secrets")]
    secrets = tuple(one for one, _ in read)
    values = {one.name: value for one, value in read if value is not None}
    salt = found.text("salt")
    if values and not salt:
        raise wrong(
            found.place, "secrets have values here, and the session's hash would let people guess at them; add `salt:` "
            'with random digits in quotes: python3 -c "import secrets; print(secrets.token_hex(16))"'
        )  # fmt: skip
    approvals = approvals_of(found.record("approvals"))
    session = Session(
        name=found.text("name"), version=found.text("version"), file=file,
        predecessor=found.text("predecessor").lower(),
        services=tuple(service_of(one) for one in found.records("services")), secrets=secrets,
        access=access_of(found.record("access_policy"), approvals), approvals=approvals,
        verifiers=holders_of(found.records("verifiers")), values=values,
        salt=SecretValue(bytes.fromhex(salt)) if salt else None,
    )  # fmt: skip
    _check(session, found)
    return session


def _check(session: Session, found: Found) -> None:
    _refuse_twice(found.records("services"), "service")
    _refuse_twice(found.records("secrets"), "secret")
    for service in session.services:
        for template in (*service.command, *service.environment.values()):
            _check_references(template, session, raw=False)
        for file in service.files:
            _check_references(file.content, session, raw=len(file.content.parts) == 1)
        _check_asked(service, session, found)
        if service.shield is not None:
            check_shield_secrets(service.shield, session)
    for secret in session.secrets:
        if isinstance(secret.origin, Given) and secret.origin.composed_of:
            text = session.values[secret.name].reveal().decode()
            _check_references(template_of(Word(text, secret.place)), session, raw=False)
    _refuse_circles(session)
    _refuse_values_in_the_open(session, found)


def _refuse_twice(entries: Iterable[Found], what: str) -> None:
    names: set[str] = set()
    for one in entries:
        if one.text("name") in names:
            raise wrong(one.at("name"), f"a second {what} of this name; give it another")
        names.add(one.text("name"))


def _check_references(template: Template, session: Session, *, raw: bool) -> None:
    """Every reference leads to a secret that can be written in that form; bytes only where they stand alone."""
    for one in template.references:
        secret = session.by_name.get(one.name)
        if secret is None:
            raise wrong(one.place, "a reference to what is no secret of this session; add it to `secrets`")
        forms = FORMATS[secret.kind]
        form = one.form or forms[0]
        if form not in forms:
            raise wrong(one.place, f"`{one.name}` is of kind {secret.kind} and can be written as {', '.join(forms)}")
        if form == RAW and not raw:
            raise wrong(
                one.place, f"the bytes of `{one.name}` do not fit into text; write $$SCONE::{one.name}:hex$$ or "
                f"$$SCONE::{one.name}:base64$$, or let them be all of an injected file"
            )  # fmt: skip


def _check_asked(service: Service, session: Session, found: Found) -> None:
    for name in service.asks_for:
        if name not in session.by_name:
            place = next(one.at("secrets") for one in found.records("services") if one.text("name") == service.name)
            # not quoted: somebody may have written a secret where its name belongs
            raise wrong(place, "what stands here is no secret of this session; add it to `secrets`")


def _refuse_circles(session: Session) -> None:
    """Secrets that are put together from others end somewhere."""
    rest = {one.name: set(one.origin.composed_of) for one in session.secrets if isinstance(one.origin, Given)}
    ends = {one.name for one in session.secrets} - {name for name, parts in rest.items() if parts}
    while True:
        more = {name for name, parts in rest.items() if parts <= ends} - ends
        if not more:
            break
        ends |= more
    caught = sorted(set(rest) - ends)
    if caught:
        raise wrong(
            session.by_name[caught[0]].place, f"secrets that refer to each other in a circle: {', '.join(caught)}; one "
            "of them must have a value of its own"
        )  # fmt: skip


def _refuse_values_in_the_open(session: Session, found: Found) -> None:
    """What the owner wrote as a secret's value stands nowhere else: readers see the rest, and the host some of it."""
    texts = open_texts(session)
    for one in found.records("secrets"):
        word = one.word("value")
        value = session.values.get(one.text("name"))
        if word is None or value is None:
            continue
        sought = {word.text, value.reveal().decode("latin-1").strip(), *BYTES.findall(word.text)}
        if any(len(text) >= SHORTEST_SOUGHT and text in other for text in sought for other in texts):
            raise wrong(
                word.place, "this value stands in another part of the session too, in the open; refer to it there: "
                "$$SCONE::name$$"
            )  # fmt: skip
