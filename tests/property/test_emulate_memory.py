"""Memory ciphers for any page and content: what is sealed opens again, and what ciphertext tells of its plaintext."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from cloister.emulate.memory.cache import FrameCache
from cloister.emulate.memory.cipher import MemoryCipher
from cloister.emulate.memory.controller import MemoryController
from cloister.emulate.memory.dram_unsafe import Dram
from cloister.emulate.memory.owned import OwnedCipher
from cloister.emulate.memory.plain import PlainCipher
from cloister.emulate.memory.tree import TreeCipher
from cloister.emulate.memory.xex import CONSTANTS, XexCipher, tweak_of
from cloister.emulate.memory.xts import XtsCipher
from cloister.measure.image import PAGE

PAGES = 5000

ENCRYPTING: dict[str, Callable[[Dram], MemoryCipher]] = {
    "xts-128": XtsCipher,
    "xts-256": lambda dram: XtsCipher(dram, bits=256),
    "xts-mac": lambda dram: XtsCipher(dram, mac=True),
    "xex": XexCipher,
    "tdx": lambda dram: OwnedCipher(XtsCipher(dram, mac=True, owner=True), dram, td=True),
    "mee": TreeCipher,
    "mee-settled": lambda dram: TreeCipher(dram, on_die=1),
}
CIPHERS = {"plain": PlainCipher, **ENCRYPTING}

numbers = st.integers(0, PAGES - 1)
contents = st.binary(min_size=16, max_size=64).map(lambda seed: (seed * (PAGE // len(seed) + 1))[:PAGE])
all_ciphers = pytest.mark.parametrize("name", CIPHERS)
encrypting = pytest.mark.parametrize("name", ENCRYPTING)


@contextmanager
def sealing(name: str) -> Iterator[tuple[Dram, MemoryCipher]]:
    with Dram(PAGES) as dram:
        yield dram, CIPHERS[name](dram)


def opened(cipher: MemoryCipher, page: int) -> bytes:
    into = memoryview(bytearray(PAGE))
    cipher.open(page, into)
    return bytes(into)


@all_ciphers
@given(written=st.lists(st.tuples(numbers, contents), min_size=1, max_size=12))
def test_what_is_sealed_last_opens(name: str, written: list[tuple[int, bytes]]) -> None:
    with sealing(name) as (_, cipher):
        for page, data in written:
            cipher.seal(page, memoryview(data))
        for page, data in dict(written).items():
            assert opened(cipher, page) == data


@encrypting
@given(pages=st.lists(numbers, min_size=2, max_size=2, unique=True), data=contents)
def test_two_addresses_have_different_ciphertext_in_every_block(name: str, pages: list[int], data: bytes) -> None:
    with sealing(name) as (dram, cipher):
        for page in pages:
            cipher.seal(page, data)
        one, other = (bytes(dram.page(page)) for page in pages)
        assert not any(one[at : at + 16] == other[at : at + 16] for at in range(0, PAGE, 16))


@encrypting
@given(page=numbers)
def test_equal_blocks_of_a_page_have_different_ciphertext(name: str, page: int) -> None:
    with sealing(name) as (dram, cipher):
        cipher.seal(page, bytes(PAGE))
        ciphertext = bytes(dram.page(page))
        assert len({ciphertext[at : at + 16] for at in range(0, PAGE, 16)}) == PAGE // 16


@encrypting
@given(page=numbers, data=contents)
def test_whether_the_same_content_has_the_same_ciphertext_again(name: str, page: int, data: bytes) -> None:
    """The ciphertext side channel (CIPHERLEAKS 2021, WireTap 2025): all but the engine with counters are open to it."""
    with sealing(name) as (dram, cipher):
        cipher.seal(page, data)
        before = bytes(dram.page(page))
        cipher.seal(page, data)
        after = bytes(dram.page(page))
        if name.startswith("mee"):
            assert not any(before[at : at + 16] == after[at : at + 16] for at in range(0, PAGE, 16))
        else:
            assert before == after


@given(one=st.integers(0, (1 << 48) - 1), other=st.integers(0, (1 << 48) - 1))
def test_the_xex_tweak_is_linear_in_the_address(one: int, other: int) -> None:
    assert tweak_of(one) ^ tweak_of(other) == tweak_of(one ^ other)


def test_no_two_blocks_share_a_xex_tweak() -> None:
    """The constants are linearly independent: no address difference has a tweak of zero."""
    basis: list[int] = []
    for constant in CONSTANTS.values():
        rest = constant
        for other in basis:
            rest = min(rest, rest ^ other)
        assert rest
        basis.append(rest)


class CacheAgainstDictionary(RuleBasedStateMachine):
    """The frame cache in any order of calls: contents are a dictionary's, translations never point at two pages."""

    def __init__(self) -> None:
        super().__init__()
        self.dram = Dram(64)
        controller = MemoryController(self.dram)
        controller.install(1, TreeCipher(self.dram))
        self.tlb: dict[int, tuple[int, bool]] = {}
        frames = [memoryview(bytearray(PAGE)) for _ in range(8)]
        self.cache = FrameCache(frames, controller, self.tlb.clear, refresh=50)
        self.model = dict.fromkeys(range(64), 0)
        self.saved = dict(self.model)
        self.count = 0

    pages = st.integers(0, 63)

    @rule(page=pages, fetch=st.booleans())
    def read(self, page: int, fetch: bool) -> None:  # noqa: FBT001 - hypothesis passes by name
        frame = self.cache.frame(page, 1, write=False, fetch=fetch)
        self.tlb[page] = frame, self.cache.is_dirty(frame)
        assert self.cache.frames[frame][-1] == self.model[page]

    @rule(page=pages)
    def write(self, page: int) -> None:
        """As the engine does: through a translation that may write, or by asking for one."""
        frame, writable = self.tlb.get(page, (0, False))
        if not writable:
            frame = self.cache.frame(page, 1, write=True, fetch=False)
            self.tlb[page] = frame, True
        self.count += 1
        self.cache.frames[frame][-1] = self.model[page] = self.count & 255

    @rule(page=pages)
    def put(self, page: int) -> None:
        self.count += 1
        self.model[page] = self.count & 255
        self.cache.put(page, 1, bytes([self.model[page]]) * PAGE)

    @rule()
    def write_back(self) -> None:
        self.cache.write_back()

    @rule(page=pages)
    def write_back_and_drop(self, page: int) -> None:
        self.cache.write_back()
        self.cache.drop(page)

    @rule(page=pages)
    def invalidate(self, page: int) -> None:
        self.cache.invalidate(page)

    @invariant()
    def no_translation_is_wrong(self) -> None:
        for page, (frame, writable) in self.tlb.items():
            assert self.cache.frames[frame][-1] == self.model[page]
            assert self.cache.is_dirty(frame) or not writable

    def teardown(self) -> None:
        self.dram.close()


TestCacheAgainstDictionary = CacheAgainstDictionary.TestCase
