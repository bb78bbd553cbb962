"""Data sealed to a platform and a program: nobody else opens it, nor does the program anywhere else.

`Sealer` is the way in. A platform key is in a file (`FilePlatformKey`), in a TPM (`cloister.seal.tpm`), or derived by a
TEE for the program in it (`TeeKey`). The format is docs/formats/sealed-data.md.
"""

from cloister.seal.counter import FileCounter, MonotonicCounter
from cloister.seal.header import CounterStamp, SealedHeader
from cloister.seal.identity import Policy, SealingIdentity
from cloister.seal.keys import Binding, PlatformKey
from cloister.seal.platform_file import FilePlatformKey, default_key_path
from cloister.seal.refusal import Mismatch, SealBroken, SealedForAnother
from cloister.seal.sealer import Sealer, Terms, read_header
from cloister.seal.tee_key import TeeKey
from cloister.seal.wiping import wipe, wiped

__all__ = [
    "Binding",
    "CounterStamp",
    "FileCounter",
    "FilePlatformKey",
    "Mismatch",
    "MonotonicCounter",
    "PlatformKey",
    "Policy",
    "SealBroken",
    "SealedForAnother",
    "SealedHeader",
    "Sealer",
    "SealingIdentity",
    "TeeKey",
    "Terms",
    "default_key_path",
    "read_header",
    "wipe",
    "wiped",
]
