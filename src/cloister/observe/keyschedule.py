"""Expanded AES keys in memory (FIPS 197, section 5.2), exact, at any byte address.

    word i = word i-Nk  xor  word i-1                        when i is not a multiple of Nk
    word i = word i-Nk  xor  SubWord(RotWord(word i-1)) xor Rcon    when it is
    word i = word i-Nk  xor  SubWord(word i-1)               when Nk = 8 and i mod 8 = 4

The first line makes whole rows of zeros in  memory xor memory shifted by one word xor memory shifted by Nk
words. Python integers compute that over a whole chunk at once; the few places where zeros begin in two
successive rounds are then checked word for word.

Recognised: the schedule in FIPS byte order (AES-NI code) and with each word byte-swapped (OpenSSL's and others'
portable C on little-endian machines). Not recognised: schedules transformed for decryption or bit-slicing.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["KeyFinder", "KeyHit", "expand", "find_schedules"]

AES_128_WORDS, AES_192_WORDS, AES_256_WORDS = KEY_WORDS = (4, 6, 8)
WORD = 4
WORD_BITS = 32
ZERO_WORD = bytes(WORD)
# Small enough that the big integers stay in the processor's cache.
BLOCK = 1 << 16
LONGEST_SCHEDULE = 240
ZEROS = re.compile(rb"\x00+")


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyHit:
    """An expanded key at `address`; `layout` is `fips` or `swapped`."""

    key_bits: int
    layout: str
    address: int


def multiply(left: int, right: int) -> int:
    """Product in GF(2^8) modulo x^8 + x^4 + x^3 + x + 1 (FIPS 197, section 4.2)."""
    product = 0
    while right:
        product ^= left if right & 1 else 0
        left = (left << 1) ^ (0x11B if left & 0x80 else 0)
        right >>= 1
    return product


def power(base: int, exponent: int) -> int:
    """`base` to the `exponent` in GF(2^8); 254 gives the inverse, since every nonzero element to the 255 is 1."""
    result = 1
    for bit in format(exponent, "b"):
        result = multiply(result, result)
        result = multiply(result, base) if bit == "1" else result
    return result


def substitution_box() -> bytes:
    """The S-box, from its definition (FIPS 197, section 5.1.1)."""
    table = bytearray(256)
    for value in range(256):
        inverse = power(value, 254)
        table[value] = inverse ^ 0x63
        for rotation in range(1, 5):
            table[value] ^= (inverse << rotation | inverse >> (8 - rotation)) & 0xFF
    return bytes(table)


SBOX = substitution_box()


def expand(key: bytes, total: int = 0) -> bytes:
    """The key schedule of a 16, 24 or 32 byte key: 176, 208 or 240 bytes (FIPS 197, Algorithm 2).

    With `total`, only that many words of it.
    """
    words = [key[index : index + WORD] for index in range(0, len(key), WORD)]
    count = len(words)
    rcon = 1
    for index in range(count, total or WORD * (count + 7)):
        word = words[-1]
        if index % count == 0:
            word = (word[1:] + word[:1]).translate(SBOX)
            word = bytes([word[0] ^ rcon]) + word[1:]
            rcon = multiply(rcon, 2)
        elif count == AES_256_WORDS and index % count == WORD:
            word = word.translate(SBOX)
        words.append(bytes(a ^ b for a, b in zip(words[index - count], word, strict=True)))
    return b"".join(words)


def find_schedules(data: bytes) -> Iterator[tuple[int, int, str]]:
    """Every complete schedule in `data` as (offset, key bits, layout)."""
    number = int.from_bytes(data, "little")
    if not number:
        return
    previous_word = number ^ (number << WORD_BITS)
    for words in KEY_WORDS:
        rows = zero_rows(previous_word ^ (number << WORD_BITS * words), words)
        length = schedule_length(words)
        for offset in candidates(rows.to_bytes(len(data) + WORD * (words + 1), "little"), words):
            if 0 <= offset <= len(data) - length:
                layout = schedule_layout(data[offset : offset + length], words)
                if layout:
                    yield offset, words * 32, layout


def zero_rows(differences: int, words: int) -> int:
    """Zero bytes where a row of plain words begins, and three more rows follow it at their proper distance."""
    if words == AES_192_WORDS:
        pairs = differences | differences >> WORD_BITS
        row, period = pairs | pairs >> 2 * WORD_BITS | differences >> 4 * WORD_BITS, 6 * WORD_BITS
    else:
        row, period = differences | differences >> WORD_BITS | differences >> 2 * WORD_BITS, 4 * WORD_BITS
    two_rows = row | row >> period
    return two_rows | two_rows >> 2 * period


def candidates(rows: bytes, words: int) -> Iterator[int]:
    """Offsets at which a schedule may begin: one whole word of zeros in `rows`, not a long stretch of them.

    The zeros stand for the first plain word, which is number `words` + 1. Stretches are empty memory: in a
    schedule the word before (and after) a row is computed another way and differs from zero.
    """
    position = rows.find(ZERO_WORD)
    while position >= 0:
        zeros = ZEROS.match(rows, position)
        end = zeros.end() if zeros else position + WORD
        if end - position < 2 * WORD:
            yield from (start - WORD * (words + 1) for start in range(position, end - WORD + 1))
        position = rows.find(ZERO_WORD, end)


def schedule_length(words: int) -> int:
    """Bytes of the schedule of a key of `words` words: Nr + 1 round keys of 16 bytes, Nr = words + 6."""
    return 16 * (words + 7)


def schedule_layout(data: bytes, words: int) -> str:
    """`fips` or `swapped` if `data` is exactly the schedule of its first `words` words, else an empty string."""
    if is_schedule(data, words):
        return "fips"
    swapped = b"".join(data[index : index + WORD][::-1] for index in range(0, len(data), WORD))
    return "swapped" if is_schedule(swapped, words) else ""


def is_schedule(data: bytes, words: int) -> bool:
    """Whether the first derived word is right (cheap, refuses nearly all), and then every other."""
    key = data[: WORD * words]
    return data.startswith(expand(key, words + 1)) and data == expand(key)


class KeyFinder:
    """Finds schedules in a stream of pieces of any size; a jump in addresses starts afresh."""

    def __init__(self) -> None:
        """Start with nothing seen."""
        self.tail = b""
        self.next_address = 0

    def feed(self, address: int, data: memoryview) -> Iterator[KeyHit]:
        """The schedules that end in `data`, which lies at `address`."""
        if address != self.next_address:
            self.tail = b""
        self.next_address = address + len(data)
        for start in range(0, len(data), BLOCK):
            yield from self.block(address + start, bytes(data[start : start + BLOCK]))

    def block(self, address: int, data: bytes) -> Iterator[KeyHit]:
        """One block, after the bytes kept from the ones before."""
        kept = len(self.tail)
        joined = self.tail + data
        for offset, key_bits, layout in find_schedules(joined):
            if offset + schedule_length(key_bits // 32) > kept:
                yield KeyHit(key_bits=key_bits, layout=layout, address=address - kept + offset)
        self.tail = joined[1 - LONGEST_SCHEDULE :]
