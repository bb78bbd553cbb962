"""redis and memcached: answers, snapshots, append-only files and restarts, with a memory proof of every process."""

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.system.arms import ARMS, Arm, command
from tests.system.conftest import MemoryProof
from tests.system.process_tree import moments, read_process, tree
from tests.system.service import Service, free_port, serving

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_runtime]

FILL = b"""
for i = 1, 5000 do redis.call('SET', 'key:' .. i, string.rep(ARGV[1], 3) .. i) end
return redis.status_reply('OK')
"""
QUICK = ("--save", "", "--appendfsync", "no")


@contextlib.contextmanager
def redis(arm: Arm, cwd: Path, *options: str) -> Iterator[Service]:
    cwd.mkdir(exist_ok=True)
    port = free_port()
    argv = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--dir", str(cwd), *QUICK, *options]
    with serving(command(arm, argv), port=port, cwd=cwd) as service:
        wait_until_loaded(service)
        yield service


def wait_until_loaded(service: Service) -> None:
    """Until then it accepts connections, but answers `-LOADING`."""
    for _ in moments(20):
        if tell(service, b"PING") == b"+PONG\r\n":
            return
    raise AssertionError(f"it does not finish loading: {service.log.read_text()}")


def tell(service: Service, *words: bytes) -> bytes:
    """One command in the protocol of redis (RESP); the first 200 bytes of its answer's first line and value."""
    question = b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)
    with service.connect() as connection:
        connection.sendall(question)
        file = connection.makefile("rb")
        line = file.readline()
        if line.startswith(b"$") and line != b"$-1\r\n":
            return file.read(int(line[1:]))
        return line


def fill(service: Service, marker: bytes) -> None:
    assert tell(service, b"SET", b"secret", marker) == b"+OK\r\n"
    assert tell(service, b"EVAL", FILL, b"0", marker) == b"+OK\r\n"
    assert tell(service, b"DEL", *(b"key:%d" % number for number in range(1, 1001))) == b":1000\r\n"


def check(service: Service, marker: bytes) -> None:
    assert tell(service, b"GET", b"secret") == marker
    assert tell(service, b"GET", b"key:5000") == marker * 3 + b"5000"
    assert tell(service, b"GET", b"key:7") == b"$-1\r\n"
    assert tell(service, b"DBSIZE") == b":4001\r\n"


@pytest.mark.needs_program("redis-server")
def test_redis_snapshot_and_reload(memory_proof: MemoryProof, marker: bytes, tmp_path: Path) -> None:
    """The proof is taken while the forked child writes the snapshot; each arm then loads the other one's."""
    slow = ("--rdb-key-save-delay", "500", "--rdbcompression", "no")  # microseconds per key: about two seconds in all
    with (
        redis("native", tmp_path / "native", *slow) as native,
        redis("enclaved", tmp_path / "enclaved", *slow) as enclaved,
    ):
        for service in (native, enclaved):
            fill(service, marker)
            check(service, marker)
            assert tell(service, b"BGSAVE") == b"+Background saving started\r\n"
        children = [
            next(pid for pid in tree([one.pid]) if pid != one.pid and is_child(pid, one.pid))
            for one in (native, enclaved)
        ]
        proof = memory_proof([native.pid, children[0]], [enclaved.pid, children[1]], marker)
        assert {native.pid, children[0]} <= proof.native.holders
        for service in (native, enclaved):
            wait_for_snapshot(service)
            assert tell(service, b"SET", b"after", b"x") == b"+OK\r\n"
            assert service.stop() == 0
    assert marker in (tmp_path / "enclaved" / "dump.rdb").read_bytes()
    for arm, other in zip(ARMS, reversed(ARMS), strict=True):
        with redis(arm, tmp_path / other) as service:
            check(service, marker)


def is_child(pid: int, parent: int) -> bool:
    process = read_process(pid)
    return process is not None and process.parent == parent


def wait_for_snapshot(service: Service) -> None:
    for _ in moments(20):
        if b"rdb_bgsave_in_progress:0" in (info := tell(service, b"INFO", b"persistence")):
            assert b"rdb_last_bgsave_status:ok" in info
            return
    raise AssertionError("the snapshot does not end")


@pytest.mark.needs_program("redis-server")
def test_redis_append_only_file(memory_proof: MemoryProof, marker: bytes, tmp_path: Path) -> None:
    keep = ("--appendonly", "yes")
    with (
        redis("native", tmp_path / "native", *keep) as native,
        redis("enclaved", tmp_path / "enclaved", *keep) as enclaved,
    ):
        for service in (native, enclaved):
            fill(service, marker)
            assert tell(service, b"BGREWRITEAOF").startswith(b"+Background")
            fill(service, marker)
        memory_proof([native.pid], [enclaved.pid], marker)
        assert enclaved.stop() == native.stop() == 0
    with redis("enclaved", tmp_path / "enclaved", *keep) as again:
        check(again, marker)


@pytest.mark.needs_program("redis-server", "redis-cli")
def test_redis_with_its_own_client_enclaved(marker: bytes, tmp_path: Path) -> None:
    with redis("enclaved", tmp_path) as service:
        fill(service, marker)
        said = [
            subprocess.run(
                command(arm, ["redis-cli", "-p", str(service.port), "GET", "secret"]),
                capture_output=True,
                timeout=20,
                check=True,
            ).stdout
            for arm in ARMS
        ]
        assert said == [marker + b"\n"] * 2


@pytest.mark.needs_program("memcached")
@pytest.mark.parametrize("user", ["root", "nobody"])
def test_memcached(user: str, memory_proof: MemoryProof, marker: bytes, tmp_path: Path) -> None:
    """As nobody it gives up root first, and asks for the memory of its threads afterwards."""
    with contextlib.ExitStack() as stack:
        services = []
        for arm in ARMS:
            port = free_port()
            argv = ["memcached", "-l", "127.0.0.1", "-p", str(port), "-U", "0", "-u", user, "-m", "32", "-t", "4"]
            services.append(stack.enter_context(serving(command(arm, argv), port=port, cwd=tmp_path)))
        for service in services:
            for number in range(200):
                question = b"set k%d 0 0 %d\r\n%b\r\n" % (number, len(marker), marker)
                assert service.ask(question, end=b"\r\n") == b"STORED\r\n"
            assert service.ask(b"get k7\r\n", end=b"END\r\n") == b"VALUE k7 0 %d\r\n%b\r\nEND\r\n" % (
                len(marker),
                marker,
            )
            assert service.ask(b"incr k7 1\r\n", end=b"\r\n").startswith(b"CLIENT_ERROR")
            assert service.ask(b"delete k7\r\n", end=b"\r\n") == b"DELETED\r\n"
            assert b"STAT curr_items 199\r\n" in service.ask(b"stats\r\n", end=b"END\r\n")
        memory_proof([services[0].pid], [services[1].pid], marker)
        assert services[1].stop() == services[0].stop()
