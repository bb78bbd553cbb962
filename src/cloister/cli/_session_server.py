"""Sessions at a broker: which options say where, and `upload`, `list`, `rotate`, `revoke`, and what is in effect."""

import argparse
import hashlib
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cloister import _json
from cloister.broker.session.approval import parse_approval
from cloister.broker.session.canonical import canonical_bytes, session_hash
from cloister.broker.session.difference import differences
from cloister.broker.session.read import parse_session
from cloister.broker.session.read_document import session_of_document
from cloister.broker.session.session import Session
from cloister.cli._arguments import read_input
from cloister.cli._session_check import in_words
from cloister.cli._session_text import print_lines
from cloister.cli._terminal import clean
from cloister.errors import CloisterError, Denied, NotAttested, UsageError
from cloister.result.keys import read_signing_key
from cloister.serve.admin_client import TOKEN_VARIABLE, AdminClient, token_from

__all__ = [
    "InEffect",
    "add_server_options",
    "client_of",
    "in_effect",
    "list_options",
    "print_list",
    "revoke",
    "revoke_options",
    "rotate",
    "rotate_options",
    "upload",
    "upload_options",
]

DEFAULT_URL = "https://127.0.0.1:8443"
LONGEST_APPROVAL = 8192
LONGEST_SESSION = 128 << 10


@dataclass(frozen=True, kw_only=True)
class InEffect:
    """A session at a broker. `session` has no values but those of a session at hand that it commits to."""

    sha256: str
    document: dict[str, Any]
    session: Session


def add_server_options(parser: argparse.ArgumentParser, *, default: str | None = DEFAULT_URL, key: bool = True) -> None:
    """Where the broker is, and who asks; without `key` the command has a --key of its own."""
    shown = "" if default is None else f" (default: {default})"
    parser.add_argument("--url", metavar="URL", default=default, help=f"the broker{shown}")
    parser.add_argument("--ca", metavar="FILE", default="", help="the certificate to trust: STATE/tls.pem")
    parser.add_argument(
        "--admin-token-file", metavar="FILE", help=f"the administrator's token (default: ${TOKEN_VARIABLE})"
    )
    if key:
        parser.add_argument(
            "--key", metavar="FILE", type=Path, help="sign the request with this private key: access_policy names it"
        )


def client_of(args: argparse.Namespace) -> AdminClient:
    """The broker, as these options say. With a key alone the administrator's token is not needed."""
    key = None if args.key is None else read_signing_key(args.key)
    given = args.admin_token_file is not None or TOKEN_VARIABLE in os.environ or key is None
    return AdminClient(url=args.url, token=token_from(args.admin_token_file) if given else "", ca=args.ca, key=key)


def in_effect(client: AdminClient, name: str, known: Session | None = None) -> InEffect:
    """The session of that name as the broker has it; its hash is that of what is shown."""
    answer = client.session(name)
    document = answer.get("session")
    if not isinstance(document, dict) or document.get("name") != name:
        raise CloisterError("the broker's answer is not the session that was asked for")
    identity = hashlib.sha256(canonical_bytes(document)).hexdigest()
    if identity != answer.get("sha256"):
        raise CloisterError("the broker's answer contradicts itself: this is not the session with that hash")
    found = session_of_document(document, f"{name}, in effect", known)
    return InEffect(sha256=identity, document=document, session=found)


# ------------------------------------------------------------------------------------------------- upload


def upload_options(parser: argparse.ArgumentParser) -> None:
    """Options of `upload`."""
    parser.add_argument("file", metavar="FILE", type=Path, help="the session")
    parser.add_argument(
        "--approval", metavar="FILE", action="append", default=[], help="an owner's approval of FILE; repeatable"
    )
    add_server_options(parser)
    parser.add_argument("--json", action="store_true", help="print the broker's answer as JSON")


