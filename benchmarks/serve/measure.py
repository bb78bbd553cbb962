"""One configuration of `cloister serve` under load, and what of a flow is cryptography."""

import asyncio
import base64
import contextlib
import multiprocessing
import os
import resource
import shutil
import signal
import socket
import ssl
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from statistics import quantiles
from typing import Any
from unittest import mock

from benchmarks.serve.client import Client, Flow, answering
from tests.services.key_broker import NOW, Attester, rule_for, snp_attester, software_attester

from cloister import _crypto
from cloister.broker.flow import Broker
from cloister.broker.recipient import Recipient
from cloister.broker.secrets_rule import parse_rule
from cloister.endorse.anchors import AnchorKind
from cloister.result.jwk import thumbprint
from cloister.result.keys import VerificationKey
from cloister.result.signing import SigningKey
from cloister.serve.appraiser import Appraiser
from cloister.serve.journal import Journal
from cloister.serve.kbs_messages import parse_attestation
from cloister.serve.metrics import shared_rows
from cloister.serve.server import Listening, bind
from cloister.serve.service import Service, Settings
from cloister.serve.supervisor import supervise
from cloister.serve.worker import worker_of
from cloister.verifier.policy_files import load_policy

__all__ = ["ATTESTERS", "Measured", "crypto_share", "measure"]

ATTESTERS = {"snp": snp_attester, "software": software_attester}
FORK = multiprocessing.get_context("fork")
WARM_UP = 1.0
NAME = "app/keys/db"


def settings_for(directory: Path, attester: Attester, workers: int) -> Settings:
    """A service that believes this attester."""
    (directory / "policy.toml").write_text(attester.policy)
    policy, references = load_policy(directory / "policy.toml", NOW)

    def make(key: SigningKey) -> Appraiser:
        return Appraiser(
            verifier=attester.verifier, key=key, clock=lambda: NOW, policy=policy, references=references,
            accept_anchors=frozenset(AnchorKind),
        )  # fmt: skip

    return Settings(
        state=directory / "state", appraiser=make, clock=lambda: NOW, secure_cookie=False, rows=shared_rows(workers)
    )


def first_start(settings: Settings, attester: Attester) -> tuple[Path, Path]:
    """Make what a service needs, and the secret; answer with a certificate and its key."""
    with contextlib.closing(Service(settings, Journal())) as service:
        service.vault.put(NAME, b"s" * 32, parse_rule(rule_for(attester)))
        return service.state.certificate("127.0.0.1")


def in_a_child(work: Callable[[], object]) -> int:
    """Fork; the child does its work and ends."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        finally:
            os._exit(0)
    return pid


@contextlib.contextmanager
def servers(attester: Attester, count: int, *, tls: bool) -> Iterator[tuple[tuple[str, int], Path]]:
    """The workers on one port, as the command runs them, with what they log in a file; and their certificate."""
    directory = Path(tempfile.mkdtemp(prefix="cloister-bench-"))
    settings = settings_for(directory, attester, count)
    certificate, key = first_start(settings, attester)
    how = Listening(certificate=certificate, key=key) if tls else Listening()

    def serve(listener: socket.socket) -> None:
        log = os.open(directory / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(log, 2)
        supervise(count, worker_of(settings, how, listener), Journal().write)

    with bind("127.0.0.1", 0) as listener:
        child = in_a_child(lambda: serve(listener))
        try:
            yield listener.getsockname()[:2], certificate
        finally:
            os.kill(child, signal.SIGTERM)
            os.waitpid(child, 0)
            shutil.rmtree(directory)


def clients(
    address: tuple[str, int],
    attester: Attester,
    count: int,
    seconds: float,
    queue: Any,  # noqa: ANN401 - multiprocessing's queues have no type of their own
    tls: ssl.SSLContext | None,
) -> None:
    """One process of clients; puts the flows that began after the warm-up, and its processor time for one flow."""

    def wrap(evidence: bytes) -> dict[str, str]:
        return {"evidence": base64.b64encode(evidence).decode()}

    async def run() -> tuple[list[Flow], float]:
        answer = answering(attester.jwk, attester.make, wrap)
        some = [Client(*address, attester.tee, answer, tls) for _ in range(count)]
        await asyncio.gather(*(one.run(time.monotonic() + WARM_UP) for one in some))
        for one in some:
            one.flows.clear()
        before = time.process_time()
        await asyncio.gather(*(one.run(time.monotonic() + seconds) for one in some))
        flows = [flow for one in some for flow in one.flows]
        return flows, time.process_time() - before

    queue.put(asyncio.run(run()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One line of the table. Times in milliseconds; `server_ms`, `client_ms`: processor time for one flow."""

    evidence: str
    workers: int
    clients: int
    tls: bool
    flows_per_second: float
    p50: float
    p99: float
    server_ms: float
    client_ms: float

    def name(self) -> str:
        """What was measured."""
        how = "new, TLS" if self.tls else "kept, plain"
        return f"{self.evidence:<9} {self.workers:>7} {self.clients:>7}  {how:<11}"

    def line(self) -> str:
        """For people."""
        return (
            f"{self.name()} {self.flows_per_second:>7.0f} {self.p50:>8.2f} {self.p99:>8.2f} {self.server_ms:>6.2f}"
            f" {self.client_ms:>6.2f}"
        )


