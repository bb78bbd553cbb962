"""One endorsement as it is kept: a certificate, a revocation list, or a bundle of Intel's statements, and its origin.

Its form is what other tools read: PEM with explanatory lines before it (RFC 7468, section 5.2), or the JSON bundle with
two members more. Its name says what it is and ends in a digest of the content, so that a damaged file is noticed.
"""

import base64
import functools
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Final, NamedTuple

from cloister import _json
from cloister._x509 import Certificate, Crl, common_name, pem_blocks
from cloister.endorse.bundle import canonical, members_of
from cloister.endorse.intel import IntelCollateral
from cloister.errors import ParseError

__all__ = ["CERTIFICATE", "CRL", "LARGEST", "Content", "Piece", "Window", "armoured"]

Content = Certificate | Crl | IntelCollateral
CERTIFICATE: Final = "CERTIFICATE"
CRL: Final = "X509 CRL"
LARGEST: Final = 8 << 20
"""Bytes of one piece."""
LONGEST_ORIGIN: Final = 500
"""Characters of what is remembered about where a piece came from."""
NOTE: Final = re.compile(rb"^(source|obtained): ([^\n]*)$", re.MULTILINE)


class Window(NamedTuple):
    """From when until when a part of a piece holds, both included; `end` is None where its issuer sets none."""

    part: str
    start: datetime
    end: datetime | None


@dataclass(frozen=True, kw_only=True, eq=False)
class Piece:
    """Something that vouches. `payload` is its content in one form only: DER, or the members of a bundle.

    `source` is a URL or a file name, `obtained` when it was got from there. Nothing is verified.
    """

    content: Content
    payload: bytes = field(repr=False)
    source: str = ""
    obtained: datetime | None = None

    @classmethod
    def of_der(cls, der: bytes, label: str) -> "Piece":
        """From the DER of a certificate or a revocation list; `label` as in PEM."""
        return cls._checked(Certificate.parse(der) if label == CERTIFICATE else Crl.parse(der), der)

    @classmethod
    def of_members(cls, members: object, source: str = "") -> "Piece":
        """From the members of Intel's bundle."""
        payload, source = canonical(members_of(members)), plain(source)
        return replace(cls._checked(IntelCollateral.from_json(payload, source=source), payload), source=source)

    @classmethod
    def _checked(cls, content: Content, payload: bytes) -> "Piece":
        if len(payload) > LARGEST:
            raise ParseError(type(content).__name__, "length", 0, f"{len(payload)} bytes; at most {LARGEST}")
        piece = cls(content=content, payload=payload)
        _ = piece.stem, piece.windows  # what could not be named or dated is refused here, where its origin is known
        return piece

    @classmethod
    def parse(cls, data: bytes) -> "Piece":
        """Read what `serialize` writes."""
        if data.lstrip().startswith(b"{"):
            top = _json.loads(data, "cached collateral")
            notes = top if isinstance(top, Mapping) else {}
            return cls.of_members(top, str(notes.get("source", ""))).noted(notes)
        found = [(label, der) for label in (CERTIFICATE, CRL) for der in pem_blocks(data, label)]
        if len(found) != 1:
            raise ParseError(
                "cached collateral", "PEM", 0, f"has {len(found)} certificates and lists; it must have one"
            )
        notes = {match[1].decode(): match[2].decode("utf-8", "replace") for match in NOTE.finditer(data)}
        return cls.of_der(found[0][1], found[0][0]).noted(notes)

    def noted(self, notes: Mapping[str, object]) -> "Piece":
        """With what a file says about its origin; a time that is none is left out."""
        try:
            obtained = datetime.fromisoformat(str(notes.get("obtained", ""))).astimezone(UTC)
        except (ValueError, OverflowError):
            obtained = None
        return self.at(str(notes.get("source") or ""), obtained)

    def at(self, source: str, obtained: datetime | None) -> "Piece":
        """The same piece with another origin."""
        source, content = plain(source), self.content
        if isinstance(content, IntelCollateral) and content.source != source:
            content = replace(content, source=source)
        return replace(self, content=content, source=source, obtained=obtained)

    def serialize(self) -> bytes:
        """The file."""
        notes = {"source": self.source, "obtained": self.obtained.isoformat() if self.obtained else ""}
        if isinstance(self.content, IntelCollateral):
            return json.dumps(notes | json.loads(self.payload), indent=1).encode() + b"\n"
        lines = "".join(f"{key}: {value}\n" for key, value in notes.items())
        return lines.encode() + b"\n" + armoured(self.payload, CRL if isinstance(self.content, Crl) else CERTIFICATE)

    @functools.cached_property
    def digest(self) -> str:
        """What the file name ends in."""
        return hashlib.sha256(self.payload).hexdigest()[:16]

    @functools.cached_property
    def stem(self) -> str:
        """What this is, in words that may stand in a file name."""
        content = self.content
        if isinstance(content, Certificate):
            return f"certificate-{word(content.name)}"
        if isinstance(content, Crl):
            return f"crl-{word(common_name(content.issuer))}-{content.this_update:%Y%m%dT%H%M%SZ}"
        tcb, issuers = content.tcb, sorted({word(common_name(one.issuer)) for one in content.crls})
        authority = next((one.split("-")[-2].lower() for one in issuers if one.endswith("-CA") and "PCK" in one), "any")
        return f"intel-{tcb.tee}-{tcb.fmspc.hex()}-{authority}-eval{tcb.evaluation}-{tcb.issued:%Y%m%dT%H%M%SZ}"

    @property
    def name(self) -> str:
        """The file name."""
        return f"{self.stem}-{self.digest}.{'json' if isinstance(self.content, IntelCollateral) else 'pem'}"

    @functools.cached_property
    def windows(self) -> tuple[Window, ...]:
        """When each part of this holds."""
        content = self.content
        if isinstance(content, Certificate):
            return (_of_certificate(content),)
        if isinstance(content, Crl):
            return (_of_crl(content),)
        chain = dict.fromkeys((*content.tcb_info_chain, *content.qe_identity_chain))
        return (
            Window("TCB info", content.tcb.issued, content.tcb.next_update),
            Window("QE identity", content.qe.issued, content.qe.next_update),
            *map(_of_crl, content.crls),
            *map(_of_certificate, chain),
        )

    @property
    def window(self) -> Window:
        """When all of it holds; `part` is what ends first."""
        first = min(self.windows, key=lambda one: one.end or datetime.max.replace(tzinfo=UTC))
        return Window(first.part, max(one.start for one in self.windows), first.end)


def _of_certificate(one: Certificate) -> Window:
    return Window(f"certificate {one.name!r}", one.not_before, one.not_after)


def _of_crl(one: Crl) -> Window:
    return Window(f"revocation list of {common_name(one.issuer)!r}", one.this_update, one.next_update)


def word(text: str) -> str:
    """Text as a part of a file name: letters, digits and dashes, at most 60."""
    return re.sub(r"[^A-Za-z0-9]+", "-", text).strip("-")[:60] or "unnamed"


def plain(text: str) -> str:
    """One line of printable characters, so that an origin can neither break a file nor a terminal."""
    return "".join(one if one.isprintable() else "?" for one in text)[:LONGEST_ORIGIN]


def armoured(der: bytes, label: str) -> bytes:
    """PEM (RFC 7468)."""
    digits = base64.b64encode(der).decode()
    lines = [digits[at : at + 64] for at in range(0, len(digits), 64)]
    return "\n".join([f"-----BEGIN {label}-----", *lines, f"-----END {label}-----", ""]).encode()
