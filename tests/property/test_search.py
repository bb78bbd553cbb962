"""A planted secret is found, once, at its place, whatever the sizes of the pieces in which memory arrives."""

import base64
import random
from collections.abc import Callable
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloister.observe.findings import Reason, Scan
from cloister.observe.maps import Mapping
from cloister.observe.memory import Chunk, Hole, Untouched
from cloister.observe.needles import Needles
from cloister.observe.tally import Place, Tally

PAGE = 4096
SECRETS = st.binary(min_size=6, max_size=40).filter(lambda secret: len(set(secret)) > 3 and secret != secret[::-1])
TEXTS = st.text(alphabet="abcXYZ0189+/?& é€", min_size=6, max_size=30).filter(lambda text: len(set(text)) > 3)
ENCODERS: dict[str, Callable[[bytes], bytes]] = {
    "raw": bytes,
    "hex": lambda secret: secret.hex().encode(),
    "HEX": lambda secret: secret.hex().upper().encode(),
    "base64": base64.b64encode,
    "base64url": base64.urlsafe_b64encode,
    "percent": lambda secret: quote(secret, safe="").encode(),
    "percent-all": lambda secret: "".join(f"%{byte:02X}" for byte in secret).encode(),
    "reversed": lambda secret: secret[::-1],
}


def noise(size: int, seed: int) -> bytes:
    return random.Random(seed).randbytes(size)  # noqa: S311  reproducible filling


def new_tally(secret: bytes) -> Tally:
    return Tally(Place(where="memory", owner="test", pid=1), Needles.of({"s": secret}))


def mapping(start: int, size: int, path: str = "") -> Mapping:
    return Mapping(start=start, end=start + size, permissions="rw-p", path=path)


def scan(data: bytes, secret: bytes, sizes: list[int], base: int = 0x10000) -> Scan:
    """Feed `data` in pieces of the given sizes, repeated."""
    tally = new_tally(secret)
    area = mapping(base, len(data))
    position, turn = 0, 0
    while position < len(data):
        size = sizes[turn % len(sizes)]
        tally.feed(Chunk(address=base + position, data=memoryview(data)[position : position + size], mapping=area))
        position, turn = position + size, turn + 1
    return tally.result()


@pytest.mark.parametrize("encoding", ENCODERS)
@given(secret=SECRETS, before=st.binary(max_size=50), sizes=st.lists(st.integers(1, 300), min_size=1, max_size=4))
def test_every_encoding_in_pieces_of_any_size(encoding: str, secret: bytes, before: bytes, sizes: list[int]) -> None:
    encoded = ENCODERS[encoding](secret)
    found = scan(before + encoded + noise(100, len(before)), secret, sizes).findings
    first = {finding.address - 0x10000 for finding in found}
    assert len(before) in first


@given(text=TEXTS, encoding=st.sampled_from(["utf-16-le", "utf-16-be", "utf-32-le"]), size=st.integers(1, 64))
def test_wide_text(text: str, encoding: str, size: int) -> None:
    found = scan(b"--" + text.encode(encoding) + b"--", text.encode(), [size]).findings
    assert encoding.replace("f-16-", "f-16").replace("f-32-", "f-32") in {finding.encoding for finding in found}


@given(secret=SECRETS, before=st.binary(max_size=9), after=st.binary(max_size=9))
def test_base64_at_any_alignment(secret: bytes, before: bytes, after: bytes) -> None:
    encoded = base64.b64encode(before + secret + after)
    assert any(finding.encoding.startswith("base64") for finding in scan(encoded, secret, [17]).findings)


@given(secret=SECRETS, sizes=st.lists(st.integers(1, 50), min_size=1, max_size=5), seed=st.integers(0, 99))
def test_sizes_do_not_change_the_result(secret: bytes, sizes: list[int], seed: int) -> None:
    data = noise(40, seed) + secret + secret + noise(40, seed + 1) + secret[::-1] + secret.hex().encode()
    whole = {(one.encoding, one.address) for one in scan(data, secret, [len(data)]).findings}
    pieces = [(one.encoding, one.address) for one in scan(data, secret, sizes).findings]
    assert sorted(pieces) == sorted(whole)


@given(secret=SECRETS, data=st.data())
def test_split_across_two_mappings(secret: bytes, data: st.DataObject) -> None:
    cut = data.draw(st.integers(1, len(secret) - 1))
    tally = new_tally(secret)
    first, second = mapping(0, PAGE, "[heap]"), mapping(PAGE, PAGE)
    tally.feed(Chunk(address=0, data=memoryview(noise(PAGE - cut, 1) + secret[:cut]), mapping=first))
    tally.feed(Chunk(address=PAGE, data=memoryview(secret[cut:] + noise(100, 2)), mapping=second))
    raw = [finding for finding in tally.result().findings if finding.encoding == "raw"]
    assert [(one.address, one.mapping, one.crosses) for one in raw] == [(PAGE - cut, first, True)]


@given(secret=st.binary(min_size=16, max_size=40).filter(lambda secret: len(set(secret)) > 8), size=st.integers(1, 50))
def test_cut_off_by_a_hole(secret: bytes, size: int) -> None:
    """8 bytes of the secret before a hole, or after it, are a partial find; 7 are none."""
    for kept in (8, 7):
        before = scan_around_hole(noise(50, 1) + secret[:kept], b"", secret, size)
        after = scan_around_hole(b"", secret[-kept:] + noise(60, 2), secret, size)
        for found in (before, after):
            raw = [one.matched for one in found.findings if one.encoding == "raw" and one.partial]
            assert raw == ([8] if kept == 8 else [])


def scan_around_hole(before: bytes, after: bytes, secret: bytes, size: int) -> Scan:
    tally = new_tally(secret)
    area = mapping(0, 3 * PAGE)
    start = PAGE - len(before)
    for at in range(0, len(before), size):
        tally.feed(Chunk(address=start + at, data=memoryview(before)[at : at + size], mapping=area))
    tally.feed(Hole(address=PAGE, size=PAGE, mapping=area, reason=Reason.SECRET))
    for at in range(0, len(after), size):
        tally.feed(Chunk(address=2 * PAGE + at, data=memoryview(after)[at : at + size], mapping=area))
    return tally.result()


@given(zeros=st.integers(1, 12), size=st.integers(1, 5))
def test_secret_that_ends_in_untouched_memory(zeros: int, size: int) -> None:
    secret = b"MARK" + bytes(zeros)
    tally = new_tally(secret)
    area = mapping(0, 3 * PAGE)
    tally.feed(Chunk(address=PAGE - 4, data=memoryview(b"MARK"), mapping=area))
    tally.feed(Untouched(address=PAGE, size=size * PAGE, mapping=area))
    assert {one.address for one in tally.result().findings if one.encoding == "raw"} == {PAGE - 4}


@given(secret=SECRETS, data=st.binary(max_size=400))
def test_nothing_is_found_in_bytes_without_it(secret: bytes, data: bytes) -> None:
    found = scan(data, secret, [64])
    for finding in found.findings:
        assert finding.encoding != "raw" or secret in data
    assert found.coverage.read_bytes == len(data)


def test_findings_beyond_the_limit_are_counted() -> None:
    found = scan(b"ABCDEF" * 150, b"ABCDEF", [1000])
    raw = [one for one in found.findings if one.encoding == "raw"]
    assert (len(raw), found.unlisted) == (100, 50)
