"""What `cloister serve` does before it serves: the verifier that the options describe, and words for the person."""

import argparse
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from cloister.appraise.reference import ReferenceValues
from cloister.cli._verify_inputs import anchors_and_keys, anchors_named, endorsements_of
from cloister.errors import UsageError
from cloister.result.signing import SigningKey
from cloister.verification.recipe import Allowances
from cloister.verifier import Verifier
from cloister.verifier.policy_files import load_policy
from cloister.verifier.verifier import NO_POLICY

if TYPE_CHECKING:
    from cloister.serve.appraiser import Appraiser
    from cloister.serve.server import Listening
    from cloister.serve.service import Service

__all__ = ["announced", "appraiser_maker"]


def appraiser_maker(args: argparse.Namespace) -> "Callable[[SigningKey], Appraiser]":
    """The verifier of these options; files are read now, so that mistakes in them end the start."""
    from cloister.serve.appraiser import Appraiser  # noqa: PLC0415 - an extra

    if args.at is not None:
        raise UsageError("--at is for single verifications: a service verifies for the time that it is")
    anchors, keys = anchors_and_keys(args)
    verifier = Verifier(anchors=anchors, endorsements=endorsements_of(args) | keys)
    policy, references = (
        (NO_POLICY, ReferenceValues()) if args.policy is None else load_policy(Path(args.policy), datetime.now(UTC))
    )
    allow = Allowances(unsafe_allow_debug=args.unsafe_allow_debug, unsafe_skip_revocation=args.unsafe_skip_revocation)
    accept = anchors_named(args)

    def make(key: SigningKey) -> Appraiser:
        return Appraiser(
            verifier=verifier, key=key, clock=lambda: datetime.now(UTC), policy=policy, references=references,
            accept_anchors=accept, allow=allow,
        )  # fmt: skip

    return make


def announced(service: "Service", how: "Listening", address: tuple[str, int], token_file: str | None) -> None:
    """Say where it listens, what it is, and the next command to type. The token is shown here, once."""
    from cloister.serve.first_start import fingerprint_of, private_file  # noqa: PLC0415 - an extra

    scheme = "http" if how.certificate is None else "https"
    host = f"[{address[0]}]" if ":" in address[0] else address[0]
    url = f"{scheme}://{host}:{address[1]}"
    lines = []
    if how.certificate is not None:
        lines.append(f"certificate: {how.certificate}, SHA-256 {fingerprint_of(how.certificate)}")
    if service.shared.new_token:
        if token_file is None:
            lines += ["", "The administrator's token, shown this once:", "", f"    {service.shared.new_token}", ""]
            lines += ["Next: keep it in a file that only you can read, and store a secret:", ""]
            lines += ["    install -m 600 /dev/stdin admin-token     # paste it, then Ctrl-D"]
        else:
            private_file(Path(token_file), service.shared.new_token.encode() + b"\n")
            lines += ["", f"The administrator's token is in {token_file}. Next: store a secret:", ""]
        ca = "" if how.certificate is None else f" --ca {how.certificate}"
        token = token_file or "admin-token"
        lines += [
            f"    cloister secret put app/keys/db --to snp:MEASUREMENT --url {url}{ca} \\",
            f"        --admin-token-file {token} < db.key", "",
        ]  # fmt: skip
    print("\n".join([*lines, f"cloister serve: listening on {url}"]), file=sys.stderr, flush=True)
