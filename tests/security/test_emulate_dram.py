"""Attacks on the emulated machines' DRAM: what is noticed, what garbles, and what works, for each memory encryption.

The attacker has the chips: every byte of the DRAM file, tags, owner bits and counter nodes included; never the keys or
what is on die. Outcomes are those of the literature, named at each table and test.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloister.emulate.memory.cache import FrameCache
from cloister.emulate.memory.cipher import MemoryCipher
from cloister.emulate.memory.controller import MemoryController
from cloister.emulate.memory.counters import nodes_of
from cloister.emulate.memory.dram_unsafe import METADATA, OWNER, Dram
from cloister.emulate.memory.owned import OwnedCipher
from cloister.emulate.memory.plain import PlainCipher
from cloister.emulate.memory.tree import TreeCipher
from cloister.emulate.memory.xex import XexCipher, tweak_of
from cloister.emulate.memory.xts import XtsCipher
from cloister.emulate.paging import IntegrityFault
from cloister.measure.image import PAGE

PAGES = 4100  # two nodes on the tree's highest level
VICTIM, OTHER = 70, 4099

WORKS, GARBLES, NOTICED = "works", "garbles", "noticed"


def tdx(dram: Dram, *, cryptographic: bool) -> OwnedCipher:
    return OwnedCipher(XtsCipher(dram, mac=cryptographic, owner=True), dram, td=True)


def settled_tree(dram: Dram) -> TreeCipher:
    """Keeps one checked node on die: nearly every access finds its counters in DRAM, where the attacker can reach."""
    return TreeCipher(dram, on_die=1)


CIPHERS: dict[str, Callable[[Dram], MemoryCipher]] = {
    "plain": PlainCipher,
    "xts-128": XtsCipher,
    "xts-256": lambda dram: XtsCipher(dram, bits=256),
    "xts-mac": lambda dram: XtsCipher(dram, mac=True),
    "xex": XexCipher,
    "tdx-li": lambda dram: tdx(dram, cryptographic=False),
    "tdx-ci": lambda dram: tdx(dram, cryptographic=True),
    "mee": TreeCipher,
    "mee-settled": settled_tree,
}


@pytest.fixture
def dram() -> Iterator[Dram]:
    with Dram(PAGES) as made:
        yield made


@pytest.fixture(params=CIPHERS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def opened(cipher: MemoryCipher, page: int) -> bytes:
    into = memoryview(bytearray(PAGE))
    cipher.open(page, into)
    return bytes(into)


def outcome(cipher: MemoryCipher, page: int, wanted: bytes) -> str:
    """How an attack ended that wants `page` to open as `wanted`."""
    try:
        return WORKS if opened(cipher, page) == wanted else GARBLES
    except IntegrityFault as fault:
        return NOTICED if fault.page == page else f"blamed on page {fault.page}"


def changed_blocks(one: bytes, other: bytes) -> list[int]:
    return [at // 16 for at in range(0, PAGE, 16) if one[at : at + 16] != other[at : at + 16]]


# ---------------------------------------------------------------- the table of verdicts

# Gueron 2016/204 (MEE); Du et al. 2017 (XEX); Intel TDX: Li is not cryptographic, Ci has a tag but no counter; WireTap
# and TEE.fail 2025 (replay of deterministic ciphertext); CaSE, S&P 2016 (no encryption).
#             flip, relocation, replay of: ciphertext, ciphertext and metadata, everything in DRAM
VERDICTS = {
    "plain": (WORKS, WORKS, WORKS, WORKS, WORKS),
    "xts-128": (GARBLES, GARBLES, WORKS, WORKS, WORKS),
    "xts-256": (GARBLES, GARBLES, WORKS, WORKS, WORKS),
    "xts-mac": (NOTICED, NOTICED, NOTICED, WORKS, WORKS),
    "xex": (GARBLES, GARBLES, WORKS, WORKS, WORKS),
    "tdx-li": (GARBLES, GARBLES, WORKS, WORKS, WORKS),
    "tdx-ci": (NOTICED, NOTICED, NOTICED, WORKS, WORKS),
    "mee": (NOTICED, NOTICED, NOTICED, NOTICED, NOTICED),
    "mee-settled": (NOTICED, NOTICED, NOTICED, NOTICED, NOTICED),
}


def test_bit_flip(dram: Dram, kind: str) -> None:
    cipher, plaintext = CIPHERS[kind](dram), os.urandom(PAGE)
    cipher.seal(VICTIM, plaintext)
    dram.page(VICTIM)[1000] ^= 0x10
    wanted = bytearray(plaintext)
    wanted[1000] ^= 0x10
    assert outcome(cipher, VICTIM, bytes(wanted)) == VERDICTS[kind][0]


@pytest.mark.parametrize("name", ["xts-128", "xts-256", "xex", "tdx-li"])
def test_a_flipped_bit_scrambles_its_block_of_16_bytes_and_no_other(dram: Dram, name: str) -> None:
    cipher, plaintext = CIPHERS[name](dram), os.urandom(PAGE)
    cipher.seal(VICTIM, plaintext)
    dram.page(VICTIM)[1000] ^= 0x10
    got = opened(cipher, VICTIM)
    assert changed_blocks(got, plaintext) == [1000 // 16]
    block = slice(1000 // 16 * 16, 1000 // 16 * 16 + 16)
    differing = int.from_bytes(got[block], "big") ^ int.from_bytes(plaintext[block], "big")
    assert differing.bit_count() > 20, "a scrambled block differs in about half its 128 bits"


def test_relocation(dram: Dram, kind: str) -> None:
    cipher, plaintext = CIPHERS[kind](dram), os.urandom(PAGE)
    cipher.seal(VICTIM, plaintext)
    cipher.seal(OTHER, bytes(PAGE))
    dram.page(OTHER)[:] = dram.page(VICTIM)
    dram.metadata(OTHER)[:] = dram.metadata(VICTIM)
    assert outcome(cipher, OTHER, plaintext) == VERDICTS[kind][1]


def test_replay_of_ciphertext_alone(dram: Dram, kind: str) -> None:
    cipher, old = CIPHERS[kind](dram), os.urandom(PAGE)
    cipher.seal(VICTIM, old)
    saved = bytes(dram.page(VICTIM))
    cipher.seal(VICTIM, os.urandom(PAGE))
    dram.page(VICTIM)[:] = saved
    assert outcome(cipher, VICTIM, old) == VERDICTS[kind][2]


def test_replay_of_ciphertext_and_metadata(dram: Dram, kind: str) -> None:
    cipher, old = CIPHERS[kind](dram), os.urandom(PAGE)
    cipher.seal(VICTIM, old)
    saved = bytes(dram.page(VICTIM)), bytes(dram.metadata(VICTIM))
    cipher.seal(VICTIM, os.urandom(PAGE))
    dram.page(VICTIM)[:], dram.metadata(VICTIM)[:] = saved
    assert outcome(cipher, VICTIM, old) == VERDICTS[kind][3]


def test_replay_of_everything_in_dram(tmp_path: Path, kind: str) -> None:
    """The whole file is put back, by another opener of it, as it was."""
    path = tmp_path / "dram"
    with Dram(PAGES, path) as dram:
        cipher, old = CIPHERS[kind](dram), os.urandom(PAGE)
        cipher.seal(VICTIM, old)
        cipher.seal(OTHER, os.urandom(PAGE))  # makes the small cache write the victim's nodes out
        saved = path.read_bytes()
        cipher.seal(VICTIM, os.urandom(PAGE))
        cipher.seal(OTHER, os.urandom(PAGE))
        with path.open("r+b") as file:
            file.write(saved)
        assert outcome(cipher, VICTIM, old) == VERDICTS[kind][4]


def test_what_a_cipher_says_of_itself_is_what_the_attacks_found(dram: Dram, kind: str) -> None:
    cipher, (flip, _, _, _, replay) = CIPHERS[kind](dram), VERDICTS[kind]
    assert cipher.integrity == (flip == NOTICED)
    assert cipher.replay_protected == (replay == NOTICED)


def test_cold_boot(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "dram"
    with Dram(PAGES, path) as dram:
        cipher = CIPHERS[kind](dram)
        cipher.seal(VICTIM, b"the secret that nobody may read " * 128)
        assert (b"the secret that" in path.read_bytes()) == (kind == "plain")


# ---------------------------------------------------------------- XEX with a linear tweak (Du et al. 2017)


def test_xex_blocks_are_moved_by_exclusive_or_algebra(dram: Dram) -> None:
    """Who has the guest store chosen data, as a web server does, places any value at any address, without the key."""
    cipher = XexCipher(dram)
    source, target = VICTIM * PAGE + 0x240, OTHER * PAGE + 0x7F0
    difference = (tweak_of(source) ^ tweak_of(target)).to_bytes(16, "little")
    wanted = b"jmp to attacker!"
    page = bytearray(os.urandom(PAGE))
    page[0x240:0x250] = xor(wanted, difference)  # what the guest is given to store
    cipher.seal(VICTIM, page)
    before = os.urandom(PAGE)
    cipher.seal(OTHER, before)
    dram.page(OTHER)[0x7F0:0x800] = xor(bytes(dram.page(VICTIM)[0x240:0x250]), difference)
    after = opened(cipher, OTHER)
    assert after[0x7F0:0x800] == wanted
    assert changed_blocks(before, after) == [0x7F]


def test_the_same_algebra_does_not_move_xts_blocks(dram: Dram) -> None:
    cipher = XtsCipher(dram)
    difference = (tweak_of(VICTIM * PAGE) ^ tweak_of(OTHER * PAGE)).to_bytes(16, "little")
    wanted = b"jmp to attacker!"
    cipher.seal(VICTIM, xor(wanted, difference) * 256)
    cipher.seal(OTHER, bytes(PAGE))
    dram.page(OTHER)[:16] = xor(bytes(dram.page(VICTIM)[:16]), difference)
    assert opened(cipher, OTHER)[:16] != wanted


def xor(one: bytes, other: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(one, other, strict=True))


# ---------------------------------------------------------------- TDX: owner bit and tag


@pytest.mark.parametrize("cryptographic", [False, True])
def test_a_hosts_write_is_poison_for_the_td(dram: Dram, cryptographic: bool) -> None:  # noqa: FBT001 - a parameter
    td, host = tdx(dram, cryptographic=cryptographic), OwnedCipher(PlainCipher(dram), dram, td=False)
    td.seal(VICTIM, b"t" * PAGE)
    ciphertext = bytes(dram.page(VICTIM))
    assert opened(host, VICTIM) == bytes(PAGE), "the host does not see ciphertext either"
    host.seal(VICTIM, ciphertext)  # even the right ciphertext
    with pytest.raises(IntegrityFault, match="TD-owner bit mismatch"):
        opened(td, VICTIM)


@pytest.mark.parametrize(("name", "verdict"), [("tdx-li", GARBLES), ("tdx-ci", NOTICED)])
def test_the_owner_bit_itself_lies_in_dram(dram: Dram, name: str, verdict: str) -> None:
    """Who has the chips sets the bit again: only the tag notices."""
    td, host = CIPHERS[name](dram), OwnedCipher(PlainCipher(dram), dram, td=False)
    td.seal(VICTIM, b"t" * PAGE)
    host.seal(VICTIM, b"h" * PAGE)
    dram.metadata(VICTIM)[OWNER] = 1
    assert outcome(td, VICTIM, b"h" * PAGE) == verdict


def test_the_tag_covers_the_owner_bit(dram: Dram) -> None:
    """A page sealed as not a TD's does not become one by changing the bit, under the very same keys."""
    inner = XtsCipher(dram, mac=True, owner=True)
    inner.seal(VICTIM, b"t" * PAGE)
    inner._owner = b"\0"
    assert outcome(inner, VICTIM, b"t" * PAGE) == NOTICED


