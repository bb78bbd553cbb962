"""`cloister verify --ear`: the verdict as a signed attestation result, for relying parties."""

import argparse
import hashlib
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cloister import __version__
from cloister.errors import UsageError
from cloister.result.attestation import AttestationResult, Profile, Submodule, Verifier
from cloister.result.keys import jwk_set, read_signing_key, write_signing_key
from cloister.result.signing import SigningKey
from cloister.result.token import issue_cwt, issue_jwt
from cloister.verifier import Verdict

__all__ = ["add_options", "write_result"]

PROFILES = {"veraison": Profile.VERAISON, "trustee": Profile.TRUSTEE, "draft": Profile.DRAFT_03}
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


def write_result(args: argparse.Namespace, verdict: Verdict, evidence: bytes, nonce: bytes) -> None:
    """Sign the verdict and write it."""
    if not args.signing_key:
        raise UsageError("--ear needs --signing-key FILE: a result that nobody signed is worth nothing")
    if args.lifetime <= 0:
        raise UsageError("--lifetime takes a number of seconds above 0")
    digest, now = hashlib.sha256(evidence).digest(), datetime.now(UTC)
    names = names_of(verdict)
    submodules = {
        name: Submodule.of(one, evidence_sha256=digest) for name, one in zip(names, verdict.appraisals, strict=True)
    }
    result = AttestationResult.of(
        submodules, verifier=Verifier(developer="Cloister", build=f"cloister {__version__}"), issued_at=now,
        expires_at=now + timedelta(seconds=args.lifetime), nonce=nonce if len(nonce) in NONCES else b"",
        profile=PROFILES[args.profile],
    )  # fmt: skip
    key = key_in(Path(args.signing_key))
    token = issue_cwt(result, key) if args.ear.endswith(".cwt") else issue_jwt(result, key)
    try:
        Path(args.ear).write_bytes(token)
    except OSError as error:
        raise UsageError(f"cannot write {args.ear}: {error.strerror}") from error


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
    public.write_text(jwk_set(key))
    print(f"made a signing key, {path}; relying parties verify with {public}", file=sys.stderr)
    return key
