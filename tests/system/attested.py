"""A key broker for programs in the software enclave: a real `cloister serve` that believes this host, with sessions.

The broker's machine is trusted, and so is whoever writes sessions: both stay outside of the process tree of a program.
"""

import contextlib
import json
import ssl
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
from tests.services.serve_process import Running, serving
from tests.system.arms import CLOISTER_ENVIRONMENT

from cloister.attest.host_key import FileHostKey

CLOISTER = (sys.executable, "-m", "cloister")


@dataclass(frozen=True, kw_only=True)
class Program:
    """A program's file, what it measures, and the list of what else may be code in it, unless its loader says that."""

    path: Path
    measurement: str
    manifest: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Host:
    """The machine that runs programs, and the broker that gives them secrets. `home` holds the host's key."""

    server: Running
    home: Path

    @property
    def environment(self) -> dict[str, str]:
        return {**CLOISTER_ENVIRONMENT, "XDG_STATE_HOME": str(self.home)}

    @property
    def client(self) -> httpx.Client:
        """The administrator's connection to the broker."""
        context = ssl.create_default_context(cafile=str(self.server.state / "tls.pem"))
        headers = {"authorization": f"Bearer {self.server.token}"}
        return httpx.Client(base_url=self.server.url, verify=context, headers=headers)

    def put(self, name: str, session: str) -> None:
        """Let a session take effect."""
        with self.client as client:
            answer = client.put(f"/admin/v1/sessions/{name}", json={"session": session, "approvals": []})
        assert answer.status_code == 201, answer.text

    def command(self, session: str, service: str, program: Program) -> list[str]:
        """What a person types to run this service."""
        broker = ["--broker", self.server.url, "--ca", str(self.server.state / "tls.pem")]
        manifest = ["--manifest", str(program.manifest)] if program.manifest else []
        chosen = ["--session", session, "--service", service, *manifest]
        return [*CLOISTER, "run", *broker, *chosen, "--", str(program.path)]

    def log(self) -> list[dict[str, object]]:
        """The entries of the broker's audit log."""
        words = [*CLOISTER, "log", "show", str(self.server.state / "audit.log"), "--json"]
        return [json.loads(line) for line in run(words).stdout.splitlines()]


def run(words: Sequence[str]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(words, env=CLOISTER_ENVIRONMENT, capture_output=True, text=True, check=True, timeout=60)


@contextlib.contextmanager
def attested_host(directory: Path, *options: str) -> Iterator[Host]:
    """A broker that believes this host, with nothing in it. `options` are more of `cloister serve`'s."""
    home = directory / "host"
    pem = directory / "host.pem"
    pem.write_bytes(FileHostKey(home / "cloister" / "host-key.pem").public_pem())
    with serving(directory, "--trust-host-key", str(pem), *options) as server:
        yield Host(server=server, home=home)


def measured(path: Path, directory: Path, *files: Path | str) -> Program:
    """What the program measures with these files beside its libraries, by the command that its owner uses."""
    manifest = directory / f"{path.name}.toml"
    listed = [word for file in files for word in ("--file", str(file))]
    done = run([*CLOISTER, "measure", "--json", "-o", str(manifest), *listed, str(path)])
    measurement = json.loads(done.stdout)["digest"]
    return Program(path=path, measurement=measurement, manifest=manifest if files else None)
