"""Store, list, rotate and revoke the secrets of a broker (`cloister serve`).

A secret is written from standard input and never read back: what leaves the broker is encrypted to a key that attested.
Its rule names the programs that may have it, by their launch measurement; nobody else gets it.
"""

import argparse
import json
import sys
from typing import Any

from cloister.cli._secret_rekey import add_rekey_options, rekey
from cloister.cli._terminal import clean
from cloister.errors import UsageError
from cloister.serve.admin_client import AdminClient, token_from

__all__ = ["build_parser", "run"]

EPILOG = """\
examples:
  cloister secret put app/keys/db --to snp:5a1c... < db.key
  cloister secret put app/keys/db --to sgx:9f00... --to tdx:77ab... \\
                  --expires 2027-01-31T12:00:00Z < db.key
  cloister secret put app/keys/dev --to software:31c4... --anchor software < k
  cloister secret list --json
  cloister secret get app/keys/db            # versions and rule, not the value
  cloister secret rotate app/keys/db < new.key
  cloister secret revoke app/keys/db
  cloister secret rekey --state DIR --new-kek tpm    # on the broker's machine

`cloister measure` computes what --to takes. Anchors other than `hardware`
prove less: `software` trusts the host's administrator, `owner` a key that was
handed over, `testing` proves nothing.

exit codes:
  0  done
  2  the command line, the name, the rule or the value cannot be
  4  the secret was revoked
  5  the administrator's token is missing or wrong
  6  the broker does not answer, or could not decide
"""
LARGEST = 1 << 16


def build_parser(parser: argparse.ArgumentParser) -> None:
    """Options of `cloister secret`."""
    parser.epilog = EPILOG
    parser.add_argument("action", choices=("put", "get", "list", "rotate", "revoke", "rekey"), help="what to do")
    parser.add_argument("name", nargs="?", metavar="NAME", help="REPOSITORY/TYPE/TAG, as the KBS protocol has it")
    parser.add_argument("--to", metavar="TEE:HEX", action="append", default=[], help="put: who may have it; repeatable")
    parser.add_argument(
        "--anchor", choices=("hardware", "owner", "software"), action="append", default=[],
        help="put: what may vouch (default: hardware); repeatable",
    )  # fmt: skip
    parser.add_argument(
        "--unsafe-accept-testing", action="store_true", help="put: roots of emulators and tests may vouch too"
    )
    parser.add_argument("--expires", metavar="TIME", default="", help="put: not after this time (RFC 3339)")
    parser.add_argument("--url", metavar="URL", default="https://127.0.0.1:8443", help="the broker")
    parser.add_argument("--ca", metavar="FILE", default="", help="the certificate to trust: STATE/tls.pem")
    parser.add_argument("--admin-token-file", metavar="FILE", help="the token (default: $CLOISTER_ADMIN_TOKEN)")
    parser.add_argument("--json", action="store_true", help="print the broker's answer as JSON")
    add_rekey_options(parser)


def run(args: argparse.Namespace) -> int:
    """Ask the broker, and print what it says."""
    if args.action == "rekey":
        return rekey(args)
    if args.new_kek or args.kek or args.state or args.database:
        raise UsageError("--state, --database, --kek and --new-kek are for `cloister secret rekey`")
    if (args.name is None) != (args.action == "list"):
        raise UsageError(f"`cloister secret {args.action}` takes " + ("no NAME" if args.action == "list" else "a NAME"))
    if args.action != "put" and (args.to or args.anchor or args.expires or args.unsafe_accept_testing):
        raise UsageError("--to, --anchor, --unsafe-accept-testing and --expires are for `cloister secret put`")
    client = AdminClient(url=args.url, token=token_from(args.admin_token_file), ca=args.ca)
    answer: dict[str, Any] = {}
    if args.action == "put":
        answer = client.put(args.name, value_from_stdin(), rule_of(args), args.expires)
    elif args.action == "rotate":
        answer = client.rotate(args.name, value_from_stdin())
    elif args.action == "revoke":
        answer = client.revoke(args.name)
    else:
        answer = {"secrets": client.versions(args.name or "")}
    print(json.dumps(answer) if args.json else "\n".join(lines(args, answer)))
    return 0


def value_from_stdin() -> bytes:
    """Every byte, a line feed at the end included: it may be part of the secret."""
    if sys.stdin.isatty():
        raise UsageError("the secret comes from standard input: `< FILE`, or a pipe")
    value = sys.stdin.buffer.read(LARGEST + 1)
    if not 1 <= len(value) <= LARGEST:
        raise UsageError(f"a secret has 1 to {LARGEST} bytes")
    return value


def rule_of(args: argparse.Namespace) -> dict[str, Any]:
    """The release rule of the options; UsageError if nobody could have the secret."""
    measurements: dict[str, list[str]] = {}
    for one in args.to:
        tee, _, digest = one.partition(":")
        measurements.setdefault(tee, []).append(digest.rpartition(":")[2].lower())
    if not measurements:
        raise UsageError("name who may have it: --to TEE:MEASUREMENT (`cloister measure` computes it)")
    anchors = sorted({*(args.anchor or ["hardware"]), *(["testing"] if args.unsafe_accept_testing else [])})
    return {"measurements": measurements, "anchors": anchors}


def lines(args: argparse.Namespace, answer: dict[str, Any]) -> list[str]:
    """The answer for people."""
    if args.action in {"put", "rotate"}:
        return [f"{clean(args.name)}: version {answer.get('version')}"]
    if args.action == "revoke":
        return [f"{clean(args.name)}: revoked, its keys are destroyed"]
    return [line for one in answer["secrets"] for line in told(one)] or ["no secrets"]


def told(one: dict[str, Any]) -> list[str]:
    """One version: name, state, who may have it."""
    state = "revoked" if "revoked" in one else f"until {one['expires']}" if "expires" in one else "valid"
    rule = one.get("release", {})
    who = [f"    {tee}:{digest}" for tee, some in rule.get("measurements", {}).items() for digest in some]
    anchors = ", ".join(rule.get("anchors", []))
    return [clean(line) for line in (f"{one['name']}  version {one['version']}  {state}  ({anchors})", *who)]