# ---------------------------------------------------------------- the memory encryption engine


def test_the_engine_locks(dram: Dram) -> None:
    """Drop-and-lock: after one mismatch nothing is read or written any more, though the change is undone."""
    cipher = TreeCipher(dram)
    cipher.seal(VICTIM, b"v" * PAGE)
    cipher.seal(OTHER, b"o" * PAGE)
    dram.page(VICTIM)[0] ^= 1
    into = memoryview(bytearray(PAGE))
    with pytest.raises(IntegrityFault, match="drop-and-lock"):
        cipher.open(VICTIM, into)
    assert not any(into), "the access is dropped: nothing was decrypted"
    dram.page(VICTIM)[0] ^= 1
    for page in (VICTIM, OTHER):
        with pytest.raises(IntegrityFault, match="locked until the machine is started again"):
            cipher.open(page, into)
        with pytest.raises(IntegrityFault, match="locked until the machine is started again"):
            cipher.seal(page, bytes(PAGE))
    with pytest.raises(IntegrityFault, match="locked"):
        cipher.settle()


LEVEL_STARTS = (0, 513, 513 + 65, 513 + 65 + 9)
"""The first node of each level for 4,100 pages: 513, 65, 9 and 2 nodes."""


def path_nodes(page: int) -> list[int]:
    """The nodes between a page and the root."""
    return [start + (page >> 3 * (level + 1)) for level, start in enumerate(LEVEL_STARTS)]


