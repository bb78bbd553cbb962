import pytest

from cloister.errors import UsageError
from cloister.observe.needles import Needle, Needles

SECRET = b"FUN/F+O? 12"


def patterns(secret: bytes) -> dict[str, bytes]:
    return {needle.encoding: needle.pattern for needle in Needles.of({"s": secret}).needles}


def test_encodings_of_text() -> None:
    found = patterns(SECRET)
    assert found["raw"] == SECRET
    assert found["utf-16le"] == b"F\0U\0N\0/\0F\0+\0O\0?\0 \x001\x002\0"
    assert found["utf-16be"] == b"\0F\0U\0N\0/\0F\0+\0O\0?\0 \x001\x002"
    assert found["utf-32le"].startswith(b"F\0\0\0U\0\0\0")
    assert found["hex"] == b"46554e2f462b4f3f203132"
    assert found["HEX"] == b"46554E2F462B4F3F203132"
    assert found["percent-all"] == b"%46%55%4E%2F%46%2B%4F%3F%20%31%32"
    assert found["percent-all-lower"] == b"%46%55%4e%2f%46%2b%4f%3f%20%31%32"
    assert found["percent"] == b"FUN%2FF%2BO%3F%2012"
    assert found["percent-lower"] == b"FUN%2fF%2bO%3f%2012"
    assert found["reversed"] == b"21 ?O+F/NUF"


def test_text_is_widened_as_text() -> None:
    assert patterns("Schlüssel".encode())["utf-16le"] == "Schlüssel".encode("utf-16-le")
    assert patterns(b"\xff\xfe\x01\x02")["utf-16le"] == b"\xff\0\xfe\0\x01\0\x02\0"


def test_forms_that_are_equal_are_searched_once() -> None:
    found = patterns(b"abba")
    assert "reversed" not in found
    assert "percent" not in found


def test_short_secret_is_searched_as_it_is_with_a_warning() -> None:
    needles = Needles.of({"pin": b"123"})
    assert [needle.encoding for needle in needles.needles] == ["raw"]
    assert "pin" in needles.warnings[0]
    assert "123" not in needles.warnings[0]
    assert not Needles.of({"pin": b"1234"}).warnings


@pytest.mark.parametrize("secret", [b"", b"a", b"\0\0\0\0\0\0"])
def test_secret_found_everywhere_is_refused(secret: bytes) -> None:
    with pytest.raises(UsageError):
        Needles.of({"s": secret})


def test_secret_never_shows() -> None:
    assert "FUN" not in repr(Needles.of({"label": SECRET}))


@pytest.mark.parametrize(("length", "minimum"), [(4, 4), (6, 4), (12, 6), (16, 8), (100, 8)])
def test_minimum_part(length: int, minimum: int) -> None:
    needle = Needle(label="s", encoding="raw", pattern=bytes(length), secret_length=length)
    assert needle.minimum_part == minimum


def test_minimum_part_grows_with_the_encoding() -> None:
    assert Needle(label="s", encoding="hex", pattern=bytes(32), secret_length=16).minimum_part == 16


def test_expected_chance_hits() -> None:
    needles = Needles.of({"pin": b"123"})
    assert needles.expected_chance_hits(1 << 24) == pytest.approx(1.0)
    assert Needles.of({"s": SECRET}).expected_chance_hits(1 << 40) < 1e-10
