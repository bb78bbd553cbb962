"""A broker that is killed again and again: `python -m tests.services.dying_broker DIRECTORY ROUNDS SEED`.

Each round forks a child that opens the service on the same state, tries once more what earlier rounds sent, and runs
flows until SIGKILL, which comes after a random time. Through a pipe it says what it is about to send and what it got.
The parent only kills and listens, and prints at the end what must be true of the audit log, as JSON.
"""

import asyncio
import contextlib
import json
import os
import random
import signal
import sys
import time
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from tests.services.key_broker import COOKIE, Attester, cookie_of, software_attester

from cloister.appraise.reference import ReferenceValues
from cloister.broker.secrets_rule import ReleaseRule
from cloister.endorse.anchors import AnchorKind
from cloister.model import Tee
from cloister.result.signing import SigningKey
from cloister.serve.appraiser import Appraiser
from cloister.serve.journal import Journal
from cloister.serve.service import Service, Settings, now
from cloister.verifier.policy_files import Policy, load_policy

LONGEST = 0.15
"""Seconds from the first flow to the kill."""
NAME = "app/keys/db"


@dataclass
class Story:
    """What the children said. Messages by cookie; cookies whose message was accepted; identifiers of releases."""

    sent: dict[str, dict[str, Any]] = field(default_factory=dict)
    accepted: list[str] = field(default_factory=list)
    released: list[str] = field(default_factory=list)
    starts: int = 0

    def hear(self, line: str) -> None:
        event = json.loads(line)
        if event["is"] == "sends":
            self.sent[event["cookie"]] = event["message"]
        elif event["is"] == "accepted":
            self.accepted.append(event["cookie"])
        elif event["is"] == "released":
            self.released.append(event["request"])
        else:
            self.starts += 1


def service(directory: Path, attester: Attester, policy: tuple[Policy, ReferenceValues]) -> Service:
    def make(key: SigningKey) -> Appraiser:
        return Appraiser(
            verifier=attester.verifier, key=key, clock=now, policy=policy[0], references=policy[1],
            accept_anchors=frozenset(AnchorKind),
        )  # fmt: skip

    settings = Settings(state=directory / "state", appraiser=make, secure_cookie=False)
    return Service(settings, Journal((directory / "log").open("a")))


class Child:
    """One life of the broker, with its attester in the same process."""

    def __init__(self, made: Service, attester: Attester, pipe: int) -> None:
        self._attester, self._pipe = attester, pipe
        transport = httpx.ASGITransport(app=made.application)
        self._client = httpx.AsyncClient(transport=transport, base_url="http://broker")

    def say(self, what: str, **members: Any) -> None:
        """One line, which is in the pipe, and so survives, when this returns."""
        os.write(self._pipe, json.dumps({"is": what, **members}).encode() + b"\n")

    async def live(self, old: dict[str, dict[str, Any]]) -> None:
        """Try again what is old, all at once; then flows, several at once, for ever."""
        self.say("starts")
        await asyncio.gather(*(self.attest(cookie, message) for cookie, message in old.items() for _ in range(2)))
        await asyncio.gather(*(self.flows() for _ in range(4)))

    async def flows(self) -> None:
        while True:
            found = await self._client.post(
                "/kbs/v0/auth", json={"version": "0.4.0", "tee": "software", "extra-params": ""}
            )
            cookie, message = cookie_of(found), self._attester.answer(found.json()["nonce"])
            self.say("sends", cookie=cookie, message=message)
            if await self.attest(cookie, message):
                await self.resource(cookie)

    async def attest(self, cookie: str, message: dict[str, Any]) -> bool:
        headers = {"cookie": f"{COOKIE}={cookie}"}
        found = await self._client.post("/kbs/v0/attest", json=message, headers=headers)
        if found.status_code == 200:
            self.say("accepted", cookie=cookie)
        return found.status_code == 200

    async def resource(self, cookie: str) -> None:
        found = await self._client.get(f"/kbs/v0/resource/{NAME}", headers={"cookie": f"{COOKIE}={cookie}"})
        assert found.status_code == 200, found.text
        self.say("released", request=found.headers["x-request-id"])


def one_round(make: Any, attester: Attester, story: Story, chance: random.Random) -> None:
    """Fork, listen, kill."""
    reading, writing = os.pipe()
    old = dict(chance.sample(sorted(story.sent.items()), min(4, len(story.sent))))
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        with contextlib.suppress(BaseException):
            asyncio.run(Child(make(), attester, writing).live(old))
        os._exit(1)
    os.close(writing)
    with os.fdopen(reading, "rb", buffering=0) as pipe:
        first = pipe.readline()
        time.sleep(chance.uniform(0, LONGEST))
        os.kill(pid, signal.SIGKILL)
        said = first + pipe.readall()
    _, status = os.waitpid(pid, 0)
    if not os.WIFSIGNALED(status):
        raise SystemExit("a child ended by itself")
    for line in said.splitlines(keepends=True):
        if line.endswith(b"\n"):
            story.hear(line.decode())


def main() -> None:
    warnings.simplefilter("ignore")
    directory, rounds, seed = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    attester, story, chance = software_attester(), Story(), random.Random(seed)  # noqa: S311 - repeatable
    (directory / "policy.toml").write_text(attester.policy)
    policy = load_policy(directory / "policy.toml", now())
    if os.fork() == 0:  # the first start, in a process of its own: threads do not survive a fork
        first = service(directory, attester, policy)
        rule = ReleaseRule(
            measurements={Tee.SOFTWARE: frozenset({attester.measurement})}, anchors=frozenset({"software"})
        )
        first.vault.put(NAME, b"a secret", rule)
        first.close()
        os._exit(0)
    if os.wait()[1]:
        raise SystemExit("the first start failed")
    for _ in range(rounds):
        one_round(lambda: service(directory, attester, policy), attester, story, chance)
    told = {"released": story.released, "accepted": story.accepted, "sent": len(story.sent), "starts": story.starts}
    sys.stdout.write(json.dumps(told))


if __name__ == "__main__":
    main()
