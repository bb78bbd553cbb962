"""A session to start from: every line explained, safe where the author has not chosen yet."""

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from cloister.broker.session.language import VERSION
from cloister.broker.session.read_attestation import NOT_HARDWARE
from cloister.model import Tee

__all__ = ["Program", "session_to_start_from"]

HEAD: Final = """\
# A session: which attested program gets which secrets. Check it with `cloister session check FILE`.
# Every key is in docs/formats/session.md; `cloister session schema` prints a schema for your editor.

name: {name}
version: "{version}"           # of this language, not of your session

# An update says which session it replaces: the hash that `cloister session hash OLD` prints.
# predecessor: "..."

# Random. Needed as soon as a secret has a `value` here: without it, the session's hash would let people guess.
salt: "{salt}"

services:
  - name: {service}
    # Who may be this service. Everything in one entry must hold; further entries are alternatives.
    attestation:
"""
SIGNED: Final = """\
        product: {product}                # which of the signer's programs (ISVPRODID)
"""
PLACES: Final = """\
    # Where the program finds its secrets. All of this exists inside the TEE only.
"""
SECRETS: Final = """
secrets:
"""
TAIL: Final = """
# Who may read this session (never the values of its secrets), and who may propose an update.
access_policy:
  read: [CREATOR]
  update: [CREATOR]
"""
NO_OWNERS: Final = """
# With this, an update takes effect only when so many of these people have signed it (`cloister session sign`).
# approvals:
#   threshold: 2
#   owners:
#     - name: alice
#       key: |
#         -----BEGIN PUBLIC KEY-----
#         ...
#         -----END PUBLIC KEY-----
"""
OWNERS: Final = """
# An update takes effect only when so many of these people have signed it (`cloister session sign`).
approvals:
  threshold: {threshold}
  owners:
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A program by its measurement, or by its signer: `digits` are hexadecimal."""

    tee: Tee
    digits: str
    signed: bool = False


def session_to_start_from(
    name: str, service: str, programs: Iterable[Program], secrets: Iterable[tuple[str, str]], *, salt: bytes,
    owners: Sequence[tuple[str, str]] = (), threshold: int = 0,
) -> str:  # fmt: skip
    """The YAML. `secrets` are names and kinds, all made by the broker; `owners` names and public keys in PEM."""
    text = HEAD.format(name=name, version=VERSION, salt=salt.hex(), service=service)
    wanted = tuple(secrets)
    return (
        text
        + "".join(map(_entry, programs))
        + _places(wanted)
        + SECRETS
        + "".join(map(_secret, wanted))
        + TAIL
        + _approvals(owners, threshold)
    )


def _approvals(owners: Sequence[tuple[str, str]], threshold: int) -> str:
    if not owners:
        return NO_OWNERS
    entries = (f"    - name: {name}\n      key: |\n{textwrap.indent(pem.strip(), ' ' * 8)}\n" for name, pem in owners)
    return OWNERS.format(threshold=threshold) + "".join(entries)


def _entry(program: Program) -> str:
    tee = program.tee
    lines = [f"      - tee: {tee}\n"]
    if program.signed:
        lines.append(f'        signer: "{program.digits}"\n')
        lines.append(SIGNED.format(product=0) if tee is Tee.SGX else "")
        lines.append("        minimum_security_version: 0   # raise it when a version turns out to have a hole\n")
    else:
        lines.append(f'        measurement: "{program.digits}"\n')
    if tee in NOT_HARDWARE:
        anchor, because = NOT_HARDWARE[tee]
        lines.append(f"        anchors: [{anchor}]         # {because}\n")
    if tee in {Tee.SGX, Tee.TDX}:
        lines.append("        # tolerate: [SWHardeningNeeded]          # platforms that are not quite up to date,\n")
        lines.append("        # ignore_advisories: [INTEL-SA-00615]    # and which advisories do not matter here\n")
    return "".join(lines)


def _places(secrets: tuple[tuple[str, str], ...]) -> str:
    text = [name for name, kind in secrets if kind == "ascii"]
    files = [(name, f"$$SCONE::{name}$$") for name, kind in secrets if kind not in {"ascii", "x509"}]
    certified = [name for name, kind in secrets if kind == "x509"]
    files += [(f"{name}.{form}", f"$$SCONE::{name}:{form}$$") for name in certified for form in ("crt", "key")]
    lines = [PLACES]
    if text:
        lines.append("    environment:\n")
        lines += [f'      {_variable(name)}: "$$SCONE::{name}$$"\n' for name in text]
    if files:
        lines.append("    injection_files:\n")
        lines += [f'      - path: /run/secrets/{name}\n        content: "{content}"\n' for name, content in files]
    return "".join(lines)


def _variable(name: str) -> str:
    spelled = "".join(one if one.isalnum() else "_" for one in name.upper())
    return spelled if spelled[0].isalpha() and len(spelled) > 1 else f"SECRET_{spelled}"


def _secret(secret: tuple[str, str]) -> str:
    name, kind = secret
    how = "{ common_name: localhost, dns: [localhost], days: 90 }" if kind == "x509" else "{}"
    return f"  - name: {name}\n    kind: {kind}\n    generate: {how}   # the broker makes it; nobody else sees it\n"
