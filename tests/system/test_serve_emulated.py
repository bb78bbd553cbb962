"""`cloister serve` as a process, TLS on: programs in emulated machines attest and get their secret, others do not."""

import base64
import hashlib
import json
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from joserfc import jwe
from joserfc.jwk import ECKey
from tests.forge.emulated_sev import quick_keystore
from tests.machines.build import program
from tests.services.key_broker import public_members
from tests.services.serve_process import Running, serving

from cloister.broker.secrets_rule import MEASUREMENT_CLAIM
from cloister.cli import main
from cloister.emulate.catalogue import kind_of
from cloister.model import Tee

NAMES = {"snp": "sev-snp"}
"""What the protocol calls a machine, and its name here, where they differ."""
MACHINES = {"snp": Tee.SNP, "sgx": Tee.SGX, "tdx": Tee.TDX, "cca": Tee.CCA, "keystone": Tee.KEYSTONE}
SECRET = b"only for the program that was measured"
SOURCES = {"app": "int main(void) { return 0; }\n", "other": "int main(void) { return 1; }\n"}


@dataclass
class Guest:
    """A program in an emulated machine, and the agent beside it that speaks the KBS protocol."""

    machine: str
    directory: Path
    capsys: pytest.CaptureFixture[str]
    key: ECKey = field(default_factory=lambda: ECKey.generate_key("P-256"))

    def evidence(self, report_data: bytes, name: str = "app") -> tuple[bytes, dict[str, Any]]:
        """What `cloister attest` writes for these report data, and says."""
        source = self.directory / f"{name}.c"
        source.write_text(SOURCES[name])
        path = self.directory / name
        name_here = NAMES.get(self.machine, self.machine)
        path.write_bytes(program(source, kind_of(name_here).architecture))
        output = self.directory / f"{name}.evidence"
        words = ["attest", "--tee", name_here, "--keys", str(self.directory / "store"), "-o", str(output), "--json"]
        assert main([*words, "--nonce", report_data.hex(), str(path)]) == 0
        return output.read_bytes(), json.loads(self.capsys.readouterr().out)

    def attest(self, client: httpx.Client, name: str = "app") -> httpx.Response:
        """Challenge, evidence of the program, result."""
        body = {"version": "0.4.0", "tee": self.machine, "extra-params": ""}
        nonce = client.post("/kbs/v0/auth", json=body).raise_for_status().json()["nonce"]
        runtime = {"nonce": nonce, "tee-pubkey": public_members(self.key)}
        text = json.dumps({"additional-evidence": "", **runtime}, sort_keys=True, separators=(",", ":"))
        evidence, _ = self.evidence(hashlib.sha384(text.encode()).digest(), name)
        primary = {"quote" if self.machine in {"sgx", "tdx"} else "evidence": base64.b64encode(evidence).decode()}
        found = {"primary_evidence": primary, "additional_evidence": ""}
        return client.post("/kbs/v0/attest", json={"runtime-data": runtime, "tee-evidence": found})


def options(guest: Guest) -> tuple[list[str], str]:
    """What makes a service believe this emulated maker, and affirm this program; and the program's measurement."""
    _, written = guest.evidence(b"to learn what it measures")
    measurement = written["measurement"].rpartition(":")[2]
    claim = MEASUREMENT_CLAIM[MACHINES[guest.machine]]
    policy = guest.directory / "policy.toml"
    policy.write_text(f'accept_anchors = ["testing"]\n[{guest.machine}]\n{claim} = "{measurement}"\n')
    words = ["--policy", str(policy), "--unsafe-trust-root", written["roots"]]
    for file in written["collateral"]:
        words += ["--endorsement", file]
    return words, measurement


def store(server: Running, client: httpx.Client, machine: str, measurement: str) -> None:
    rule = {"measurements": {machine: [measurement]}, "anchors": ["testing"]}
    body = {"value": base64.b64encode(SECRET).decode(), "release": rule}
    headers = {"authorization": f"Bearer {server.token}"}
    client.put("/admin/v1/secrets/app/keys/db", json=body, headers=headers).raise_for_status()


@pytest.mark.slow
@pytest.mark.needs_program("cc", "aarch64-linux-gnu-gcc", "riscv64-linux-gnu-gcc")
@pytest.mark.parametrize("machine", MACHINES)
def test_the_measured_program_gets_the_secret_and_another_does_not(
    machine: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    quick_keystore(tmp_path)
    guest = Guest(machine, tmp_path, capsys)
    words, measurement = options(guest)
    with serving(tmp_path, *words) as server:
        tls = ssl.create_default_context(cafile=server.state / "tls.pem")
        with httpx.Client(base_url=server.url, verify=tls, timeout=60) as client:
            store(server, client, machine, measurement)
            attested = guest.attest(client)
            assert attested.status_code == 200, attested.text
            released = client.get("/kbs/v0/resource/app/keys/db")
            assert released.status_code == 200, released.text
            found = jwe.decrypt_json(released.json(), guest.key, algorithms=["ECDH-ES+A256KW", "A256GCM"])
            assert found.plaintext == SECRET
            assert guest.attest(client, "other").status_code == 200
            assert client.get("/kbs/v0/resource/app/keys/db").status_code == 403
        assert SECRET not in server.errors.read_bytes()
        for file in server.state.iterdir():
            assert SECRET not in file.read_bytes(), file
    assert server.process.returncode == 0
