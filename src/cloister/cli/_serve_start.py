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

__all__ = ["address_of", "announced", "appraiser_maker", "listening"]


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


def address_of(text: str, option: str = "--listen") -> tuple[str, int]:
    """Host and port; UsageError if it is not that."""
    host, colon, port = text.rpartition(":")
    if not colon or not host or not (port.isascii() and port.isdecimal()) or int(port) > 65_535:
        raise UsageError(f"{option} {text}: give HOST:PORT, like 127.0.0.1:8443")
    return host.strip("[]"), int(port)


def listening(args: argparse.Namespace, state: Path, host: str) -> "Listening":
    """With the certificate given, with one that is made, or in plain HTTP."""
    from cloister.serve.first_start import State  # noqa: PLC0415 - an extra
    from cloister.serve.server import Listening  # noqa: PLC0415

    if args.tls_cert:
        return Listening(certificate=Path(args.tls_cert), key=Path(args.tls_key))
    if args.unsafe_plain_http:
        return Listening()
    certificate, key = State(state).certificate(host)
    return Listening(certificate=certificate, key=key)


def announced(service: "Service", how: "Listening", address: tuple[str, int], args: argparse.Namespace) -> None:
    """Say where it listens, what it is, and the next commands to type. The token is shown here, once."""
    from cloister.serve.first_start import private_file, sha256_of  # noqa: PLC0415 - an extra

    scheme = "http" if how.certificate is None else "https"
    host = f"[{address[0]}]" if ":" in address[0] else address[0]
    url = f"{scheme}://{host}:{address[1]}"
    lines = []
    if how.certificate is not None:
        lines.append(f"certificate: {how.certificate}, SHA-256 {sha256_of(how.certificate).hex(':')}")
    if service.shared.new_token:
        if args.admin_token_file is None:
            lines += ["", "The administrator's token, shown this once:", "", f"    {service.shared.new_token}", ""]
            lines += ["Next: keep it in a file that only you can read, say which program gets secrets, and run it:", ""]
            lines += ["    install -m 600 /dev/stdin admin-token     # paste it, then Ctrl-D"]
        else:
            private_file(Path(args.admin_token_file), service.shared.new_token.encode() + b"\n")
            lines += ["", f"The administrator's token is in {args.admin_token_file}."]
            lines += ["Next: say which program gets secrets, and run it:", ""]
        ca = "" if how.certificate is None else f" --ca {how.certificate}"
        lines += [*_next_commands(f"{url}{ca}", args), ""]
    print("\n".join([*lines, f"cloister serve: listening on {url}"]), file=sys.stderr, flush=True)


def _next_commands(where: str, args: argparse.Namespace) -> list[str]:
    """From here to a program that has its secrets."""
    lines = [
        '    cloister session create --name demo --measurement "$(cloister measure ./app)" -o demo.yaml',
        f"    cloister session upload demo.yaml --url {where} \\",
        f"        --admin-token-file {args.admin_token_file or 'admin-token'}",
        f"    cloister run --broker {where} --session demo -- ./app",
    ]
    if not args.trust_host_key and not args.verifier_key:
        lines += ["", "Software enclaves are let in by their host's key: `cloister host-key -o host.pem` there, and"]
        lines += ["start this again with --trust-host-key host.pem."]
    return lines
