"""Records of the console: the runtime's and the person's side agree, and whatever else comes is noticed."""

import random
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.property.runtime_pieces.pieces_unsafe import FLAGS, HERE, RUNTIME

from cloister.shield.console.records import (
    MOST_TEXT,
    ConsoleBroken,
    InputKind,
    InputRecords,
    OutputKind,
    OutputRecords,
    Piece,
    Record,
    derived,
)

KEY = bytes(range(32))
FILES = ["src/aead.c", "src/hmac.c", "src/sha2.c", "src/sha256_blocks.S", "shield/console_record.c"]
relaxed = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


class Runtime:
    """The runtime's records, in a process."""

    def __init__(self, program: Path) -> None:
        self.process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, *words: object) -> str:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def derive(self, what: str) -> bytes:
        return bytes.fromhex(self.ask("key", KEY.hex(), what))

    def seal(self, key: bytes, number: int, kind: int, text: bytes) -> bytes:
        return bytes.fromhex(self.ask("seal", key.hex(), number, kind, text.hex() or "-"))

    def open(self, key: bytes, record: bytes) -> str:
        return self.ask("open", key.hex(), record.hex() or "-")


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    target = tmp_path_factory.mktemp("console") / "console_records"
    sources = [HERE / "console_records.c", *(RUNTIME / name for name in FILES)]
    flags = [*FLAGS, f"-I{RUNTIME / 'shield'}", "-O1", "-fsanitize=address,undefined"]
    subprocess.run(["cc", *flags, "-o", str(target), *map(str, sources)], check=True)
    started = Runtime(target)
    yield started
    started.process.communicate()
    assert started.process.returncode == 0


texts = st.binary(max_size=300)


@pytest.mark.needs_program("cc")
class TestBothSides:
    def test_keys_are_the_same(self, runtime: Runtime) -> None:
        assert runtime.derive("input") == derived(KEY, "input")
        assert len({derived(KEY, what) for what in ("input", "output", "end")}) == 3

    @relaxed
    @given(st.integers(0, 2**64 - 1), st.integers(1, 255), texts)
    def test_records_are_the_same(self, runtime: Runtime, number: int, kind: int, text: bytes) -> None:
        key = derived(KEY, "input")
        record = Record(KEY, "input").seal(number, kind, text)
        assert runtime.seal(key, number, kind, text) == record
        assert runtime.open(key, record) == f"{number} {kind} {text.hex() or '-'}"

    def test_the_largest_record(self, runtime: Runtime) -> None:
        text = random.Random(1).randbytes(MOST_TEXT)  # noqa: S311 - a test's
        record = runtime.seal(derived(KEY, "output"), 1, OutputKind.STDOUT, text)
        assert Record(KEY, "output").open(record) == (1, OutputKind.STDOUT, text)
        assert runtime.open(derived(KEY, "output"), record + b"x").startswith("refused")

    @relaxed
    @given(st.integers(0, 2**32), texts, st.data())
    def test_the_runtime_opens_nothing_that_was_changed(
        self, runtime: Runtime, number: int, text: bytes, data: st.DataObject
    ) -> None:
        key, record = derived(KEY, "input"), Record(KEY, "input").seal(number, InputKind.BYTES, text)
        assert runtime.open(key, changed(record, data)) == "refused 0", "and leaves no text behind"
        assert runtime.open(derived(KEY, "output"), record) == "refused 0", "nor what goes the other way"


def changed(record: bytes, data: st.DataObject) -> bytes:
    """One bit of it, or its length."""
    way = data.draw(st.sampled_from(["flip", "cut", "longer"]))
    if way == "cut":
        return record[: data.draw(st.integers(0, len(record) - 1))]
    if way == "longer":
        return record + data.draw(st.binary(min_size=1, max_size=9))
    at, bit = data.draw(st.integers(0, len(record) - 1)), data.draw(st.integers(0, 7))
    return record[:at] + bytes([record[at] ^ 1 << bit]) + record[at + 1 :]


END_KEY = derived(KEY, "end")


def written(count: int) -> list[bytes]:
    """What the program's side writes: hello, then so many records."""
    output = Record(KEY, "output")
    texts = [output.seal(number, OutputKind.STDOUT, b"%d" % number) for number in range(1, count + 1)]
    return [output.seal(0, OutputKind.HELLO, END_KEY), *texts]


def ending(kind: OutputKind, status: int, count: int) -> bytes:
    return Record(END_KEY, "").seal(int(kind), kind, struct.pack("<IQ", status, count))