def upload(args: argparse.Namespace) -> int:
    """Put a session into effect; say what changes."""
    text = read_input(str(args.file), LONGEST_SESSION)
    session, client = parse_session(text, str(args.file)), client_of(args)
    approvals = [_approval(one) for one in args.approval]
    before = _readable(client, session)
    if before is not None and before.sha256 == session_hash(session):
        print(f"{session.name}: this session is in effect already, hash {before.sha256}", file=sys.stderr)
        return 0
    if before is not None:
        _check_predecessor(args, session, before)
        if not args.json:
            print_lines(in_words(differences(before.session, session)))
    made = client.put_session(session.name, text.decode(), approvals)
    if args.json:
        print(json.dumps(made))
        return 0
    ca = f" --ca {args.ca}" if args.ca else ""
    print(f"{session.name}: in effect, number {made.get('number')}, hash {clean(str(made.get('sha256')))}", flush=True)
    if made.get("number") == 1:
        print(f"Next: cloister run --broker {args.url}{ca} --session {session.name} -- PROGRAM", file=sys.stderr)
    return 0


def _approval(name: str) -> object:
    """The approval's JSON, which must be one: the broker's error would name no file."""
    data = read_input(name, LONGEST_APPROVAL)
    parse_approval(data, name)
    return _json.loads(data, name)


def _readable(client: AdminClient, session: Session) -> InEffect | None:
    """What is in effect, if there is something and we may read it."""
    try:
        return in_effect(client, session.name, session)
    except (Denied, NotAttested, UsageError):
        return None


def _check_predecessor(args: argparse.Namespace, session: Session, before: InEffect) -> None:
    if session.predecessor != before.sha256:
        given = f"it replaces {session.predecessor}" if session.predecessor else "it replaces no session"
        ca = f" --ca {args.ca}" if args.ca else ""
        raise UsageError(
            f"{args.file}: {given}, but {before.sha256} is in effect at {args.url}. See what differs: "
            f"`cloister session diff {args.file} --url {args.url}{ca} ...`; if that is what you want, write "
            f'`predecessor: "{before.sha256}"` into {args.file}'
        )


# ------------------------------------------------------------------------------------------------- the others


def list_options(parser: argparse.ArgumentParser) -> None:
    """Options of `list`."""
    add_server_options(parser)
    parser.add_argument("--all", action="store_true", help="those that were replaced too")
    parser.add_argument("--json", action="store_true", help="print the broker's answer as JSON")


def print_list(args: argparse.Namespace) -> int:
    """The sessions at a broker."""
    found = client_of(args).sessions()
    newest = {one["name"]: one for one in found}
    shown = found if args.all else list(newest.values())
    print(json.dumps({"sessions": shown}) if args.json else "\n".join(_listed(shown)) or "no sessions")
    return 0


def _listed(sessions: list[dict[str, Any]]) -> Iterator[str]:
    for one in sessions:
        state = f"revoked {one['revoked']}" if "revoked" in one else f"since {one['created']}"
        yield clean(f"{one['name']}  number {one['number']}  {one['sha256']}  {state}")


def rotate_options(parser: argparse.ArgumentParser) -> None:
    """Options of `rotate`."""
    parser.add_argument("name", metavar="NAME", help="the session")
    parser.add_argument("secret", metavar="SECRET", nargs="+", help="a secret of it that the broker makes")
    add_server_options(parser)


def rotate(args: argparse.Namespace) -> int:
    """New values; whoever asks from now on gets them."""
    made = client_of(args).rotate_session(args.name, args.secret)
    print(clean(f"{args.name}: number {made.get('number')}, new values of {', '.join(args.secret)}"))
    return 0


def revoke_options(parser: argparse.ArgumentParser) -> None:
    """Options of `revoke`."""
    parser.add_argument("name", metavar="NAME", help="the session")
    add_server_options(parser)


def revoke(args: argparse.Namespace) -> int:
    """The end of a session."""
    client_of(args).revoke_session(args.name)
    print(clean(f"{args.name}: revoked; what was made for it is destroyed"))
    return 0
