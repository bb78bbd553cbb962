"""`cloister secret rekey` that is killed again and again: `python -m tests.services.dying_rekey STATE DATABASE SEED`.

Runs it in a child until SIGKILL comes after a random time, over and over, until one lives to its end. Prints how many
died, and how many rows each left under the old key.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

from cloister.broker import secrets_rekey
from cloister.broker.store import Store, open_database
from cloister.broker.store_database import Database
from cloister.serve.keys.changing import change_key
from cloister.serve.service import now

MOST_DEATHS = 200
LONGER = 0.01
"""Seconds that each life may be longer than the one before."""


def child(state: Path, database: str, new: str) -> None:
    """One try; it settles at once, for nobody else writes here."""
    secrets_rekey.SETTLING_SECONDS = 0.0
    try:
        change_key(state, database, old=("file",), new=new)
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


def main() -> None:
    state, database, new, chance = Path(sys.argv[1]), sys.argv[2], sys.argv[3], random.Random(int(sys.argv[4]))  # noqa: S311 - repeatable
    seen: list[int] = []
    for life in range(MOST_DEATHS):
        pid = os.fork()
        if pid == 0:
            child(state, database, new)
        until = time.monotonic() + chance.uniform(0, LONGER * life)
        found, status = 0, 0
        while not found and time.monotonic() < until:
            found, status = os.waitpid(pid, os.WNOHANG)
            time.sleep(0.001)
        if not found:
            os.kill(pid, signal.SIGKILL)
            _, status = os.waitpid(pid, 0)
        if os.WIFEXITED(status):
            if os.WEXITSTATUS(status):
                raise SystemExit("a child failed by itself")
            sys.stdout.write(json.dumps(seen))
            return
        opened = open_database(database or str(state / "broker.db"))
        seen.append(left(opened))
        opened.close()
    raise SystemExit("none lived to its end")


if __name__ == "__main__":
    main()
