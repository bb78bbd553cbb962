"""What forged subjects have in common: evidence that answers nonces, and a policy of a few lines."""

from collections.abc import Callable
from typing import Any

from tests.forge.x509 import NOW

from cloister.appraise.parse_policy import parse_policy
from cloister.endorse.anchors import TrustAnchors
from cloister.endorse.store import Endorsements
from cloister.model import Challenge, Tee

__all__ = ["answering", "settings"]

PROGRAMS = {
    Tee.SGX: f'mrenclave = "{bytes(range(32)).hex()}"',
    Tee.TDX: f'mrtd = "{bytes(range(48)).hex()}"',
    Tee.SNP: f'measurement = "{bytes(range(48)).hex()}"',
}
"""The program, as the forges measure it."""


def settings(tee: Tee, anchors: TrustAnchors, endorsements: Endorsements) -> dict[str, Any]:
    """What a subject of a TEE has besides evidence, with a policy of a few lines."""
    rules = PROGRAMS.get(tee, "unsafe_any_measurement = true")
    text = f'accept_anchors = ["testing", "software"]\n[{tee}]\n{rules}\n'
    return {"anchors": anchors, "endorsements": endorsements, "at": NOW, "policy": parse_policy(text)}


def answering(count: int, make: Callable[[bytes], bytes], *, size: int = 64) -> list[tuple[bytes, Challenge]]:
    """`count` pieces of evidence, each over another nonce."""
    nonces = [number.to_bytes(size) for number in range(1, count + 1)]
    return [(make(nonce), Challenge(nonce)) for nonce in nonces]
