"""kill -9 at random points: no release without an audit entry, no nonce accepted twice, and it starts again."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from cloister.broker.audit import Grade, Released, read_entries, verify_log
from cloister.result.keys import read_signing_key

ROOT = Path(__file__).parents[2]


def killed(directory: Path, rounds: int, seed: int) -> dict[str, Any]:
    """What the broker's clients saw over so many lives."""
    words = [sys.executable, "-m", "tests.services.dying_broker", str(directory), str(rounds), str(seed)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def check(directory: Path, rounds: int, seed: int) -> None:
    seen = killed(directory, rounds, seed)
    log = directory / "state" / "audit.log"
    entries = Counter(entry.event.request for entry in read_entries(log) if isinstance(entry.event, Released))
    missing = set(seen["released"]) - set(entries)
    assert not missing, f"released, and not in the log: {missing}"
    assert max(entries.values()) == 1
    twice = [cookie for cookie, times in Counter(seen["accepted"]).items() if times > 1]
    assert not twice, f"accepted twice: {twice}"
    assert seen["starts"] == rounds
    assert len(seen["released"]) > rounds // 4
    key = read_signing_key(directory / "state" / "audit.pem").spki
    assert verify_log(log, key=key).grade in {Grade.INTACT, Grade.UNDECIDED, Grade.TORN}


@pytest.mark.timeout(300)
def test_a_broker_that_is_killed_100_times(tmp_path: Path) -> None:
    check(tmp_path, 100, 1)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_a_broker_that_is_killed_1000_times(tmp_path: Path) -> None:
    check(tmp_path, 1000, 2)
