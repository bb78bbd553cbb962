"""The ID block: what a guest's owner signs so that the firmware launches nothing else (AMD 56860, section 8.18).

The owner's ID key signs the block; an author key may sign the ID key. The firmware refuses a launch whose digest or
policy is another one, and reports the digests of both keys (ID_KEY_DIGEST, AUTHOR_KEY_DIGEST).
"""

from cloister._wire import Record, nested, raw, reserved, u32, u64
from cloister.evidence.sev_keys import KEY_SIZE, EcKey, EcSignature
from cloister.evidence.snp import ECDSA_P384_SHA384

__all__ = ["IdAuth", "IdBlock"]


class IdBlock(Record, size=0x60):
    """ID_BLOCK: the launch digest and policy that the owner expects, and names of the owner's own."""

    launch_digest: bytes = raw(48)
    family_id: bytes = raw(16)
    image_id: bytes = raw(16)
    version: int = u32(equals=1)
    guest_svn: int = u32()
    policy: int = u64()


class IdAuth(Record, size=0x1000):
    """ID_AUTH: the signatures and keys that go with an ID block.

    `id_block_sig` is by the ID key over the block; `id_key_sig` by the author key over the ID key's 1028 bytes, and
    zero, as the author key, where there is none.
    """

    id_key_algo: int = u32(equals=ECDSA_P384_SHA384)
    auth_key_algo: int = u32()
    reserved_8: bytes = reserved(0x38)
    id_block_sig: EcSignature = nested(EcSignature)
    id_key: EcKey = nested(EcKey)
    reserved_644: bytes = reserved(0x680 - 0x240 - KEY_SIZE)
    id_key_sig: EcSignature = nested(EcSignature)
    author_key: EcKey = nested(EcKey)
    reserved_c84: bytes = reserved(0x1000 - 0x880 - KEY_SIZE)
