"""Intel's statements that come along with evidence, in the containers that `cloister.endorse` reads."""

from collections.abc import Mapping

from cloister.endorse import openenclave
from cloister.endorse.bundle import canonical, members_of
from cloister.endorse.intel import IntelCollateral
from cloister.envelope.contents import Envelope, Opening

__all__ = ["looks_like", "looks_like_json", "open_container", "open_json"]


def looks_like(data: bytes) -> bool:
    """Whether these are Open Enclave's endorsements, or Intel's collateral as it stood in memory."""
    return openenclave.looks_like(data) and b"-----BEGIN CERTIFICATE-----" in data


def looks_like_json(value: object) -> bool:
    """Whether a JSON value is a bundle."""
    return isinstance(value, Mapping) and "tcb_info" in value and "qe_identity" in value


def open_container(data: bytes, opening: Opening) -> Envelope:
    """The statements of a bundle."""
    return open_json(openenclave.parse(opening.spend(data)), opening)


def open_json(value: object, _opening: Opening) -> Envelope:
    """The statements of a bundle whose members are these."""
    bundle = IntelCollateral.from_json(canonical(members_of(value)), source="the envelope")
    return Envelope(intel=(bundle,), path=("Intel collateral",))
