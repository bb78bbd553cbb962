"""Look at attestation results and verify them: EAR tokens (JWT or CWT) of Cloister, Veraison or Trustee.

An attestation result is what a verifier concludes from an attester's evidence, signed for relying parties. `show` only
decodes: anybody can have written what it prints. `verify` checks who signed it, whether it is valid now and whether it
answers your nonce, and exits with its verdict.
"""

import argparse
import json
import sys
from datetime import timedelta
from pathlib import Path

from cloister.appraise.vector import Tier
from cloister.cli._actions import add_actions
from cloister.cli._arguments import nonce_of, read_input, time_of
from cloister.cli._result_text import document, lines
from cloister.cli._terminal import clean
from cloister.errors import CloisterError, UsageError
from cloister.model import Unchecked
from cloister.result.keys import VerificationKey, read_verification_keys
from cloister.result.token import LONGEST_JWT, parse_token
from cloister.result.verify import decode_unverified, verify_result

__all__ = ["build_parser", "run"]

CODES = {Tier.AFFIRMING: 0, Tier.NONE: 3, Tier.WARNING: 3, Tier.CONTRAINDICATED: 4}
NOT_VERIFIED = "NOT VERIFIED: anybody can have written this; `cloister result verify` checks who signed it"
NO_NONCE = "no --nonce was given: this may be an old result, sent again"
NO_AGE = "no --max-age was given"
EPILOG = """\
examples:
  cloister result show result.jwt                              what it claims, without believing it
  curl -s https://verifier.example/result | cloister result show -
  cloister result verify result.jwt --key verifier.pem --nonce 1f8a55c02e7710d4
  cloister result verify result.cwt --key jwks.json --json     one JSON document, for scripts
  cloister result verify old.jwt --key verifier.jwk --at 2026-01-31T12:00:00Z

A key that stands in the token itself is never used: get the verifier's public key in a way that you trust.
Without --nonce or --max-age, a result that never expires can be sent again for ever.

exit codes:
  0    affirming; for `show`: it was decoded, which says nothing about whether it is true
  2    the token is malformed, or the command line is wrong
  3    warning or none: the verifier vouches with reservations, or does not say
  4    contraindicated: the verifier warns of this attester
  5    not authentic: not signed by this key, another nonce, or it contradicts itself
  6    could not decide: expired, not valid yet, or older than --max-age
"""


def build_parser(parser: argparse.ArgumentParser) -> None:
    """Options of `cloister result`."""
    actions = {
        "show": ("decode without believing", token_options),
        "verify": ("verify, and exit with the verdict", verify_options),
    }
    add_actions(parser, EPILOG, actions)


def token_options(parser: argparse.ArgumentParser) -> None:
    """The token, which is all that `cloister result show` wants to know."""
    parser.add_argument("token", metavar="TOKEN|FILE|-", help="a JWT itself, a file with a JWT or CWT, or - for stdin")
    parser.add_argument("--json", action="store_true", help="print one JSON document on standard output")


def verify_options(parser: argparse.ArgumentParser) -> None:
    """Options of `cloister result verify`."""
    token_options(parser)
    parser.add_argument(
        "--key", metavar="FILE", action="append", required=True, help="the verifier's: PEM, JWK or JWK set; repeatable"
    )
    parser.add_argument("--nonce", metavar="HEX", help="what you sent to the verifier; the result must echo it")
    parser.add_argument("--max-age", metavar="SECONDS", type=int, help="refuse results issued longer ago")
    parser.add_argument("--at", metavar="TIME", help="verify for this time (ISO 8601, UTC if it has no zone), not now")


def run(args: argparse.Namespace) -> int:
    """Show or verify; returns the exit code."""
    token = read_token(args.token)
    try:
        return show(token, as_json=args.json) if args.action == "show" else verify(token, args)
    except CloisterError as error:
        error.args = (clean(str(error)),)  # it may quote the token
        raise


def show(token: bytes, *, as_json: bool) -> int:
    """Print what the token claims."""
    print(NOT_VERIFIED, file=sys.stderr)
    decoded = decode_unverified(token)
    if as_json:
        claimed = document(decoded.claimed, decoded.token, verified=False, unchecked=[NOT_VERIFIED])
        print(json.dumps(claimed, indent=2))
    else:
        print(*lines(decoded.claimed, decoded.token), sep="\n", file=sys.stderr)
    return 0


def verify(token: bytes, args: argparse.Namespace) -> int:
    """Verify the token, print what it says, and return the code of its status."""
    nonce = Unchecked(NO_NONCE) if args.nonce is None else nonce_of(args.nonce)
    max_age = Unchecked(NO_AGE) if args.max_age is None else age_of(args.max_age)
    keys = keys_of(args.key)
    result = verify_result(token, keys, at=time_of(args.at), nonce=nonce, max_age=max_age)
    unchecked = [one.reason for one in (nonce, max_age) if isinstance(one, Unchecked)]
    if args.json:
        print(json.dumps(document(result, parse_token(token), verified=True, unchecked=unchecked), indent=2))
    else:
        print("verified: signed by the key given, and valid at the time asked for", file=sys.stderr)
        print(*lines(result, parse_token(token)), sep="\n", file=sys.stderr)
        for reason in unchecked:
            print(f"not checked: {reason}", file=sys.stderr)
    return CODES[result.status]


def read_token(given: str) -> bytes:
    """The token itself, from the command line, a file or standard input."""
    if given.startswith("ey") and given.count(".") == 2 and "/" not in given:
        return given.encode("utf-8", "surrogateescape")
    data = read_input(given, LONGEST_JWT + 2)
    return data.rstrip(b"\r\n") if data.startswith(b"ey") else data


def keys_of(files: list[str]) -> list[VerificationKey]:
    """The keys in all files."""
    return [key for file in files for key in read_verification_keys(Path(file))]


def age_of(seconds: int) -> timedelta:
    """The maximum age that the command line gives."""
    if not 0 <= seconds <= 10**9:
        raise UsageError("--max-age takes a number of seconds from 0 to 1000000000")
    return timedelta(seconds=seconds)
