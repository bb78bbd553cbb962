"""PostgreSQL and its clients behind the network shield: a process for each connection, forked by its postmaster."""

import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from tests.property.tls_pieces.identities import known
from tests.system.arms import CLOISTER_ENVIRONMENT
from tests.system.process_tree import moments
from tests.system.service import free_port, serving
from tests.system.shielded_network import Shielded, capturing

BINARIES: Final = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
ACCOUNT: Final = "postgres"
AS_ACCOUNT: Final = ("setpriv", f"--reuid={ACCOUNT}", f"--regid={ACCOUNT}", "--clear-groups")

pytestmark = [
    pytest.mark.needs_root,
    pytest.mark.needs_runtime,
    pytest.mark.needs_program("psql", "setpriv"),
    pytest.mark.skipif(not BINARIES, reason="not installed: postgresql"),
]


@pytest.fixture
def directory() -> Iterator[Path]:
    """Of the account's own: pytest's are root's alone."""
    path = Path(tempfile.mkdtemp(prefix="cloister-postgres-"))
    shutil.chown(path, ACCOUNT)
    yield path
    shutil.rmtree(path)


def test_postgres_and_its_clients(directory: Path, tmp_path: Path) -> None:
    data, port, marker = directory / "data", free_port(), secrets.token_hex(16)
    subprocess.run([*AS_ACCOUNT, BINARIES[-1] / "initdb", "-D", data, "-A", "trust"], check=True, capture_output=True)
    options = ["-c", "unix_socket_directories=", "-c", "listen_addresses=127.0.0.1"]
    argv = [*AS_ACCOUNT, str(BINARIES[-1] / "postgres"), "-D", str(data), "-p", str(port), *options]
    shielded = Shielded(tmp_path, listen=[port], connect=[(port, known("p256"))])
    client = ["-h", "127.0.0.1", "-p", str(port), "-U", ACCOUNT]
    words = shielded.words("enclaved", argv)
    with capturing(port) as capture, serving(words, port=port, cwd=tmp_path, env=CLOISTER_ENVIRONMENT) as service:
        for _ in moments(30):
            if "ready to accept" in service.log.read_text():
                break
        rows = f"select i, '{marker}' || i as m from generate_series(1, 20000) i"  # noqa: S608 - hexadecimal
        question = f"create table t as {rows}; table t"
        answer = shielded.run(["psql", *client, "-X", "-A", "-t", "-q", "-c", question, "postgres"])
        lines = answer.stdout.decode().splitlines()
        assert lines == [f"{i}|{marker}{i}" for i in range(1, 20001)], answer.stderr
        load = shielded.run([str(BINARIES[-1] / "pgbench"), *client, "-i", "-s", "1", "-q", "postgres"])
        assert load.returncode == 0, load.stderr
        bench = shielded.run([str(BINARIES[-1] / "pgbench"), *client, "-c", "4", "-t", "50", "postgres"])
        assert b"actually processed: 200/200" in bench.stdout, bench.stderr
    assert len(capture.data) > 20_000 * len(marker)
    assert marker.encode() not in capture.data
