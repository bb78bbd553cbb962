"""Reports as Linux's configfs-tsm interface hands them out, in JSON or CBOR (Veraison's configfs-tsm media types).

{"provider": "sev_guest" | "tdx_guest" | "arm_cca_guest", "outblob": evidence, "auxblob": AMD's certificate table}

(Linux Documentation/ABI/testing/configfs-tsm-report.)
"""

from collections.abc import Mapping
from typing import Final

from cloister.envelope.cert_table import open_table
from cloister.envelope.contents import Envelope, Opening, join
from cloister.envelope.json_members import ignored, octets
from cloister.errors import ParseError

__all__ = ["looks_like", "open_value"]

NAME: Final = "configfs-tsm report"
PROVIDERS: Final = {
    "sev_guest": "AMD SEV-SNP report",
    "tdx_guest": "Intel TDX quote",
    "arm_cca_guest": "Arm CCA token",
}


def looks_like(value: object) -> bool:
    """Whether a JSON or CBOR value is such a report."""
    return isinstance(value, Mapping) and "outblob" in value and "provider" in value


def open_value(value: object, opening: Opening) -> Envelope:
    """The evidence, of the kind that its provider makes, and its certificates."""
    assert isinstance(value, Mapping)  # noqa: S101 - looks_like has nothing else
    provider = value["provider"]
    kind = PROVIDERS.get(provider.strip(), "") if isinstance(provider, str) else ""
    if not kind:
        raise ParseError(NAME, "provider", 0, f"is {str(provider)[:64]!r}; {', '.join(PROVIDERS)} are understood")
    found = opening.inside(member(value, "outblob"), NAME)
    if not found.path[-1].startswith(kind):
        raise ParseError(NAME, "outblob", 0, f"is {found.path[-1]}; {provider.strip()} makes an {kind}")
    notes = ignored(value, NAME, "provider", "outblob", "auxblob", "privilege_level")
    table = opening.spend(member(value, "auxblob")) if value.get("auxblob") else b""
    if not table:
        return join(found, Envelope(leftovers=notes))
    if kind != "AMD SEV-SNP report":
        raise ParseError(NAME, "auxblob", 0, f"stands beside an {kind}, which has no certificate table")
    return join(found, open_table(table, opening), Envelope(leftovers=notes))


def member(value: Mapping[str, object], key: str) -> bytes:
    """The bytes of a member: as they are in CBOR, as text in JSON."""
    found = value[key]
    return found if isinstance(found, bytes) else octets(found, NAME, key)
