"""Endorsements as the Open Enclave SDK carries them beside evidence: two containers around Intel's statements.

The first is `oe_endorsements_t` (openenclave, include/openenclave/bits/evidence.h and common/sgx/endorsements.h):

    u32 version 1 | u32 enclave type 2 (SGX) | u32 size | u32 count | count x u32 offset | items

The second is Intel's `tdx_ql_qv_collateral_t` as it stood in memory, with its strings behind it:

    u32 version 4 | u32 TEE type | 7 x (u64 address, u32 size, u32 padding) | strings, in this order
"""

from typing import Final

from cloister._wire import Reader
from cloister.errors import ParseError

__all__ = ["looks_like", "parse"]

SGX: Final = 2
TEE_TYPES: Final = frozenset({0, 0x81})
ITEMS: Final = (
    "version", "tcb_info", "tcb_info_issuer_chain", "pck_crl", "root_ca_crl", "pck_crl_issuer_chain",
    "qe_identity", "qe_identity_issuer_chain", "creation time",
)  # fmt: skip
STRINGS: Final = (
    "pck_crl_issuer_chain", "root_ca_crl", "pck_crl", "tcb_info_issuer_chain", "tcb_info",
    "qe_identity_issuer_chain", "qe_identity",
)  # fmt: skip
LISTS: Final = frozenset({"pck_crl", "root_ca_crl"})


def looks_like(data: bytes) -> bool:
    """Whether `data` begins as one of the containers does."""
    head = data[:8]
    return head == b"\x01\0\0\0\x02\0\0\0" or (
        head[:4] == b"\x04\0\0\0" and int.from_bytes(head[4:], "little") in TEE_TYPES
    )


def parse(data: bytes) -> dict[str, object]:
    """The members of a bundle, as `cloister.endorse.bundle.members_of` takes them."""
    if not looks_like(data):
        raise ParseError("endorsements", "version", 0, "is none of Open Enclave's version 1 or of Intel's version 4")
    items = _items(data) if data[:1] == b"\x01" else _strings(data)
    members: dict[str, object] = {}
    for name, value in items.items():
        if name in LISTS:
            members[name] = _list(value)
        elif name not in {"version", "creation time"}:
            members[name] = value.rstrip(b"\0").decode("utf-8", "replace")
    return members


def _list(value: bytes) -> str:
    """A revocation list in hexadecimal: it stands there in DER, or in such digits already; a zero may follow."""
    if value[:1] == b"\x30" and value[1:2] >= b"\x80":
        size = int.from_bytes(value[2:4]) + 4 if value[1] == 0x82 else value[2] + 3
        return value[:size].hex() if not value[size:].strip(b"\0") else value.hex()
    return value.rstrip(b"\0").decode("ascii", "replace")


def _items(data: bytes) -> dict[str, bytes]:
    reader = Reader(data, "Open Enclave endorsements")
    reader.take(8, "version and enclave type")
    size, count = reader.u32("buffer size"), reader.u32("number of elements")
    if count != len(ITEMS):
        raise reader.error("number of elements", f"is {count}; {len(ITEMS)} are understood")
    starts = [reader.u32(f"offset of {name}") for name in ITEMS]
    if 4 * count + reader.left not in {size, size + 4 * count} or starts != sorted(starts) or starts[0] != 0:
        raise reader.error("offsets", "do not add up to the buffer")
    ends = [*starts[1:], reader.left]
    found = {name: reader.take(end - at, name) for name, at, end in zip(ITEMS, starts, ends, strict=True)}
    reader.finish()
    return found


def _strings(data: bytes) -> dict[str, bytes]:
    reader = Reader(data, "Intel quote verification collateral")
    reader.take(8, "version and TEE type")
    sizes = []
    for name in STRINGS:
        reader.take(8, f"address of {name}")
        sizes.append(reader.u32(f"size of {name}"))
        reader.take(4, "padding")
    found = {name: reader.take(size, name) for name, size in zip(STRINGS, sizes, strict=True)}
    reader.finish()
    return found