def test_levels_are_where_the_attacks_look() -> None:
    assert nodes_of(PAGES) == LEVEL_STARTS[-1] + 2


@pytest.mark.parametrize("level", range(4))
@pytest.mark.parametrize("attack", ["flip", "move", "replay", "zero"])
def test_every_level_of_the_tree_is_checked(dram: Dram, level: int, attack: str) -> None:
    cipher = TreeCipher(dram)
    cipher.seal(VICTIM, b"1" * PAGE)
    cipher.seal(OTHER, b"1" * PAGE)
    cipher.settle()
    start = path_nodes(VICTIM)[level] * METADATA
    other = path_nodes(OTHER)[level] * METADATA
    node, old = dram.nodes[start : start + METADATA], bytes(dram.nodes[start : start + METADATA])
    cipher.seal(VICTIM, b"2" * PAGE)
    cipher.settle()
    assert node != old, "the write reached this node"
    if attack == "flip":
        node[(VICTIM >> 3 * level & 7) * 7] ^= 1
    elif attack == "move":
        node[:] = dram.nodes[other : other + METADATA]
    elif attack == "replay":
        node[:] = old
    else:
        node[:] = bytes(METADATA)
    with pytest.raises(IntegrityFault, match=f"level {level}"):
        opened(cipher, VICTIM)


