"""Decoders take whatever a program puts into its registers and memory."""

from hypothesis import given
from hypothesis import strategies as st

from cloister.observe.needles import Needles
from cloister.observe.trace.decode import at_entry, at_return, not_returned, result_text, signature_of
from cloister.observe.trace.decode.look import Eyes, Look
from cloister.observe.trace.descriptors import Descriptors
from cloister.observe.trace.record import Unreadable
from cloister.observe.trace.redact import Redactor, quote
from cloister.observe.trace.ring import page_events
from cloister.observe.trace.siginfo import siginfo_text
from cloister.observe.trace.signatures import SIGNATURES

SECRET = b"S3cret-needle"
BASE = 0x1000
REGISTERS = st.one_of(
    st.integers(0, 64), st.integers(BASE, BASE + 300), st.integers(0, (1 << 64) - 1), st.just((1 << 64) - 100)
)


class Memory:
    """The drawn bytes, repeated a little, at BASE; nothing elsewhere."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def read(self, _pid: int, address: int, size: int) -> bytes | Unreadable:
        if not BASE <= address < BASE + len(self.data):
            return Unreadable(reason="not mapped or not readable")
        return self.data[address - BASE : address - BASE + size]

    def forget(self, _pid: int) -> None:
        """Nothing is remembered."""


@given(
    name=st.sampled_from([*sorted(SIGNATURES), "syscall_9999"]),
    raws=st.tuples(*[REGISTERS] * 6),
    data=st.binary(max_size=400),
    result=st.one_of(st.integers(-600, 5000), st.integers(-(1 << 63), (1 << 63) - 1)),
)
def test_decoders_never_raise(name: str, raws: tuple[int, ...], data: bytes, result: int) -> None:
    redactor = Redactor(Needles.of({"secret": SECRET}))
    eyes = Eyes(memory=Memory(data), descriptors=Descriptors(redactor), redactor=redactor, limit=32)
    look = Look(eyes=eyes, pid=1 << 30, signature=signature_of(name), raws=raws, result=result)
    arguments = at_entry(look)
    shown = [*not_returned(look, arguments), *at_return(look, arguments)]
    text = " ".join(argument.text for argument in shown) + result_text(look)
    text.encode("utf-8", "backslashreplace")
    assert SECRET.decode() not in text


@given(pieces=st.lists(st.integers(1, 5), max_size=12), before=st.binary(max_size=5), after=st.binary(max_size=5))
def test_a_secret_in_pieces_of_any_size_is_found_once_and_not_shown(
    pieces: list[int], before: bytes, after: bytes
) -> None:
    redactor = Redactor(Needles.of({"secret": SECRET}))
    whole, found, shown = before + SECRET + after, 0, ""
    for size in [*pieces, len(whole)]:
        looked = redactor.look(whole[:size], "buf", "in x")
        whole = whole[size:]
        found += sum(item.encoding == "raw" for item in looked.carried)
        shown += quote(looked, 100)[1:-1]
    assert found == 1
    assert SECRET.decode() not in shown


@given(st.binary(max_size=300))
def test_any_page_parses(page: bytes) -> None:
    for event in page_events(page):
        assert len(event.data) <= len(page)


@given(st.binary(min_size=128, max_size=128))
def test_any_siginfo_has_a_text(info: bytes) -> None:
    assert siginfo_text(info).startswith("{si_signo=")
