"""SIGHUP to `cloister serve`: policy, keys and collateral are read again; what is broken leaves what was in force."""

import base64
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.forge.software import SoftwareForge
from tests.services.key_broker import SECRET, Attester, cookie_of, rule_for, software_attester
from tests.services.serve_process import Running, serving

from cloister.serve.first_start import public_pem

SECONDS = 30
NAME = "app/keys/db"


class Broker:
    """A broker in a process of its own, with the files that it reads."""

    def __init__(self, running: Running, directory: Path) -> None:
        self.running, self.directory, self.seen = running, directory, 0
        self.client = httpx.Client(base_url=running.url, timeout=SECONDS)

    def reload(self) -> str:
        """The verdict in the log."""
        self.running.process.send_signal(signal.SIGHUP)
        self.seen += 1
        until = time.monotonic() + SECONDS
        while len(found := self.reloads()) < self.seen:
            assert time.monotonic() < until, self.running.said()
            assert self.running.process.poll() is None, self.running.said()
            time.sleep(0.02)
        return str(found[-1]["verdict"])

    def reloads(self) -> list[dict[str, Any]]:
        return self.events("reload")

    def events(self, name: str) -> list[dict[str, Any]]:
        lines = [line for line in self.running.said().splitlines() if line.startswith("{") and line.endswith("}")]
        return [one for one in map(json.loads, lines) if one["event"] == name]

    def trust(self, *hosts: SoftwareForge) -> None:
        (self.directory / "host.pem").write_bytes(b"".join(public_pem(one.spki) for one in hosts))

    def attest(self, attester: Attester) -> int:
        self.client.cookies.clear()
        begun = self.client.post("/kbs/v0/auth", json={"version": "0.4.0", "tee": "software", "extra-params": ""})
        self.client.cookies.set("kbs-session-id", cookie_of(begun))
        return self.client.post("/kbs/v0/attest", json=attester.answer(begun.json()["nonce"])).status_code

    def resource(self, attester: Attester) -> int:
        assert self.attest(attester) == 200
        return self.client.get(f"/kbs/v0/resource/{NAME}").status_code


@pytest.fixture
def host() -> SoftwareForge:
    return SoftwareForge()


@pytest.fixture
def broker(tmp_path: Path, host: SoftwareForge) -> Iterator[Broker]:
    attester = software_attester(host=host)
    (tmp_path / "host.pem").write_bytes(public_pem(host.spki))
    (tmp_path / "policy.toml").write_text(attester.policy)
    (tmp_path / "more.pem").write_bytes(public_pem(host.spki))
    (tmp_path / "cache").mkdir()
    files = ["--trust-host-key", "host.pem", "--policy", "policy.toml", "--collateral", "cache"]
    words = [str(tmp_path / one) if not one.startswith("--") else one for one in files]
    with serving(tmp_path, "--unsafe-plain-http", *words) as running:
        made = Broker(running, tmp_path)
        body = {"value": base64.b64encode(SECRET).decode(), "release": rule_for(attester)}
        headers = {"authorization": f"Bearer {running.token}"}
        assert made.client.put(f"/admin/v1/secrets/{NAME}", json=body, headers=headers).status_code == 201
        yield made
        made.client.close()


def test_another_host_is_trusted_and_the_first_no_longer(broker: Broker, host: SoftwareForge) -> None:
    other = SoftwareForge()
    first, second = software_attester(host=host), software_attester(host=other)
    assert (broker.attest(first), broker.attest(second)) == (200, 401)
    broker.trust(other)
    assert (broker.attest(first), broker.attest(second)) == (200, 401), "read without being asked"
    assert broker.reload() == "in force"
    assert (broker.attest(first), broker.attest(second)) == (401, 200)


def test_another_policy(broker: Broker, host: SoftwareForge) -> None:
    attester = software_attester(host=host)
    policy = broker.directory / "policy.toml"
    text = policy.read_text()
    assert broker.resource(attester) == 200
    policy.write_text(text.replace(attester.measurement, "00" * 32))
    assert broker.reload() == "in force"
    assert broker.resource(attester) == 403
    policy.write_text(text)
    assert broker.reload() == "in force"
    assert broker.resource(attester) == 200


@pytest.mark.parametrize("file", ["policy.toml", "host.pem", "cache"])
def test_what_is_broken_leaves_what_was_in_force(broker: Broker, host: SoftwareForge, file: str) -> None:
    attester = software_attester(host=host)
    if file == "cache":
        (broker.directory / file).rmdir()
    else:
        (broker.directory / file).write_text("no such thing = [")
    assert broker.reload() == "refused"
    assert broker.reloads()[-1]["kind"] in {"PolicyError", "UsageError", "ParseError"}
    assert "not reloaded: " in broker.running.said()
    assert file in broker.running.said()
    assert broker.resource(attester) == 200


def test_no_request_notices(broker: Broker, host: SoftwareForge) -> None:
    """Signals one after the other while requests go on; then SIGTERM ends it in order, as ever."""
    attester, stop = software_attester(host=host), threading.Event()

    def signals() -> None:
        while not stop.is_set():
            os.kill(broker.running.process.pid, signal.SIGHUP)
            time.sleep(0.01)

    thread = threading.Thread(target=signals)
    thread.start()
    try:
        assert {broker.resource(attester) for _ in range(25)} == {200}
    finally:
        stop.set()
        thread.join()
    assert broker.reloads()
    broker.running.process.terminate()
    assert broker.running.process.wait(SECONDS) == 0, broker.running.said()


def test_every_worker_follows_and_so_do_later_ones(tmp_path: Path, host: SoftwareForge) -> None:
    first, other = software_attester(host=host), SoftwareForge()
    (tmp_path / "host.pem").write_bytes(public_pem(host.spki))
    words = ["--unsafe-plain-http", "--workers", "2", "--trust-host-key", str(tmp_path / "host.pem")]
    with serving(tmp_path, *words) as running:
        broker = Broker(running, tmp_path)
        assert {broker.attest(first) for _ in range(8)} == {200}
        broker.trust(other)
        running.process.send_signal(signal.SIGHUP)
        until = time.monotonic() + SECONDS
        while len(broker.reloads()) < 3:  # the parent, and each worker
            assert time.monotonic() < until, running.said()
            time.sleep(0.02)
        second = software_attester(host=other)
        assert {broker.attest(second) for _ in range(16)} == {200}
        (tmp_path / "host.pem").write_text("no key")
        assert broker.events("worker-started")
        os.kill(int(broker.events("worker-started")[0]["process"]), signal.SIGKILL)
        while len(broker.events("worker-started")) < 3:
            assert time.monotonic() < until + SECONDS, running.said()
            time.sleep(0.02)
        time.sleep(1)
        assert {broker.attest(second) for _ in range(16)} == {200}, "the new one began with what was in force"
        broker.client.close()
