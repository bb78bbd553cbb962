"""`cloister verify --batch`: every source, in order and going on after bad records; processes that die, and Ctrl-C."""

import base64
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.forge.every import NONCE, every, write_files
from tests.forge.x509 import NOW
from tests.services.verify_command import policy_for, trust, verify

import cloister
from cloister.errors import CloisterError
from cloister.model import Tee
from cloister.verifier import crew
from cloister.verifier.many import Record

SAMPLE = every()[Tee.SGX]
GOOD = {"evidence": SAMPLE.evidence.hex(), "nonce": NONCE.hex()}
LONG = 2_000
"""Records: what they print does not fit into a pipe, so that the command waits for its reader."""

ALTERED = SAMPLE.evidence[:100] + b"\xff" + SAMPLE.evidence[101:]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "given").mkdir()
    write_files(tmp_path / "given")
    return tmp_path / "given"


def lines(path: Path, *rows: object) -> Path:
    """A file of JSON lines; text goes in as it is."""
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows))
    return path


def batch(
    capsys: pytest.CaptureFixture[str], source: Path, folder: Path, *words: object
) -> tuple[int, list[dict[str, Any]], str]:
    """Exit code, documents, and standard error."""
    ran = verify(capsys, "--batch", source, *trust(Tee.SGX, folder), *words)
    return ran.code, [json.loads(line) for line in ran.out.splitlines()], ran.err


# ---------------------------------------------------------------- sources

ROWS: list[tuple[dict[str, Any], str]] = [
    ({**GOOD, "name": "good"}, "warning"),
    ({**GOOD, "name": "base64", "evidence": base64.b64encode(SAMPLE.evidence).decode()}, "warning"),
    ({**GOOD, "name": "late", "at": "2099-01-01"}, "undecided"),
    ({**GOOD, "name": "seconds", "at": int(NOW.timestamp())}, "warning"),
    ({**GOOD, "name": "stale", "nonce": "ff"}, "not authentic"),
    ({"name": "altered", "evidence": ALTERED.hex()}, "not authentic"),
]
UNREADABLE: list[object] = [
    {"name": "no evidence"}, {"evidence": None}, {"evidence": 5}, {"evidence": ["x"]}, {"evidence": ""},
    {**GOOD, "nonce": ""}, {**GOOD, "nonce": "xyz"}, {**GOOD, "nonce": "00" * 2000}, {**GOOD, "at": "yesterday"},
    {**GOOD, "at": True}, {**GOOD, "at": ""}, {**GOOD, "at": [1]}, "not json", "[1]", "5", '"text"', '{"a": 1, "a": 2}',
    "{" * 5000, '{"evidence": "\\ud800"}', {"evidence": {"\x1b[2J": 1}},
]  # fmt: skip