@relaxed
@given(st.integers(0, 20), st.randoms(use_true_random=False))
def test_output_is_put_into_order(count: int, chance: random.Random) -> None:
    records = [*written(count), ending(OutputKind.EXIT, 256, count + 1)]
    hello, *rest = records
    chance.shuffle(rest)
    output = OutputRecords(KEY)
    found = [piece for record in [hello, *rest] for piece in output.take(record)]
    assert [piece.data for piece in found[1:-1]] == [b"%d" % number for number in range(1, count + 1)]
    assert found[-1] == Piece(OutputKind.EXIT, status=256, count=count + 1)
    assert not output.waits
    assert output.missing == 0


@relaxed
@given(st.integers(1, 20), st.data())
def test_a_record_that_is_withheld_is_noticed(count: int, data: st.DataObject) -> None:
    records = written(count)
    lost = data.draw(st.integers(1, count))
    output = OutputRecords(KEY)
    for number, record in enumerate(records):
        if number != lost:
            output.take(record)
    output.take(ending(OutputKind.END, 0, count + 1))
    assert output.waits
    pieces = output.give_up()
    assert output.missing == 1
    assert pieces[-1].kind is OutputKind.END


def lost(number: int) -> bytes:
    return Record(END_KEY, "").seal(OutputKind.LOST + number, OutputKind.LOST, b"")


@relaxed
@given(st.integers(1, 20), st.data())
def test_a_record_whose_writer_was_killed_is_not_waited_for(count: int, data: st.DataObject) -> None:
    records = written(count)
    gone = data.draw(st.integers(1, count))
    came = data.draw(st.booleans())
    arriving = [record for number, record in enumerate(records) if came or number != gone]
    arriving.insert(data.draw(st.integers(gone + 1 if came else 1, len(arriving))), lost(gone))
    output = OutputRecords(KEY)
    found = [piece for record in arriving for piece in output.take(record)][1:]
    expected = [number for number in range(1, count + 1) if came or number != gone]
    assert [piece.data for piece in found] == [b"%d" % number for number in expected]
    assert not output.waits
    output = OutputRecords(KEY)
    output.take(records[0])
    with pytest.raises(ConsoleBroken):
        output.take(Record(KEY, "output").seal(OutputKind.LOST + gone, OutputKind.LOST, b""))


@relaxed
@given(st.integers(1, 8), st.data())
def test_a_record_that_is_replayed_or_changed_is_refused(count: int, data: st.DataObject) -> None:
    records, output = written(count), OutputRecords(KEY)
    for record in records:
        output.take(record)
    again = data.draw(st.sampled_from(records))
    with pytest.raises(ConsoleBroken):
        output.take(again)
    with pytest.raises(ConsoleBroken):
        output.take(changed(again, data))


def test_nobody_but_the_guard_says_how_it_ended() -> None:
    output = OutputRecords(KEY)
    with pytest.raises(ConsoleBroken, match="before its beginning"):
        output.take(ending(OutputKind.EXIT, 0, 1))
    output.take(written(0)[0])
    with pytest.raises(ConsoleBroken, match="changed"):
        output.take(Record(KEY, "output").seal(6, OutputKind.EXIT, struct.pack("<IQ", 0, 1)))
    assert output.take(ending(OutputKind.EXIT, 0, 1))[0].kind is OutputKind.EXIT
    with pytest.raises(ConsoleBroken, match="twice"):
        output.take(ending(OutputKind.EXIT, 0, 1))


def test_a_second_hello_or_an_unknown_kind_is_refused() -> None:
    output = OutputRecords(KEY)
    output.take(written(0)[0])
    for kind in (OutputKind.HELLO, 77):
        with pytest.raises(ConsoleBroken, match="no known kind"):
            output.take(Record(KEY, "output").seal(1, kind, b"x" * 32))


def test_on_a_terminal_each_byte_is_a_record() -> None:
    records = list(InputRecords(KEY, terminal=True).records(b"ls\n", InputKind.LINE))
    assert [len(one) for one in records] == [26, 26, 26]
    opened = [Record(KEY, "input").open(one) for one in records]
    assert opened == [(0, 1, b"l"), (1, 1, b"s"), (2, 2, b"\n")]


def test_elsewhere_records_are_large() -> None:
    typed = InputRecords(KEY, terminal=False)
    records = [*typed.records(b"x" * (MOST_TEXT + 5)), typed.end()]
    opened = [Record(KEY, "input").open(one) for one in records]
    assert [(number, kind, len(text)) for number, kind, text in opened] == [
        (0, 1, MOST_TEXT), (MOST_TEXT, 1, 5), (MOST_TEXT + 5, 3, 1)
    ]  # fmt: skip
