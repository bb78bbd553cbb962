"""The ciphers of the emulated memory controller against independent computations, its DRAM file, and its key slots."""

import hmac
import os
from collections.abc import Callable, Iterator
from hashlib import sha3_256
from pathlib import Path
from typing import cast

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR, ECB

from cloister.emulate.memory.controller import KeySlotError, MemoryController
from cloister.emulate.memory.counters import CounterTree, Mismatch, nodes_of
from cloister.emulate.memory.dram_unsafe import METADATA, OWNER, Dram
from cloister.emulate.memory.owned import OwnedCipher
from cloister.emulate.memory.plain import PlainCipher
from cloister.emulate.memory.tree import TreeCipher
from cloister.emulate.memory.xex import XexCipher, tweak_of
from cloister.emulate.memory.xts import XtsCipher
from cloister.emulate.paging import HOST_KEY, IntegrityFault
from cloister.errors import UsageError
from cloister.measure.image import PAGE

PAGES = 600


@pytest.fixture
def dram() -> Iterator[Dram]:
    with Dram(PAGES) as made:
        yield made


def blank() -> memoryview:
    return memoryview(bytearray(PAGE))


def opened(cipher: XtsCipher | XexCipher | TreeCipher | PlainCipher | OwnedCipher, page: int) -> bytes:
    into = blank()
    cipher.open(page, into)
    return bytes(into)


# ---------------------------------------------------------------- DRAM


def test_the_file_is_laid_out_as_documented(tmp_path: Path) -> None:
    path = tmp_path / "dram"
    with Dram(PAGES, path) as dram:
        dram.page(7)[:4] = b"page"
        dram.metadata(7)[:4] = b"meta"
        dram.nodes[:4] = b"node"
        assert len(dram.nodes) >= nodes_of(PAGES) * METADATA
        raw = path.read_bytes()
        assert raw[7 * PAGE :][:4] == b"page"
        assert raw[PAGES * PAGE + 7 * METADATA :][:4] == b"meta"
        assert raw[-PAGE:].rstrip(b"\0").decode() == dram.describe()
        assert f"counter-tree nodes: byte {raw.index(b'node')} to {len(raw) - PAGE}" in dram.describe()
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.stat().st_blocks * 512 < len(raw) // 2


def test_what_others_write_to_the_file_is_in_dram(tmp_path: Path) -> None:
    path = tmp_path / "dram"
    with Dram(4, path) as dram, path.open("r+b") as file:
        file.seek(2 * PAGE)
        file.write(b"changed from outside")
        file.flush()
        assert bytes(dram.page(2)[:7]) == b"changed"