@pytest.mark.parametrize("processes", [1, 2])
def test_json_lines(processes: int, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [row for row, _ in ROWS] * 30
    source = lines(tmp_path / "many.jsonl", *rows)
    code, found, err = batch(capsys, source, folder, "--processes", processes)
    assert [(one["file"], one["status"]) for one in found] == [(row["name"], as_) for row, as_ in ROWS] * 30
    assert code == 5
    assert err.startswith("verified 180 in ")
    assert "90 warning, 60 not authentic, 30 undecided" in err


def test_bad_lines_are_answered_by_their_number_and_nothing_is_left_out(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = lines(tmp_path / "bad.jsonl", GOOD, "", *UNREADABLE, GOOD)
    code, found, err = batch(capsys, source, folder)
    assert code == 2
    assert [one["status"] for one in found] == ["warning", *["malformed"] * len(UNREADABLE), "warning"]
    assert found[-1]["file"] == f"bad.jsonl:{len(UNREADABLE) + 3}", "empty lines count"
    assert found[2]["file"] == "bad.jsonl:4"
    assert "\x1b" not in json.dumps(found) + err
    assert all(one["reason"] for one in found if one["status"] == "malformed")


def test_a_line_without_end_is_one_bad_record(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cloister.cli._batch_records.LONGEST_LINE", 10_000)
    source = lines(tmp_path / "long.jsonl", GOOD, "9" * 35_000, GOOD)
    _, found, _ = batch(capsys, source, folder)
    assert [one["status"] for one in found] == ["warning", "malformed", "warning"]
    assert [one["file"] for one in found] == ["long.jsonl:1", "long.jsonl:2", "long.jsonl:3"]


def test_a_folder(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "evidence"
    (source / "b" / "c").mkdir(parents=True)
    for name in ("z.bin", "a.bin", "b/d.bin", "b/c/e.bin"):
        (source / name).write_bytes(SAMPLE.evidence)
    (source / "empty").touch()
    os.mkfifo(source / "pipe")
    (source / "dangling").symlink_to("nowhere")
    (source / os.fsdecode(b"\xff\x1b.bin")).write_bytes(ALTERED)
    code, found, _ = batch(capsys, source, folder, "--nonce", NONCE.hex())
    assert code == 5
    names = ["a.bin", "dangling", "empty", "z.bin", "\\udcff\x1b.bin", "b/d.bin", "b/c/e.bin"]
    assert [one["file"] for one in found if one["file"] != "dangling"] == [one for one in names if one != "dangling"]
    assert "no --nonce" not in json.dumps(found), "the nonce of the command line is for all records without their own"


def test_parquet(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = {
        "name": ["first", None, "third", "fourth"],
        "evidence": [SAMPLE.evidence, SAMPLE.evidence, ALTERED, None],
        "nonce": [NONCE, None, None, None],
        "at": [NOW, NOW.replace(year=2099), None, None],
        "more": ["not", "looked", "at", "all"],
    }
    pq.write_table(pa.table(rows), tmp_path / "given.parquet")
    code, found, _ = batch(capsys, tmp_path / "given.parquet", folder)
    assert code == 5
    assert [(one["file"], one["status"]) for one in found] == [
        ("first", "warning"), ("given.parquet:2", "undecided"), ("third", "not authentic"), ("fourth", "malformed"),
    ]  # fmt: skip
    naive = pa.table({"evidence": [SAMPLE.evidence.hex()], "at": [NOW.replace(tzinfo=None)]})
    pq.write_table(naive, tmp_path / "naive.parquet")
    assert batch(capsys, tmp_path / "naive.parquet", folder)[1][0]["at"] == "2026-06-01T00:00:00Z"


def test_parquet_that_is_none(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "text.parquet").write_text("text")
    pq.write_table(pa.table({"quote": [b"x"]}), tmp_path / "other.parquet")
    for name, why in (("text.parquet", "cannot read"), ("other.parquet", "no column evidence; it has quote")):
        code, found, err = batch(capsys, tmp_path / name, folder)
        assert (code, found) == (2, [])
        assert why in err
        assert "Traceback" not in err


@pytest.mark.parametrize("name", ["absent", "absent.jsonl", "absent.parquet", "text.txt", "empty.jsonl", "empty"])
def test_no_source(name: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "text.txt").touch()
    (tmp_path / "empty.jsonl").touch()
    (tmp_path / "empty").mkdir()
    code, found, err = batch(capsys, tmp_path / name, folder)
    assert (code, found) == (2, [])
    assert err.startswith("cloister verify: ")
    assert len(err.splitlines()) == 1


def test_the_worst_exit_code(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    measured = bytes(range(32)).hex()
    right, wrong = (policy_for(Tee.SGX, value, tmp_path / f"{value[:2]}.toml") for value in (measured, "ff" * 32))
    late, junk = {**GOOD, "at": "2099-01-01"}, {"evidence": "junk"}
    for expected, policy, rows in (
        (0, right, [GOOD]), (6, right, [GOOD, late]), (2, right, [junk, late, GOOD]), (4, wrong, [junk, GOOD, late]),
        (5, wrong, [GOOD, junk, {**GOOD, "nonce": "ff"}]),
    ):  # fmt: skip
        source = lines(tmp_path / "rows.jsonl", *rows)
        assert batch(capsys, source, folder, "--policy", policy)[0] == expected


# ---------------------------------------------------------------- processes


def records(*names: str) -> list[Record]:
    return [Record(name=name, evidence=SAMPLE.evidence, nonce=NONCE) for name in names]


def verified(given: Iterator[Record] | list[Record], processes: int = 2) -> list[cloister.Answer]:
    return list(
        cloister.verify_many(
            given, at=NOW, anchors=SAMPLE.anchors, endorsements=SAMPLE.endorsements, processes=processes
        )
    )


FATAL = """
import os, signal, sys
sys.path[:] = sys.argv[2:]
from cloister.verifier import crew
real = crew.answer
crew.answer = lambda job, one: os.kill(os.getpid(), signal.SIGKILL) if one.name == "fatal" else real(job, one)
crew.work(int(sys.argv[1]))
"""


def test_a_record_at_which_processes_die_costs_its_own_answer_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crew, "PROGRAM", FATAL)
    names = [str(number) for number in range(300)]
    names[70] = names[71] = names[200] = "fatal"
    found = verified(records(*names))
    assert [one.name for one in found] == names
    assert {one.name for one in found if one.exit_code != 3} == {"fatal"}
    crashed = found[70]
    assert (crashed.exit_code, crashed.document["status"]) == (1, "crashed")
    assert "died: signal 9" in crashed.document["reason"]


KILLED_ONCE = """
import os, signal, sys
sys.path[:] = sys.argv[2:]
for number in range(int(os.environ["TIMES"])):
    try:
        os.close(os.open(f"{os.environ['MARKS']}/{number}", os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        continue
    os.kill(os.getpid(), signal.SIGKILL)
from cloister.verifier.crew import work
work(int(sys.argv[1]))
"""


@pytest.mark.parametrize("times", [1, 2])
def test_a_process_killed_before_it_begins_is_started_again(
    times: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crew, "PROGRAM", KILLED_ONCE)
    (tmp_path / "marks").mkdir()
    monkeypatch.setenv("MARKS", str(tmp_path / "marks"))
    monkeypatch.setenv("TIMES", str(times))
    names = [str(number) for number in range(200)]
    found = verified(records(*names))
    assert [(one.name, one.exit_code) for one in found] == [(name, 3) for name in names]
    assert len(list((tmp_path / "marks").iterdir())) == times


def test_processes_that_cannot_begin_are_an_error_and_not_a_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crew, "PROGRAM", "raise SystemExit(7)")
    with pytest.raises(CloisterError, match=r"3 times: exit status 7"):
        verified(records(*map(str, range(200))))


def test_a_bug_is_one_record_s_answer_and_no_approval(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise RuntimeError("unforeseen")

    monkeypatch.setattr("cloister.verifier.verifier.Verifier.appraise_opened", fails)
    (found,) = verified(records("one"), processes=1)
    assert found.exit_code == 1
    assert "RuntimeError: unforeseen" in found.document["reason"]


def test_chunks_are_bounded_in_records_and_bytes() -> None:
    small = list(crew.chunked(records(*map(str, range(200)))))
    assert [len(one) for one in small] == [64, 64, 64, 8]
    large = [Record(name="", evidence=bytes(600_000)) for _ in range(5)]
    assert [len(one) for one in crew.chunked(large)] == [1, 1, 1, 1, 1]


def test_a_long_input_is_read_only_as_far_as_it_is_needed() -> None:
    taken = 0

    def source() -> Iterator[Record]:
        nonlocal taken
        for one in records(*map(str, range(5000))):
            taken += 1
            yield one

    answers = cloister.verify_many(
        source(), at=NOW, anchors=SAMPLE.anchors, endorsements=SAMPLE.endorsements, processes=2
    )
    for _ in range(10):
        next(answers)
    assert taken <= 64 * (crew.AHEAD + 1) * 2
    answers.close()  # type: ignore[attr-defined] # a generator
    assert not children(os.getpid())


def test_a_script_without_a_main_guard_may_use_it(tmp_path: Path) -> None:
    """Starting processes must not run the caller's script again."""
    (tmp_path / "script.py").write_text(
        "import cloister\n"
        "from cloister.verifier.many import Record\n"
        "print('once')\n"
        "found = list(cloister.verify_many([Record(name='', evidence=b'x')] * 200, processes=2))\n"
        "print(len(found))\n"
    )
    ran = subprocess.run([sys.executable, tmp_path / "script.py"], capture_output=True, text=True, check=True)
    assert (ran.stdout, ran.stderr) == ("once\n200\n", "")


def children(pid: int) -> set[int]:
    """The processes that a process has started and that are there still."""
    tasks = Path(f"/proc/{pid}/task")
    return {int(one) for task in tasks.glob("*/children") for one in task.read_text().split()}


def alive(pids: set[int]) -> set[int]:
    """Those that run; what only waits to be reaped is gone."""
    return {pid for pid in pids if running(pid)}


def running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@contextmanager
def long_batch(folder: Path, tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], set[int]]]:
    """A batch under way, in a process group of its own, with the processes that it uses."""
    source = lines(tmp_path / "long.jsonl", *[GOOD] * LONG)
    words = [sys.executable, "-m", "cloister", "verify", "--batch", str(source), "--processes", "2"]
    command = subprocess.Popen(
        [*words, *trust(Tee.SGX, folder)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, process_group=0
    )
    try:
        assert command.stdout is not None
        assert json.loads(command.stdout.readline())["status"] == "warning"
        workers = children(command.pid)
        assert len(workers) == 2
        yield command, workers
    finally:
        command.kill()
        command.communicate()


def test_ctrl_c_ends_every_process(folder: Path, tmp_path: Path) -> None:
    with long_batch(folder, tmp_path) as (ran, workers):
        os.killpg(ran.pid, signal.SIGINT)  # what a terminal does
        _, err = ran.communicate(timeout=20)
        assert ran.returncode == 130
        assert "Traceback" not in err
        assert "interrupted; verified " in err
        assert not alive(workers)


def test_no_process_is_left_when_the_command_is_killed(folder: Path, tmp_path: Path) -> None:
    with long_batch(folder, tmp_path) as (ran, workers):
        ran.kill()
        until = time.monotonic() + 20
        while alive(workers) and time.monotonic() < until:
            time.sleep(0.02)
        assert not alive(workers)


def test_a_process_killed_on_the_way_loses_nothing(folder: Path, tmp_path: Path) -> None:
    with long_batch(folder, tmp_path) as (ran, workers):
        os.kill(min(workers), signal.SIGKILL)
        assert ran.stdout is not None
        assert ran.stderr is not None
        files = [json.loads(line)["file"] for line in ran.stdout]
        err = ran.stderr.read()
        assert ran.wait(20) == 3, err
        assert files == [f"long.jsonl:{number}" for number in range(2, LONG + 1)]
        assert f"verified {LONG:,} in" in err
        assert "crashed" not in err


def test_a_reader_that_goes_away_ends_it_quietly(folder: Path, tmp_path: Path) -> None:
    with long_batch(folder, tmp_path) as (ran, workers):
        assert ran.stdout is not None
        ran.stdout.close()
        assert ran.wait(20) == 141
        assert not alive(workers)


def test_a_time_without_a_zone_is_refused_in_the_library() -> None:
    naive = NOW.replace(tzinfo=None)
    (found,) = verified([Record(name="", evidence=SAMPLE.evidence, at=naive)], processes=1)
    assert found.exit_code == 2
    assert "time zone" in found.document["reason"]