def test_a_tampered_tree_stops_writes_too(dram: Dram) -> None:
    cipher = TreeCipher(dram)
    cipher.seal(VICTIM, b"1" * PAGE)
    cipher.settle()
    dram.nodes[path_nodes(VICTIM)[0] * METADATA] ^= 1
    with pytest.raises(IntegrityFault, match="level 0"):
        cipher.seal(VICTIM, b"2" * PAGE)


def test_a_page_that_was_never_written_shows_nothing_of_the_attackers(dram: Dram) -> None:
    cipher = TreeCipher(dram)
    cipher.seal(OTHER, os.urandom(PAGE))
    cipher.settle()
    dram.page(VICTIM)[:] = dram.page(OTHER)
    dram.metadata(VICTIM)[:] = dram.metadata(OTHER)
    dram.nodes[: METADATA * 100] = os.urandom(METADATA * 100)
    assert opened(cipher, VICTIM) == bytes(PAGE)


@given(where=st.integers(0, PAGE + 7 + 4 * 63 - 1), change=st.integers(1, 255))
def test_no_byte_that_the_engine_relies_on_can_be_changed(where: int, change: int) -> None:
    """Content, tag, and all counters and tags between the page and the root."""
    with Dram(PAGES) as dram:
        cipher = TreeCipher(dram)
        cipher.seal(VICTIM, b"x" * PAGE)
        cipher.settle()
        if where < PAGE:
            dram.page(VICTIM)[where] ^= change
        elif where < PAGE + 7:
            dram.metadata(VICTIM)[where - PAGE] ^= change
        else:
            level, byte = divmod(where - PAGE - 7, 63)
            dram.nodes[path_nodes(VICTIM)[level] * METADATA + byte] ^= change
        assert outcome(cipher, VICTIM, b"x" * PAGE) == NOTICED


@given(bit=st.integers(0, PAGE * 8 + 64 - 1))
def test_no_bit_of_content_or_tag_can_be_changed_under_the_xts_tag(bit: int) -> None:
    with Dram(PAGES) as dram:
        cipher = XtsCipher(dram, mac=True)
        cipher.seal(VICTIM, b"x" * PAGE)
        byte, mask = bit // 8, 1 << bit % 8
        if byte < PAGE:
            dram.page(VICTIM)[byte] ^= mask
        else:
            dram.metadata(VICTIM)[byte - PAGE] ^= mask
        assert outcome(cipher, VICTIM, b"x" * PAGE) == NOTICED


# ---------------------------------------------------------------- a spent balance, through cache and controller


@pytest.mark.parametrize(("name", "verdict"), [("xts-128", WORKS), ("xex", WORKS), ("tdx-ci", WORKS), ("mee", NOTICED)])
def test_money_is_spent_twice(dram: Dram, name: str, verdict: str) -> None:
    """The guest pays; the administrator evicts its page and puts the old one back, metadata included; it pays again."""
    controller = MemoryController(dram)
    controller.install(1, CIPHERS[name](dram))
    cache = FrameCache([memoryview(bytearray(PAGE)) for _ in range(8)], controller, lambda: None)
    cache.put(VICTIM, 1, (1000).to_bytes(8, "little") + bytes(PAGE - 8))
    cache.write_back()
    saved = bytes(dram.page(VICTIM)), bytes(dram.metadata(VICTIM)), bytes(dram.nodes)

    frame = cache.frame(VICTIM, 1, write=True, fetch=False)
    cache.frames[frame][:8] = (100).to_bytes(8, "little")
    assert not cache.invalidate(VICTIM), "what is newer on die cannot be replaced from DRAM"
    cache.write_back()

    dram.page(VICTIM)[:], dram.metadata(VICTIM)[:], dram.nodes[:] = saved
    assert cache.invalidate(VICTIM)
    try:
        frame = cache.frame(VICTIM, 1, write=False, fetch=False)
        balance = int.from_bytes(cache.frames[frame][:8], "little")
        assert (balance, verdict) == (1000, WORKS)
    except IntegrityFault:
        assert verdict == NOTICED
