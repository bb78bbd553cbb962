"""What the firmware checks of an ID block before it lets a guest run (AMD 56860, SNP_LAUNCH_FINISH, chapter 8.18)."""

from typing import NamedTuple

from cloister import _crypto
from cloister.emulate.snp.commands import Command, CommandFailed, Status
from cloister.errors import VerificationError
from cloister.evidence.sev_keys import CURVES, EcKey, EcSignature
from cloister.evidence.snp import ECDSA_P384_SHA384
from cloister.evidence.snp_id_block import IdAuth, IdBlock

__all__ = ["Identity", "check_identity"]


class Identity(NamedTuple):
    """An ID block with its signatures; `author`: whether the author key's signature is to be checked and reported."""

    block: IdBlock
    auth: IdAuth
    author: bool = False


def check_identity(identity: Identity, *, digest: bytes, policy: int) -> None:
    """CommandFailed with BAD_SIGNATURE, BAD_MEASUREMENT or POLICY_FAILURE."""
    block, auth, author = identity
    _check(auth.id_key, auth.id_block_sig, block.serialize(), "the ID key's signature over the ID block")
    if author:
        if auth.auth_key_algo != ECDSA_P384_SHA384:
            raise _failed(Status.BAD_SIGNATURE, f"author key algorithm {auth.auth_key_algo} is not defined")
        _check(auth.author_key, auth.id_key_sig, auth.id_key.serialize(), "the author key's signature over the ID key")
    if block.launch_digest != digest:
        raise _failed(
            Status.BAD_MEASUREMENT, f"measured {digest.hex()}, the ID block expects {block.launch_digest.hex()}"
        )
    if block.policy != policy:
        raise _failed(Status.POLICY_FAILURE, f"launched under policy {policy:#x}, the ID block has {block.policy:#x}")


def _check(key: EcKey, signature: EcSignature, message: bytes, what: str) -> None:
    if not key.usable or CURVES[key.curve] != "P-384":
        raise _failed(Status.BAD_SIGNATURE, f"{what}: the key is no P-384 key")
    try:
        public = _crypto.ec_public_key("P-384", key.point)
        _crypto.verify_ecdsa_raw(public, signature.halves, message, "sha384", what=what)
    except (VerificationError, ValueError) as error:
        raise _failed(Status.BAD_SIGNATURE, str(error)) from error


def _failed(status: Status, reason: str) -> CommandFailed:
    return CommandFailed(Command.SNP_LAUNCH_FINISH, status, reason)
