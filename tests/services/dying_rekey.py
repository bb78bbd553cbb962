"""`cloister secret rekey`, killed again and again: `python -m tests.services.dying_rekey STATE DATABASE NEW SEED`.

Runs it in a child until SIGKILL comes after a random time, over and over, until some died between two rows; a change
that came to its end is followed by another. The last one is left in peace. Prints how many rows each left to do.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

from cloister.broker.store import Store, open_database
from cloister.broker.store_database import Database
from cloister.serve.keys.changing import change_key
from cloister.serve.service import now

MOST_DEATHS = 300
IN_BETWEEN = 3
"""Deaths between two rows that are enough."""
CYCLE = 60
LONGER = 0.01
"""Seconds that each life may be longer than the one before."""


def child(state: Path, database: str, new: str) -> None:
    """One try; it settles at once, for nobody else writes here."""
    try:
        change_key(state, database, old=("file",), new=new, settle=lambda: None)
    except BaseException as error:  # noqa: BLE001 - nothing may come out of a fork
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        os._exit(1)
    os._exit(0)


def left(database: Database) -> int:
    """How many wrapped keys are not under the key in use."""
    store = Store(database, now)
    mark = b"ck1\0" + bytes.fromhex((store.setting("database-key") or b"").decode())
    return sum(
        not bytes(row[0] or b"").startswith(mark)  # type: ignore[arg-type]
        for table in ("secret_versions", "sessions")
        for row in database.read(f"SELECT wrapped_key FROM {table} WHERE revoked IS NULL")  # noqa: S608 - constants
    )


def one_life(state: Path, database: str, new: str, seconds: float) -> bool:
    """Whether it came to its end before it was killed."""
    pid = os.fork()
    if pid == 0:
        child(state, database, new)
    until = time.monotonic() + seconds
    found, status = 0, 0
    while not found and time.monotonic() < until:
        found, status = os.waitpid(pid, os.WNOHANG)
        time.sleep(0.001)
    if not found:
        os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status):
        raise SystemExit("a child failed by itself")
    return os.WIFEXITED(status)


def main() -> None:
    state, database, new = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    chance = random.Random(int(sys.argv[4]))  # noqa: S311 - repeatable
    opened = open_database(database or str(state / "broker.db"))
    rows, seen = len(Store(opened, now).versions()), list[int]()
    opened.close()
    while sum(0 < one < rows for one in seen) < IN_BETWEEN:
        if len(seen) == MOST_DEATHS:
            raise SystemExit(f"never killed in between: {seen}")
        if not one_life(state, database, new, chance.uniform(0, LONGER * (1 + len(seen) % CYCLE))):
            opened = open_database(database or str(state / "broker.db"))
            seen.append(left(opened))
            opened.close()
    if not one_life(state, database, new, 60):
        raise SystemExit("it did not end")
    sys.stdout.write(json.dumps(seen))


if __name__ == "__main__":
    main()
