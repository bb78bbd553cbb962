"""What a prover hears of written files, on a machine where others write, too."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cloister.observe.prove.files import FileWatch
from cloister.observe.prove.secret import Secret
from cloister.observe.prove.wanted import Wanted

pytestmark = pytest.mark.needs_root

WRITES_FOR_EVER = """
import itertools, os, sys
for number in itertools.count():
    path = f"{sys.argv[1]}{number}"
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT))
    if number > 3000:
        os.unlink(f"{sys.argv[1]}{number - 3000}")
"""
SECONDS = 20


@contextmanager
def busy(path: Path) -> Iterator[None]:
    """Somebody who writes without end, faster than anybody looks."""
    with subprocess.Popen([sys.executable, "-c", WRITES_FOR_EVER, path]) as writer:
        try:
            yield
        finally:
            writer.kill()


@contextmanager
def watching(directory: Path, secret: Secret) -> Iterator[FileWatch]:
    watch = FileWatch(
        wanted=Wanted.of([secret]), directories=(directory,), excluded=frozenset(), foreign=lambda _: False
    )
    watch.start()
    try:
        if watch.group < 0:
            pytest.skip(f"no fanotify here: {watch.notes}")
        yield watch
    finally:
        watch.close()


def write(path: Path, text: bytes) -> None:
    """By another process: what the prover writes itself is not the program's."""
    subprocess.run(["tee", path], input=text, stdout=subprocess.DEVNULL, check=True)


def test_somebody_who_writes_without_end_does_not_hold_it_up(tmp_path: Path) -> None:
    secret = Secret.fresh("the secret")
    (tmp_path / "inside").mkdir()
    with watching(tmp_path / "inside", secret) as watch, busy(tmp_path / "noise"):
        for number in range(3):
            write(tmp_path / f"file{number}", b"it is " + secret.value)
            begun = time.monotonic()
            found = {(hit.path, hit.label) for hit in watch.drain()}
            assert (str(tmp_path / f"file{number}"), "the secret") in found
            assert time.monotonic() - begun < SECONDS
        write(tmp_path / "last", secret.value)
        assert str(tmp_path / "last") in {hit.path for hit in watch.finish()}


def test_one_file_is_not_continued_by_the_next(tmp_path: Path) -> None:
    """The halves of a secret at the end of one and the beginning of another are two halves, and not the whole."""
    secret = Secret.fresh("the secret")
    wanted = Wanted.of([secret])
    middle = len(secret.value) // 2
    (tmp_path / "a").write_bytes(b"x" * 100 + secret.value[:middle])
    (tmp_path / "b").write_bytes(secret.value[middle:])
    (tmp_path / "c").write_bytes(secret.value)
    assert wanted.search_file(tmp_path / "a") == {("the secret", "raw (first half)")}
    assert wanted.search_file(tmp_path / "b") == {("the secret", "raw (second half)")}
    assert ("the secret", "raw") in wanted.search_file(tmp_path / "c")
    assert wanted.search_file(tmp_path / "b") == {("the secret", "raw (second half)")}
