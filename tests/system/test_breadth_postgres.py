"""PostgreSQL as its own user: made, loaded, asked, crashed and recovered, natively and in the enclave.

`inside`: root's enclave, in which setpriv becomes the account.
`outside`: the account runs a runtime that has the file capability.
"""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from tests.services.postgres import ACCOUNT, as_account, programs
from tests.system.arms import ENVIRONMENT, command
from tests.system.process_tree import kill, moments, tree, wait_until_gone

from cloister.launch.runtime_file import runtime_path

pytestmark = [
    pytest.mark.needs_root, pytest.mark.needs_runtime, pytest.mark.slow,
    pytest.mark.needs_program("psql", "setpriv", "setcap"),
]  # fmt: skip

HOW = ["native", "inside", "outside"]
FILL = "create table t as select i, md5(i::text) as hash from generate_series(1, 20000) i"
PARALLEL = "set max_parallel_workers_per_gather = 2; set parallel_setup_cost = 0; set parallel_tuple_cost = 0"
SUM = "select sum(i), count(*), min(hash) from t"
READY = "database system is ready to accept connections"
QUICK = ("listen_addresses=", "shared_buffers=16MB", "max_connections=20", "min_parallel_table_scan_size=0")


@dataclass
class Cluster:
    how: str
    directory: Path
    process: subprocess.Popen[bytes] | None = None

    def command(self, program: str, *words: str) -> list[str]:
        argv = [str(programs() / program), *words]
        if self.how == "outside":
            return [*as_account(), str(self.directory / "runtime"), "--", argv[0], *argv]
        return command("enclaved" if self.how == "inside" else "native", [*as_account(), *argv])

    def run(self, program: str, *words: str) -> str:
        done = subprocess.run(
            self.command(program, *words), capture_output=True, text=True, timeout=60, cwd=self.directory,
            env=ENVIRONMENT, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    def connect(self) -> "psycopg.Connection[tuple[object, ...]]":
        return psycopg.connect(f"postgresql://{ACCOUNT}@/postgres?host={self.directory}", autocommit=True)

    def start(self) -> None:
        settings = [word for setting in QUICK for word in ("-c", setting)]
        data = str(self.directory / "data")
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(
                self.command("postgres", "-D", data, "-k", str(self.directory), *settings),
                stdout=log, stderr=log, cwd=self.directory, env=ENVIRONMENT,
            )  # fmt: skip
        self.wait_until_ready()

    def wait_until_ready(self) -> None:
        for _ in moments(30):
            with contextlib.suppress(psycopg.OperationalError):
                self.connect().close()
                return
        raise AssertionError(self.log())

    def wait_for_restart(self) -> None:
        """After a backend's end. Its client knows of that first: the server may still take connections, to end them."""
        for _ in moments(60):
            after = self.log().rpartition("was terminated by signal 9")
            if after[1] and READY in after[2]:
                return
        raise AssertionError(self.log())

    def ask(self, question: str) -> list[tuple[object, ...]]:
        with self.connect() as connection:
            return connection.execute(question.encode()).fetchall()

    def do(self, *statements: str) -> None:
        with self.connect() as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def bench(self, *words: str) -> int:
        """How many transactions; none failed."""
        where = ["-h", str(self.directory), "-U", ACCOUNT]
        said = self.run("pgbench", *where, "-c", "3", "-j", "2", "-T", "1", *words, "postgres")
        assert "number of failed transactions: 0 " in said
        found = re.search(r"actually processed: (\d+)", said)
        return int(found.group(1)) if found else 0

    def postmaster(self) -> int:
        return int((self.directory / "data" / "postmaster.pid").read_text().split("\n")[0])

    def stop(self, number: signal.Signals) -> None:
        """SIGKILL: the server's processes notice and end by themselves."""
        assert self.process is not None
        members = tree([self.process.pid])
        os.kill(self.postmaster(), number)
        self.process.wait(30)
        left = wait_until_gone(list(members), seconds=30)
        assert not left, f"still there: {[members[pid] for pid in left]}"

    def log(self) -> str:
        return (self.directory / "log").read_text()


@pytest.fixture(params=HOW)
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    directory = Path(tempfile.mkdtemp(prefix="cloister-postgres-"))
    made = Cluster(how=request.param, directory=directory)
    try:
        if made.how == "outside":
            shutil.copy(runtime_path(), directory / "runtime")
            done = subprocess.run(
                ["setcap", "cap_ipc_lock+ep", directory / "runtime"], capture_output=True, check=False
            )
            if done.returncode:
                pytest.skip("file capabilities do not work here")
        directory.chmod(0o755)
        shutil.chown(directory, ACCOUNT)
        made.run("initdb", "-D", str(directory / "data"), "-A", "trust", "-U", ACCOUNT, "--no-sync")
        made.start()
        yield made
    finally:
        if made.process is not None and made.process.poll() is None:
            kill(tree([made.process.pid]))
            made.process.wait(30)
        shutil.rmtree(directory)


def test_answers_load_crashes_and_recovery(cluster: Cluster) -> None:
    cluster.do(FILL, "vacuum analyze t", "create index on t(hash)")
    first = cluster.ask(SUM)
    assert first[0][:2] == (200010000, 20000)
    with cluster.connect() as connection:
        connection.execute(PARALLEL.encode())
        plan = str(connection.execute(f"explain analyze {SUM}".encode()).fetchall())
        assert "Workers Launched: 2" in plan
        assert connection.execute(SUM.encode()).fetchall() == first
    cluster.run("pgbench", "-h", str(cluster.directory), "-U", ACCOUNT, "-i", "-s", "1", "-q", "postgres")
    assert cluster.bench("-S") > 0
    transactions = cluster.bench()
    assert cluster.ask("select count(*) from pgbench_history") == [(transactions,)]
    with cluster.connect() as doomed:
        os.kill(doomed.info.backend_pid, signal.SIGKILL)
        with pytest.raises(psycopg.OperationalError):
            doomed.execute(b"select 1")
    cluster.wait_for_restart()
    assert cluster.ask(SUM) == first
    cluster.do("insert into t select i, 'new' from generate_series(20001, 20100) i")
    cluster.stop(signal.SIGKILL)
    cluster.start()
    assert "automatic recovery in progress" in cluster.log()
    assert cluster.ask("select count(*) from t") == [(20100,)]
    assert cluster.ask("select sum(abalance) = (select sum(delta) from pgbench_history) from pgbench_accounts") == [
        (True,)
    ]
    cluster.stop(signal.SIGINT)
    assert cluster.log().rstrip().endswith("database system is shut down")
    assert "PANIC" not in cluster.log()