def test_dram_takes_no_file_that_exists(tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(b"precious")
    (tmp_path / "link").symlink_to("target")
    for name in ("target", "link", "missing/dram"):
        with pytest.raises(UsageError, match="cannot make DRAM"):
            Dram(4, tmp_path / name)
    assert (tmp_path / "target").read_bytes() == b"precious"


@pytest.mark.parametrize("pages", [0, -1, 1 << 40])
def test_dram_has_a_sensible_size(pages: int) -> None:
    with pytest.raises(UsageError, match="a machine has 1 to"):
        Dram(pages)


@pytest.mark.parametrize("page", [-1, PAGES, 1 << 60])
def test_there_is_no_memory_beyond_the_end(dram: Dram, page: int) -> None:
    for view in (dram.page, dram.metadata):
        with pytest.raises(IndexError, match="this machine has 0x258 pages"):
            view(page)


def test_views_outlive_close() -> None:
    dram = Dram(4)
    page = dram.page(1)
    dram.close()
    page[:5] = b"still"
    assert bytes(page[:5]) == b"still"


# ---------------------------------------------------------------- ciphers against independent computations


def ecb(key: bytes, block: bytes) -> bytes:
    return Cipher(AES(key), ECB()).encryptor().update(block)  # noqa: S305 - the bare block cipher is what is wanted


def xor(one: bytes, other: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("bits", [128, 256])
def test_xts_is_ieee_1619_with_the_address_as_tweak(dram: Dram, bits: int) -> None:
    key, plaintext, page = os.urandom(bits // 4), os.urandom(PAGE), 0x123
    XtsCipher(dram, bits=bits, key=key).seal(page, plaintext)
    tweak = int.from_bytes(ecb(key[bits // 8 :], (page * PAGE).to_bytes(16, "little")), "little")
    for at in range(0, PAGE, 16):
        mask = tweak.to_bytes(16, "little")
        expected = xor(ecb(key[: bits // 8], xor(plaintext[at : at + 16], mask)), mask)
        assert bytes(dram.page(page)[at : at + 16]) == expected
        tweak = (tweak << 1) ^ (0x87 | 1 << 128 if tweak >> 127 else 0)


def test_the_xts_tag_is_28_bits_of_sha3_over_address_owner_and_ciphertext(dram: Dram) -> None:
    cipher = XtsCipher(dram, mac=True, owner=True)
    cipher.seal(3, os.urandom(PAGE))
    covered = bytes(cipher._mac_key) + (3 * PAGE).to_bytes(16, "little") + b"\1" + bytes(dram.page(3))
    tag = int.from_bytes(sha3_256(covered).digest()[:4], "little") & 0xFFFFFFF
    assert int.from_bytes(dram.metadata(3)[:8], "little") == tag


def test_xex_is_the_block_cipher_between_two_linear_tweaks(dram: Dram) -> None:
    key, plaintext, page = os.urandom(16), os.urandom(PAGE), 0x123
    XexCipher(dram, key=key).seal(page, plaintext)
    for at in range(0, PAGE, 16):
        mask = tweak_of(page * PAGE + at).to_bytes(16, "little")
        expected = xor(ecb(key, xor(plaintext[at : at + 16], mask)), mask)
        assert bytes(dram.page(page)[at : at + 16]) == expected


def test_no_blinding_stream_is_used_for_two_pages(dram: Dram) -> None:
    cipher = XexCipher(dram)
    blinding, starts = cipher._blinding, list[bytes]()

    class Recording:
        update_into = blinding.update_into

        def reset_nonce(self, nonce: bytes) -> None:
            starts.append(nonce)
            blinding.reset_nonce(nonce)

    cipher._blinding = cast("CipherContext", Recording())
    cipher.seal(1, bytes(PAGE))
    cipher.seal(2, bytes(PAGE))
    opened(cipher, 2)
    assert starts[::2] == starts[1::2], "put on and taken off"
    assert len(set(starts)) == 3


@pytest.mark.parametrize("make", [lambda dram: XtsCipher(dram, mac=True), TreeCipher], ids=["xts-mac", "mee"])
def test_what_was_checked_is_what_is_decrypted(
    dram: Dram, make: Callable[[Dram], XtsCipher | TreeCipher], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The attacker changes DRAM right after the check: the file is shared, so it can happen at any moment."""
    cipher = make(dram)
    cipher.seal(5, b"x" * PAGE)
    compare = hmac.compare_digest

    def compare_then_change(one: bytes, other: bytes) -> bool:
        same = compare(one, other)
        dram.page(5)[:] = bytes(PAGE)
        return same

    monkeypatch.setattr(hmac, "compare_digest", compare_then_change)
    assert opened(cipher, 5) == b"x" * PAGE
    with pytest.raises(IntegrityFault):
        opened(cipher, 5)


def test_the_tree_encrypts_in_counter_mode_over_address_and_version(
    dram: Dram, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys, plaintext = [os.urandom(16), os.urandom(16)], os.urandom(PAGE)
    supply = iter(keys)
    monkeypatch.setattr("cloister.emulate.memory.tree.os.urandom", lambda _: next(supply))
    cipher = TreeCipher(dram)
    cipher.seal(9, b"\0" * PAGE)
    cipher.seal(9, plaintext)
    start = (9 << 64 | 2 << 8).to_bytes(16, "big")
    ciphertext = Cipher(AES(keys[0]), CTR(start)).encryptor().update(plaintext)
    assert bytes(dram.page(9)) == ciphertext
    nonce = b"\0" + (9).to_bytes(4, "big") + (2).to_bytes(7, "big")
    assert bytes(dram.metadata(9)[:7]) == AESGCM(keys[1]).encrypt(nonce, b"", ciphertext)[:7]


def test_an_xts_key_has_the_size_that_was_asked_for(dram: Dram) -> None:
    for bits, size in ((192, 48), (128, 64), (256, 32)):
        with pytest.raises(ValueError, match=f"AES-{bits}-XTS"):
            XtsCipher(dram, bits=bits, key=os.urandom(size))


def test_pages_never_written(dram: Dram) -> None:
    assert opened(PlainCipher(dram), 1) == opened(TreeCipher(dram), 1) == bytes(PAGE)
    assert len({opened(XtsCipher(dram), 1), opened(XexCipher(dram), 1), bytes(PAGE)}) == 3
    for cipher in (XtsCipher(dram, mac=True), OwnedCipher(XtsCipher(dram), dram, td=True)):
        with pytest.raises(IntegrityFault):
            opened(cipher, 1)


def test_a_host_reads_zeros_from_a_tds_page_and_a_td_poison_from_the_hosts(dram: Dram) -> None:
    td, host = OwnedCipher(XtsCipher(dram), dram, td=True), OwnedCipher(PlainCipher(dram), dram, td=False)
    td.seal(4, b"t" * PAGE)
    assert dram.metadata(4)[OWNER] == 1
    assert opened(host, 4) == bytes(PAGE)
    assert opened(td, 4) == b"t" * PAGE
    host.seal(4, b"h" * PAGE)
    assert opened(host, 4) == b"h" * PAGE
    with pytest.raises(IntegrityFault, match="TD-owner bit mismatch"):
        opened(td, 4)


def test_wiped_ciphers_are_of_no_use(dram: Dram) -> None:
    for cipher in (XtsCipher(dram), XexCipher(dram), OwnedCipher(XtsCipher(dram), dram, td=False)):
        cipher.seal(1, b"x" * PAGE)
        cipher.wipe()
        with pytest.raises(AttributeError):
            opened(cipher, 1)
    xts, tree = XtsCipher(dram), TreeCipher(dram)
    xts.wipe()
    assert not any(xts._key)
    assert not any(xts._mac_key)
    tree.wipe()
    with pytest.raises(IntegrityFault, match="keys were wiped"):
        opened(tree, 1)


def test_descriptions_are_one_line(dram: Dram) -> None:
    ciphers = (PlainCipher(dram), XtsCipher(dram, mac=True), XexCipher(dram), TreeCipher(dram))
    lines = {cipher.describe() for cipher in (*ciphers, OwnedCipher(ciphers[1], dram, td=True))}
    assert len(lines) == 5
    assert not any("\n" in line for line in lines)


# ---------------------------------------------------------------- the counter tree


def test_the_tree_survives_a_cache_of_one_node(dram: Dram) -> None:
    """Every access then writes nodes out and reads them back, checked."""
    cipher = TreeCipher(dram, on_die=1)
    content = {page: bytes([page & 255]) * PAGE for page in range(0, PAGES, 7)}
    for _ in range(2):
        for page, data in content.items():
            cipher.seal(page, data)
        assert all(opened(cipher, page) == data for page, data in content.items())


def test_no_tag_nonce_is_used_for_two_contents(dram: Dram) -> None:
    """GMAC gives its key away when one is: levels, places and versions must all be told apart."""
    cipher = TreeCipher(dram, on_die=1)
    mac, seen = cipher._mac, dict[bytes, bytes]()

    class Recording:
        def encrypt(self, nonce: bytes, data: bytes, content: bytes | memoryview) -> bytes:
            assert seen.setdefault(nonce, bytes(content)) == content
            return mac.encrypt(nonce, data, content)

    cipher._mac = cast("AESGCM", Recording())
    for _ in range(3):
        for page in (0, 1, 8, 9, 64, 512, PAGES - 1):
            cipher.seal(page, os.urandom(PAGE))
            opened(cipher, page)
    assert {nonce[0] for nonce in seen} == set(range(5)), "pages and all four levels"


def test_a_counter_does_not_wrap() -> None:
    tree = CounterTree(memoryview(bytearray(nodes_of(8) * 64)), 8, lambda *_: bytes(7))
    tree.advance(0)
    tree._versions[0][0] = (1 << 56) - 1
    with pytest.raises(Mismatch, match="used up"):
        tree.advance(0)


def test_starting_again_unlocks_and_forgets(dram: Dram) -> None:
    cipher = TreeCipher(dram)
    cipher.seal(5, b"x" * PAGE)
    dram.page(5)[0] ^= 1
    with pytest.raises(IntegrityFault, match="drop-and-lock"):
        opened(cipher, 5)
    cipher.reset()
    assert opened(cipher, 5) == bytes(PAGE)


# ---------------------------------------------------------------- the controller


def test_key_slots_are_limited(dram: Dram) -> None:
    controller = MemoryController(dram, slots=2)
    controller.install(HOST_KEY, PlainCipher(dram))
    for key_id in (16, 17):
        controller.install(key_id, XtsCipher(dram))
    with pytest.raises(KeySlotError, match="no key slot left for key id 18: this machine has 2"):
        controller.install(18, XtsCipher(dram))
    with pytest.raises(KeySlotError, match="key id 16 is in use"):
        controller.install(16, XtsCipher(dram))
    controller.remove(16)
    controller.install(18, XtsCipher(dram))
    assert controller.key_ids() == [HOST_KEY, 17, 18]


def test_a_removed_key_is_wiped_and_refused(dram: Dram) -> None:
    controller = MemoryController(dram)
    cipher = XtsCipher(dram)
    controller.install(1, cipher)
    controller.store(0, 1, b"x" * PAGE)
    controller.remove(1)
    assert not any(cipher._key)
    with pytest.raises(KeySlotError, match="key id 1 has no key"):
        controller.load(0, 1, blank())
    with pytest.raises(KeySlotError, match="key id 1 has no key"):
        controller.store(0, 1, bytes(PAGE))
    with pytest.raises(KeySlotError):
        controller.remove(1)


@pytest.mark.parametrize("profile", [False, True])
def test_the_controller_counts(dram: Dram, profile: bool) -> None:  # noqa: FBT001 - a parameter of the test
    controller = MemoryController(dram, profile=profile)
    controller.install(1, XtsCipher(dram))
    controller.store(0, 1, b"x" * PAGE)
    into = blank()
    controller.load(0, 1, into)
    controller.load(0, 1, into)
    assert bytes(into) == b"x" * PAGE
    assert (controller.loads, controller.stores) == (2, 1)
    assert (controller.seconds > 0) == profile


def test_the_controller_moves_whole_pages_only(dram: Dram) -> None:
    controller = MemoryController(dram)
    controller.install(1, XtsCipher(dram))
    with pytest.raises(ValueError, match="not 4095"):
        controller.load(0, 1, blank()[:-1])
    with pytest.raises(ValueError, match="not 16"):
        controller.store(0, 1, bytes(16))
    with pytest.raises(IndexError):
        controller.store(PAGES, 1, bytes(PAGE))
