"""Secrets are found in what calls carry, and never written down."""

from cloister.observe.needles import Needles
from cloister.observe.trace.record import Carried
from cloister.observe.trace.redact import Redactor, quote

SECRET = b"FUNFOO"


def redactor() -> Redactor:
    return Redactor(Needles.of({"password": SECRET}))


def test_a_secret_is_shown_as_label_and_length() -> None:
    looked = redactor().look(b"say FUNFOO\n", "buf")
    assert quote(looked, 32) == '"say <secret:password 6 bytes>\\n"'
    (carried,) = looked.carried
    assert (carried.label, carried.encoding, carried.offset, carried.length) == ("password", "raw", 4, 6)
    assert not carried.pieces


def test_an_encoded_secret_is_found_and_masked() -> None:
    looked = redactor().look(SECRET.hex().encode(), "buf")
    assert [item.encoding for item in looked.carried] == ["hex"]
    assert quote(looked, 32) == '"<secret:password 12 bytes hex>"'


def test_a_secret_beyond_what_is_shown_is_found_but_not_shown() -> None:
    looked = redactor().look(b"x" * 100 + SECRET, "buf")
    assert len(looked.carried) == 1
    assert quote(looked, 8).startswith('"xxxxxxxx')
    assert "FUNFOO" not in quote(looked, 8)


def test_a_secret_cut_by_the_limit_is_masked_whole() -> None:
    shown = quote(redactor().look(b"abcdFUNFOOxyz", "buf"), 6)
    assert "F" not in shown.replace("secret", "")


def test_a_secret_read_byte_by_byte_is_found_and_no_byte_of_it_shown() -> None:
    looker = redactor()
    shown = ""
    carried: list[Carried] = []
    for byte in SECRET + b"\n":
        looked = looker.look(bytes([byte]), "buf", "in pipe:[1]")
        shown += quote(looked, 32)
        carried += looked.carried
    assert [item.pieces for item in carried] == [True]
    assert not set(shown.replace("secret:password", "")) & set("FUNO")


def test_pieces_on_different_channels_are_not_joined() -> None:
    looker = redactor()
    looker.look(b"FUN", "buf", "in a")
    assert looker.look(b"FOO", "buf", "in b").carried == ()


def test_texts_are_redacted() -> None:
    assert redactor().text("/tmp/FUNFOO/x") == "/tmp/<secret:password 6 bytes>/x"
    assert redactor().text("/tmp/\udcff") == "/tmp/\udcff"


def test_without_secrets_nothing_is_masked() -> None:
    looked = Redactor(Needles.of({})).look(b'a\x01\x011\xff"\\', "buf", "in x")
    assert quote(looked, 32) == '"a\\1\\0011\\377\\"\\\\"'
