"""The signatures that belong to an ID block, checked before a launch as the firmware will (AMD 56860, section 8.18)."""

from cloister import _crypto
from cloister.errors import SignatureInvalid
from cloister.evidence.sev_keys import CURVES, EcKey, EcSignature
from cloister.evidence.snp import ECDSA_P384_SHA384
from cloister.evidence.snp_id_block import IdAuth, IdBlock

__all__ = ["check_id_block"]


def check_id_block(block: IdBlock, auth: IdAuth, *, author: bool) -> None:
    """The ID key signed the block and, if there is an `author` key, that signed the ID key; else SignatureInvalid."""
    _check(auth.id_key, auth.id_block_sig, block.serialize(), "the ID key's signature over the ID block")
    if not author:
        return
    if auth.auth_key_algo != ECDSA_P384_SHA384:
        raise SignatureInvalid(
            "the author key's algorithm is not defined", expected=ECDSA_P384_SHA384, actual=auth.auth_key_algo
        )
    _check(auth.author_key, auth.id_key_sig, auth.id_key.serialize(), "the author key's signature over the ID key")


def _check(key: EcKey, signature: EcSignature, message: bytes, what: str) -> None:
    if not key.usable or CURVES[key.curve] != "P-384":
        raise SignatureInvalid(f"{what}: the key is no P-384 key", expected="P-384", actual=key.curve)
    public = _crypto.ec_public_key("P-384", key.point)
    _crypto.verify_ecdsa_raw(public, signature.halves, message, "sha384", what=what)
