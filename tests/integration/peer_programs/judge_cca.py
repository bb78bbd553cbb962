"""Judges a CCA token with the package `cwt`, which this runs in a Python of its own: it needs an older cbor2.

    python judge_cca.py TOKEN PLATFORM_KEY_PEM

Prints the realm's initial measurement in hexadecimal, after both signatures and the binding of the realm's key hold.
"""

import hashlib
import sys
from pathlib import Path
from typing import Any

import cbor2
from cwt import COSE, COSEKey

PLATFORM, REALM = 44234, 44241
CHALLENGE, RAK, RIM, RAK_HASH = 10, 44237, 44238, 44240
P384, ES384 = 2, -35


def main(token: Path, platform_key: Path) -> None:
    """Verify, print."""
    parts = cbor2.loads(token.read_bytes()).value
    platform = opened(parts[PLATFORM], COSEKey.from_pem(platform_key.read_bytes(), alg="ES384", kid="platform"))
    claimed = cbor2.loads(cbor2.loads(parts[REALM]).value[2])
    key = claimed[RAK]
    if hashlib.new(claimed[RAK_HASH].replace("-", ""), key).digest() != platform[CHALLENGE]:
        raise SystemExit("the platform token vouches for another realm key")
    numbers = cbor2.loads(key)
    realm = opened(parts[REALM], COSEKey.new({1: 2, 3: ES384, -1: P384, -2: numbers[-2], -3: numbers[-3]}))
    print(realm[RIM].hex())  # noqa: T201 - this is its answer


def opened(message: bytes, key: Any) -> dict[int, Any]:
    """The claims under a signature that holds."""
    claims: dict[int, Any] = cbor2.loads(COSE.new().decode(message, key))
    return claims


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
