"""`cloister verify --ear`: the verdict as a signed attestation result, for relying parties."""

import argparse
import hashlib
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cloister import __version__
from cloister.errors import UsageError
from cloister.result.attestation import AttestationResult, Profile, Submodule, Verifier
from cloister.result.keys import jwk_set, read_signing_key, write_signing_key
from cloister.result.signing import SigningKey
from cloister.result.token import issue_cwt, issue_jwt
from cloister.verifier import Verdict

__all__ = ["add_options", "check_options", "key_in", "write_result"]

PROFILES = {"veraison": Profile.VERAISON, "trustee": Profile.TRUSTEE, "draft": Profile.DRAFT_03}
LONGEST_LIFETIME = 10 * 365 * 86_400
NONCES = range(8, 65)
"""Bytes of a nonce that a token may echo (RFC 9711, section 4.1)."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of this page."""
    parser.add_argument("--ear", metavar="FILE", help="write the verdict as a signed EAR: a JWT, or a CWT for *.cwt")
    parser.add_argument(
        "--signing-key", metavar="FILE", help="the verifier's private key (made, mode 0600, if missing)"
    )
    parser.add_argument("--profile", choices=PROFILES, default="veraison", help="whose EAR (default: %(default)s)")
    parser.add_argument(
        "--lifetime", metavar="SECONDS", type=int, default=3600, help="of the EAR (default: %(default)s)"
    )


def check_options(args: argparse.Namespace) -> None:
    """UsageError if a result could not be signed with these options."""
    if args.ear is None:
        if args.signing_key is not None:
            raise UsageError("--signing-key signs what --ear FILE writes; give both")
        return
    if args.signing_key is None:
        raise UsageError("--ear needs --signing-key FILE: a result that nobody signed is worth nothing")
    if not 0 < args.lifetime <= LONGEST_LIFETIME:
        raise UsageError(f"--lifetime takes a number of seconds from 1 to {LONGEST_LIFETIME}")


def write_result(args: argparse.Namespace, key: SigningKey, verdict: Verdict, evidence: bytes, nonce: bytes) -> None:
    """Sign the verdict and write it."""
    echoed = nonce if len(nonce) in NONCES else b""
    try:
        result = result_of(verdict, evidence, echoed, args)
        token = issue_cwt(result, key) if args.ear.endswith(".cwt") else issue_jwt(result, key)
    except ValueError as error:
        raise UsageError(f"{args.ear}: this verdict cannot be written as such a result: {error}") from error
    written(Path(args.ear), token)
    if nonce and not echoed:
        print(
            f"cloister verify: {args.ear} does not echo the nonce: it has {len(nonce)} bytes, and a result can carry"
            f" {NONCES[0]} to {NONCES[-1]}", file=sys.stderr,
        )  # fmt: skip


def result_of(verdict: Verdict, evidence: bytes, nonce: bytes, args: argparse.Namespace) -> AttestationResult:
    """The verdict as a result; ValueError if its profile cannot say what it says."""
    digest, now = hashlib.sha256(evidence).digest(), datetime.now(UTC)
    primary, *others = verdict.appraisals
    told = [replace(primary, unchecked=verdict.unchecked), *others]  # bindings, event logs and leftovers too
    named = zip(names_of(verdict), told, strict=True)
    return AttestationResult.of(
        {name: Submodule.of(one, evidence_sha256=digest) for name, one in named},
        verifier=Verifier(developer="Cloister", build=f"cloister {__version__}"), issued_at=now,
        expires_at=now + timedelta(seconds=args.lifetime), nonce=nonce, profile=PROFILES[args.profile],
    )  # fmt: skip


def written(path: Path, data: bytes) -> None:
    """Write a file; UsageError if that cannot be done."""
    try:
        path.write_bytes(data)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"cannot write {path}: {reason}") from error


def names_of(verdict: Verdict) -> list[str]:
    """`cpu0` for the first, the TEE's name for the others; numbered where there are several."""
    names: list[str] = []
    for index, one in enumerate(verdict.appraisals):
        name = "cpu0" if index == 0 else str(one.tee)
        names.append(name if name not in names else f"{name}{index}")
    return names


def key_in(path: Path) -> SigningKey:
    """The private key in a file; a new one, with its public half beside it, if there is no such file."""
    if path.exists():
        return read_signing_key(path)
    key = SigningKey.generate()
    write_signing_key(path, key)
    public = path.with_name(f"{path.name}.jwks")
    written(public, jwk_set(key).encode())
    print(f"made a signing key, {path}; relying parties verify with {public}", file=sys.stderr)
    return key
