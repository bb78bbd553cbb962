"""Verifying on all cores: processes, because signature checks scale with them and hardly with threads.

The processes are started as `python -c`, not by multiprocessing: that would run the caller's main script again in
each of them. They belong to a process group of their own, so that Ctrl-C reaches the caller only, who ends them; and
they end by themselves when the caller is gone, however it ended, because their connection to it closes.
"""

import contextlib
import itertools
import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from multiprocessing.connection import Connection, Pipe, wait
from typing import IO, Any, Final, Self

from cloister.errors import CloisterError, UsageError
from cloister.verifier.many import Answer, Job, Record, answer, crashed

__all__ = ["chunked", "run", "work"]

CHUNK: Final = 64
"""Records that travel to a process together: enough to hide the cost of sending, few enough to see progress."""

CHUNK_BYTES: Final = 1 << 20
"""A chunk of large records ends earlier."""

AHEAD: Final = 4
"""Chunks per process that may be answered before an earlier one is: a long input is never held in memory whole."""

PROGRAM: Final = (
    "import sys; sys.path[:] = sys.argv[2:]; from cloister.verifier.crew import work; work(int(sys.argv[1]))"
)
READY: Final = "ready"
STARTS: Final = 3
"""How often a process is started that ends before it began: something may have killed it, or they cannot be started."""
DYING: Final = 5.0
"""Seconds that a process may take to be gone after its connection has closed."""


def chunked(records: Iterable[Record]) -> Iterator[list[Record]]:
    """The records in lists of at most CHUNK records and, but for a single large one, CHUNK_BYTES bytes."""
    chunk: list[Record] = []
    size = 0
    for record in records:
        if chunk and (len(chunk) == CHUNK or size + len(record.evidence) > CHUNK_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append(record)
        size += len(record.evidence)
    if chunk:
        yield chunk


def run(job: Job, records: Iterable[Record], *, processes: int | None = None) -> Iterator[Answer]:
    """Answers in the order of the records. Inputs of one chunk, and one process, do without others.

    `processes`: how many, one for each core if not given. UsageError if there are less than one, CloisterError if they
    cannot be started. One that dies at a record costs that record's answer only.
    """
    count = cores() if processes is None else processes
    if count < 1:
        raise UsageError(f"{count} processes can verify nothing; give 1 or more")
    if count == 1:
        yield from (answer(job, record) for record in records)
        return
    source = chunked(records)
    first = list(itertools.islice(source, 2))
    if len(first) < 2:
        yield from (answer(job, record) for chunk in first for record in chunk)
        return
    with tempfile.TemporaryFile() as file, contextlib.ExitStack() as stack:
        pickle.dump(job, file)
        file.flush()
        crew = [stack.enter_context(Worker(file)) for _ in range(count)]
        yield from ordered(crew, itertools.chain(first, source))


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def ordered(crew: list["Worker"], source: Iterator[list[Record]]) -> Iterator[Answer]:
    """Hand out chunks as processes become free; the answers in the order of the chunks."""
    numbered = enumerate(source)
    free: list[Worker] = []
    busy: dict[Connection, Worker] = {one.connection: one for one in crew}
    done: dict[int, list[Answer]] = {}
    following = sent = 0
    while busy:
        for connection in wait(list(busy)):
            worker = busy.pop(connection)  # type: ignore[call-overload] # `wait` returns what it was given
            number, answers = worker.collect()
            if number is not None:
                done[number] = answers
            free.append(worker)
        while following in done:
            yield from done.pop(following)
            following += 1
        while free and sent - following < AHEAD * len(crew) and (item := next(numbered, None)):
            sent = item[0] + 1
            worker = free.pop()
            worker.give(*item)
            busy[worker.connection] = worker


class Worker:
    """One process, and the chunk that it has."""

    def __init__(self, job: IO[bytes]) -> None:
        self._job = job
        self._number: int | None = None
        self._chunk: list[Record] = []
        self._start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()
        self._end()

    def give(self, number: int, chunk: list[Record]) -> None:
        """Hand it a chunk. If the process has died, `collect` finds out."""
        self._number, self._chunk = number, chunk
        with contextlib.suppress(OSError):
            self.connection.send(chunk)

    def collect(self) -> tuple[int | None, list[Answer]]:
        """What it has to say: the number of its chunk and the answers; or None: it has started and is ready."""
        number, chunk = self._number, self._chunk
        self._number, self._chunk = None, []
        try:
            said = self.connection.recv()
        except (EOFError, OSError):
            if number is None:
                self._begin_again(STARTS - 1)
                return None, []
            return number, self._one_by_one(chunk)
        return number, [] if number is None else said

    def _one_by_one(self, chunk: list[Record]) -> list[Answer]:
        """The chunk at which the process died again, each record alone, so that only the fatal one is lost."""
        answers: list[Answer] = []
        self._restart()
        for record in chunk:
            try:
                self.connection.send([record])
                answers += self.connection.recv()
            except (EOFError, OSError):
                how = self._restart()
                answers.append(crashed(record, f"the process that verified this record died: {how}"))
        return answers

    def _restart(self) -> str:
        """Another process in place of one that died; how it died."""
        how = self._end()
        self._start()
        self.collect()
        return how

    def _begin_again(self, times: int) -> None:
        """Another process in place of one that had not begun. CloisterError if none begins."""
        how = self._end()
        for _ in range(times):
            self._start()
            try:
                self.connection.recv()
            except (EOFError, OSError):
                how = self._end()
            else:
                return
        raise CloisterError(f"a process for many records ended before it began, {times + 1} times: {how}")

    def _start(self) -> None:
        self.connection, theirs = Pipe()
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-c", PROGRAM, str(theirs.fileno()), *sys.path],
                stdin=self._job, stdout=subprocess.DEVNULL, pass_fds=[theirs.fileno()], process_group=0,
            )  # fmt: skip
        except OSError as error:
            self.connection.close()
            raise CloisterError(f"cannot start processes for many records: {error}; use one only") from error
        finally:
            theirs.close()

    def _end(self) -> str:
        """End the process; how it had ended before, if it had."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(0.0 if self.connection.closed else DYING)
        self.connection.close()
        self._process.terminate()
        code = self._process.wait()
        return f"signal {-code}" if code < 0 else f"exit status {code}"


def work(descriptor: int) -> None:
    """What a process does: read the job from standard input, then answer chunks until the connection closes."""
    connection: Connection[Any, Any] = Connection(descriptor)
    job: Job = pickle.loads(os.pread(0, os.fstat(0).st_size, 0))  # noqa: S301 - written by the process that started us
    with contextlib.suppress(EOFError, OSError):
        connection.send(READY)
        while True:
            connection.send([answer(job, record) for record in connection.recv()])