def measure(name: str, count: int, connections: int, tls: bool, seconds: float) -> Measured:  # noqa: FBT001 - a column
    """One configuration."""
    attester = ATTESTERS[name]()
    with servers(attester, count, tls=tls) as (address, certificate):
        context = ssl.create_default_context(cafile=certificate) if tls else None
        queue, processes = FORK.Queue(), []
        for share in [one for one in (connections - connections // 2, connections // 2) if one]:
            processes.append(FORK.Process(target=clients, args=(address, attester, share, seconds, queue, context)))
            processes[-1].start()
        told = [queue.get() for _ in processes]
        for process in processes:
            process.join()
        after_clients = spent_by_children()
    spent = spent_by_children() - after_clients
    flows = [flow for some, _ in told for flow in some]
    totals = quantiles([1000 * flow.total for flow in flows], n=100)
    return Measured(
        evidence=name, workers=count, clients=connections, tls=tls, flows_per_second=len(flows) / seconds,
        p50=totals[49], p99=totals[98], client_ms=1000 * sum(time for _, time in told) / len(flows),
        server_ms=1000 * spent / (len(flows) * (1 + WARM_UP / seconds)),
    )  # fmt: skip


def spent_by_children() -> float:
    """Processor time of all children that have ended, in seconds."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def crypto_share(name: str, flows: int = 300) -> tuple[float, float]:
    """Milliseconds of appraisal and release for one flow, in one thread; and those of them that are cryptography."""
    attester, spent, depth = ATTESTERS[name](), [0.0], [0]

    def timed(function: Any) -> Any:  # noqa: ANN401 - wraps anything
        def wrapper(*args: Any, **named: Any) -> Any:  # noqa: ANN401 - wraps anything
            depth[0] += 1
            start = time.thread_time()
            try:
                return function(*args, **named)
            finally:
                depth[0] -= 1
                if not depth[0]:
                    spent[0] += time.thread_time() - start

        return wrapper

    with tempfile.TemporaryDirectory() as directory, contextlib.ExitStack() as patched:
        settings = settings_for(Path(directory), attester, 1)
        first_start(settings, attester)
        service = patched.enter_context(contextlib.closing(Service(settings, Journal())))
        for owner, method in CRYPTOGRAPHY:
            patched.enter_context(mock.patch.object(owner, method, timed(getattr(owner, method))))
        return tuple(one / flows * 1000 for one in (flow_time(service, attester, flows), spent[0]))  # type: ignore[return-value]


CRYPTOGRAPHY = (
    (_crypto, "verify_ecdsa"), (_crypto, "verify_ed25519"), (_crypto, "verify_rsa_pss"), (SigningKey, "sign"),
    (Recipient, "encrypt"),
)  # fmt: skip


def flow_time(service: Service, attester: Attester, flows: int) -> float:
    """Seconds of one thread for so many appraisals and releases."""
    make = answering(attester.jwk, attester.make, lambda data: {"evidence": base64.b64encode(data).decode()})
    key, total = service.shared.signing, 0.0
    appraiser = service.settings.appraiser(key)
    broker = Broker(
        vault=service.vault, shelf=service.shelf, roots=service.store.roots, audit=service.audit, clock=lambda: NOW,
        max_age=timedelta(minutes=5),
        keys=(VerificationKey(spki=key.spki, kid=thumbprint(key.spki)),), sealing=service.shared.sealing,
    )  # fmt: skip
    for _ in range(flows):
        nonce = os.urandom(32)
        body = make(base64.b64encode(nonce).decode())
        start = time.thread_time()
        made = appraiser.of_attestation(parse_attestation(body, attester.tee), nonce)
        broker.remember(made.token, made.result)
        broker.release(request="benchmark", token=made.token, name=NAME)
        total += time.thread_time() - start
    return total
