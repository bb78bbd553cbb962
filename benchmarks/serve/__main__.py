"""Full flows a second (auth, attest, release) of `cloister serve`: `python -m benchmarks.serve [--seconds N]`.

The servers are processes that share a socket and a database; the clients are two processes on the same machine, which
make and sign their evidence while the clock runs. So that it shows what the servers can do by themselves, their own
processor time is measured too.
"""

import argparse
import asyncio
import base64
import contextlib
import json
import multiprocessing
import os
import resource
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles
from typing import Any

from benchmarks.serve.client import Client, Flow, answering
from tests.services.key_broker import NOW, Attester, rule_for, snp_attester, software_attester

from cloister.broker.secrets_rule import parse_rule
from cloister.endorse.anchors import AnchorKind
from cloister.result.signing import SigningKey
from cloister.serve.appraiser import Appraiser
from cloister.serve.journal import Journal
from cloister.serve.server import Listening, bind, server_for
from cloister.serve.service import Service, Settings
from cloister.verifier.policy_files import load_policy

CLIENTS = (1, 8, 64)
ATTESTERS = {"snp": snp_attester, "software": software_attester}
FORK = multiprocessing.get_context("fork")
WARM_UP = 1.0


def service_of(directory: Path, attester: Attester, name: str) -> Service:
    """One replica on the common database."""
    policy, references = load_policy(directory / "policy.toml", NOW)

    def make(key: SigningKey) -> Appraiser:
        return Appraiser(
            verifier=attester.verifier, key=key, clock=lambda: NOW, policy=policy, references=references,
            accept_anchors=frozenset(AnchorKind),
        )  # fmt: skip

    state = directory / name
    state.mkdir(mode=0o700)
    if name != "0":
        shutil.copy2(directory / "0" / "kek", state / "kek")
    database = str(directory / "broker.db")
    settings = Settings(state=state, appraiser=make, database=database, clock=lambda: NOW, secure_cookie=False)
    return Service(settings, Journal((directory / f"{name}.log").open("w")))


def in_a_child(work: Callable[[], object]) -> int:
    """Fork; the child does its work and ends."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        finally:
            os._exit(0)
    return pid


def serve(directory: Path, attester: Attester, name: str, listener: socket.socket) -> None:
    """One server process, until SIGTERM."""
    signal.signal(signal.SIGTERM, lambda *_: None)
    service = service_of(directory, attester, name)
    service.vault.put("app/keys/db", b"s" * 32, parse_rule(rule_for(attester)))
    (directory / f"{name}.ready").touch()
    server_for(service.application, Listening()).run(sockets=[listener])


@contextlib.contextmanager
def servers(attester: Attester, count: int) -> Iterator[tuple[str, int]]:
    """So many server processes on one port."""
    directory = Path(tempfile.mkdtemp(prefix="cloister-bench-"))
    (directory / "policy.toml").write_text(attester.policy)
    children = []
    with bind("127.0.0.1", 0) as listener:
        try:
            for number in map(str, range(count)):
                children.append(in_a_child(lambda name=number: serve(directory, attester, name, listener)))  # type: ignore[misc]
                while not (directory / f"{number}.ready").exists():
                    time.sleep(0.02)
            yield listener.getsockname()[:2]
        finally:
            for child in children:
                os.kill(child, signal.SIGTERM)
            for child in children:
                os.waitpid(child, 0)
            shutil.rmtree(directory)


def clients(address: tuple[str, int], attester: Attester, count: int, seconds: float, queue: Any) -> None:  # noqa: ANN401
    """One process of clients; puts the flows that began after the warm-up."""

    def wrap(evidence: bytes) -> dict[str, str]:
        return {"evidence": base64.b64encode(evidence).decode()}

    async def run() -> list[Flow]:
        answer = answering(attester.jwk, attester.make, wrap)
        some = [Client(*address, attester.tee, answer) for _ in range(count)]
        await asyncio.gather(*(one.run(time.monotonic() + WARM_UP) for one in some))
        for one in some:
            one.flows.clear()
        await asyncio.gather(*(one.run(time.monotonic() + seconds) for one in some))
        return [flow for one in some for flow in one.flows]

    queue.put(asyncio.run(run()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One line of the table. Times in milliseconds; `server_ms`: processor time of the servers for one flow."""

    evidence: str
    servers: int
    clients: int
    flows_per_second: float
    p50: float
    p99: float
    server_ms: float

    def line(self) -> str:
        """For people."""
        name = f"{self.evidence:<9} {self.servers:>7} {self.clients:>8}"
        return f"{name} {self.flows_per_second:>9.0f} {self.p50:>8.2f} {self.p99:>8.2f} {self.server_ms:>10.2f}"


def measure(name: str, count: int, connections: int, seconds: float) -> Measured:
    """One configuration."""
    attester = ATTESTERS[name]()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent_by_clients = 0.0
    with servers(attester, count) as address:
        queue, processes = FORK.Queue(), []
        for share in [one for one in (connections - connections // 2, connections // 2) if one]:
            processes.append(FORK.Process(target=clients, args=(address, attester, share, seconds, queue)))
            processes[-1].start()
        flows = [flow for _ in processes for flow in queue.get()]
        for process in processes:
            process.join()
        after_clients = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent_by_clients = after_clients.ru_utime + after_clients.ru_stime - before.ru_utime - before.ru_stime
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime - spent_by_clients
    totals = quantiles([1000 * flow.total for flow in flows], n=100)
    return Measured(
        evidence=name, servers=count, clients=connections, flows_per_second=len(flows) / seconds, p50=totals[49],
        p99=totals[98], server_ms=1000 * spent / (len(flows) * (1 + WARM_UP / seconds)),
    )  # fmt: skip


def main() -> None:
    """Every configuration, as a table and, if asked, as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--servers", type=int, action="append", help="processes (default: 1 and the number of cores)")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    print("evidence  servers  clients   flows/s   p50 ms   p99 ms  server ms", file=sys.stderr)
    found = []
    for name in ATTESTERS:
        for count in args.servers or sorted({1, os.cpu_count() or 1}):
            for connections in CLIENTS:
                found.append(measure(name, count, connections, args.seconds))
                print(found[-1].line(), file=sys.stderr)
    if args.json:
        print(json.dumps([{name: getattr(one, name) for name in one.__slots__} for one in found]))


if __name__ == "__main__":
    main()
