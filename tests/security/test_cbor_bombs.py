"""Small inputs that would cost a careless reader much time or memory."""

import resource
import time

import cbor2
import pytest

from cloister._cbor import LONGEST, loads
from cloister.errors import ParseError

BOMBS = {
    "an array of 2^60": bytes.fromhex("9b1000000000000000"),
    "a map of 2^63": bytes.fromhex("bb8000000000000000"),
    "a byte string of 2^60": bytes.fromhex("5b1000000000000000"),
    "a text string of 2^31": bytes.fromhex("7a80000000"),
    "an array of 2^60 in every element": bytes.fromhex("9b1000000000000000" * 31),
    "16,384 arrays inside each other": b"\x81" * LONGEST,
    "16,384 maps inside each other": b"\xa1" * LONGEST,
    "8,192 maps as values": b"\xa1\x00" * (LONGEST // 2),
    "16,384 tags inside each other": b"\xc1" * LONGEST,
    "an array of unknown length, never ended": b"\x9f" * LONGEST,
    "shared references that double": bytes.fromhex("d81c82" + "d81d00" * 2) * 1000,
    "a number of 16,000 digits": b"\xc2\x59\x3e\x80" + b"\xff" * 16_000 + b"\0",
    "a regular expression that backtracks": cbor2.dumps([cbor2.CBORTag(35, "(a+)+$"), "a" * 64 + "b"]) + b"\0",
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_at_once(name: str) -> None:
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    with pytest.raises(ParseError):
        loads(BOMBS[name], "Thing")
    assert time.process_time() - start < 0.5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024  # kilobytes


def test_keys_that_collide_in_the_hash_table_cost_little() -> None:
    """Pairs of numbers, all with one hash. A reader that takes them as keys compares each with all before it."""
    keys = colliding_pairs(1_150)
    assert len({hash(key) for key in keys}) == 1
    data = cbor2.dumps(dict.fromkeys(keys, 0))
    assert 15_000 < len(data) <= LONGEST
    start = time.process_time()
    with pytest.raises(ParseError, match="neither a whole number nor a string"):
        loads(data, "Thing")
    assert time.process_time() - start < 0.5


def colliding_pairs(count: int) -> list[tuple[int, int]]:
    """Pairs of one hash: CPython's tuple hash (xxHash, Objects/tupleobject.c) solved for the second number."""
    mask, one, two, five = (1 << 64) - 1, 11400714785074694791, 14029467366897019727, 2870177450012600261

    def rotated(value: int, by: int) -> int:
        return (value << by | value >> 64 - by) & mask

    undo_one, undo_two = pow(one, -1, 1 << 64), pow(two, -1, 1 << 64)
    wanted = rotated(undo_one * 0x1234_5678_9ABC_DEF0 & mask, 33)
    found: list[tuple[int, int]] = []
    first = 0
    while len(found) < count:
        first += 1
        second = (wanted - rotated((five + first * two) & mask, 31) * one) * undo_two & mask
        if second < (1 << 61) - 1:  # below that a number is its own hash
            found.append((first, second))
    return found
