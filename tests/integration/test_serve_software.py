"""Software enclaves and `cloister serve`: a host's key is trusted, a session names the program, a block is released.

The evidence is forged by a key that plays the host's; the attester's key is X25519, as the runtime's is.
"""

import base64
import hashlib
import json
import ssl
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.forge.software import SoftwareForge
from tests.services.key_broker import X25519Key, cookie_of, desk, public_members, software_attester
from tests.services.serve_process import Running, serving
from tests.services.start_block import read_again

from cloister.evidence.software import Admission, Guard
from cloister.launch import _abi
from cloister.serve.first_start import public_pem

NAME = "demo"


def session(measurement: str, *, size: int = 20, claims: str = "") -> str:
    return f"""\
name: {NAME}
version: "1"
services:
  - name: app
    command: "app --token $$CLOISTER::token$$"
    environment: {{ TOKEN: "$$CLOISTER::token$$" }}
    pwd: /srv
    injection_files: [{{ path: /run/key, content: "$$CLOISTER::key$$" }}]
    attestation:
      - tee: software
        measurement: "{measurement}"
        anchors: [software]
{claims}
secrets:
  - {{ name: token, kind: ascii, generate: {{ size: {size} }} }}
  - {{ name: key, kind: aes-key, generate: {{}} }}
"""


class Host:
    """A host with an attestation key, and an enclave on it as the runtime is: its texts are the header's constants."""

    def __init__(self) -> None:
        self.forge, self.key = SoftwareForge(), X25519Key()

    @property
    def measurement(self) -> str:
        return self.forge.said().measurement.hex()

    def answer(self, nonce: str, **changes: Any) -> dict[str, Any]:
        jwk = public_members(self.key)
        text = f"{_abi.RUNTIME_DATA_BEFORE_NONCE}{nonce}{_abi.RUNTIME_DATA_BEFORE_KEY}{jwk['x']}{_abi.RUNTIME_DATA_END}"
        evidence = self.forge.evidence(hashlib.sha384(text.encode()).digest(), **changes)
        primary = {"evidence": base64.b64encode(evidence).decode()}
        return {
            "runtime-data": {"nonce": nonce, "tee-pubkey": jwk},
            "tee-evidence": {"primary_evidence": primary, "additional_evidence": ""},
        }


class Guest:
    """A carrier: what it says to the broker."""

    def __init__(self, client: httpx.Client, host: Host) -> None:
        self.client, self.host = client, host

    def attest(self, **changes: Any) -> httpx.Response:
        self.client.cookies.clear()
        begun = self.client.post("/kbs/v0/auth", json={"version": "0.4.0", "tee": "software", "extra-params": ""})
        assert begun.status_code == 200, begun.text
        self.cookies = {"kbs-session-id": cookie_of(begun)}
        self.client.cookies.clear()
        message = self.host.answer(begun.json()["nonce"], **changes)
        return self.client.post("/kbs/v0/attest", json=message, cookies=self.cookies)

    def provisioned(self, form: str = "block", service: str = "-") -> httpx.Response:
        path = f"/cloister/v1/provision/{service}/{NAME}?format={form}"
        return self.client.get(path, cookies=self.cookies)


@pytest.fixture(scope="module")
def host() -> Host:
    return Host()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, host: Host) -> Iterator[Running]:
    directory = tmp_path_factory.mktemp("software")
    (directory / "host.pem").write_bytes(public_pem(host.forge.spki))
    with serving(directory, "--trust-host-key", str(directory / "host.pem")) as made:
        yield made


@pytest.fixture
def client(server: Running) -> Iterator[httpx.Client]:
    context = ssl.create_default_context(cafile=server.state / "tls.pem")
    with httpx.Client(base_url=server.url, verify=context) as made:
        yield made


@pytest.fixture(scope="module")
def stored(server: Running, host: Host) -> None:
    """The session, put into effect by the administrator."""
    context = ssl.create_default_context(cafile=server.state / "tls.pem")
    headers = {"authorization": f"Bearer {server.token}"}
    body = {"session": session(host.measurement)}
    found = httpx.put(f"{server.url}/admin/v1/sessions/{NAME}", json=body, headers=headers, verify=context)
    assert found.status_code == 201, found.text


pytestmark = pytest.mark.filterwarnings("ignore:Setting per-request cookies:DeprecationWarning")


@pytest.mark.usefixtures("stored")
def test_an_enclave_on_a_trusted_host_gets_its_block(client: httpx.Client, host: Host) -> None:
    guest = Guest(client, host)
    attested = guest.attest()
    assert attested.status_code == 200, attested.text
    released = guest.provisioned()
    assert released.status_code == 200, released.text
    assert released.json()["protected"] == _abi.PROTECTED_HEADER
    found = read_again(host.key.open(released.json()))
    assert found["command"] == [b"app", b"--token", found["environment"][b"TOKEN"]]
    assert len(found["environment"][b"TOKEN"]) == 20
    assert found["pwd"] == b"/srv"
    assert len(found["files"][b"/run/key"]) == 32
    as_json = json.loads(host.key.open(guest.provisioned("json", "app").json()))
    assert base64.b64decode(as_json["environment"]["TOKEN"]) == found["environment"][b"TOKEN"]
    assert guest.provisioned("yaml").status_code == 400


@pytest.mark.usefixtures("stored")
def test_as_a_passport_too(client: httpx.Client, host: Host) -> None:
    token = Guest(client, host).attest().json()["token"]
    path = f"/cloister/v1/provision/-/{NAME}?format=block"
    released = client.get(path, headers={"authorization": f"Bearer {token}"})
    assert len(read_again(host.key.open(released.json()))["files"][b"/run/key"]) == 32


@pytest.mark.usefixtures("stored")
def test_another_program_is_denied(client: httpx.Client, host: Host) -> None:
    guest = Guest(client, host)
    assert guest.attest(executable=bytes(32)).status_code == 200
    assert guest.provisioned().status_code == 403
    assert guest.attest(libraries=bytes(32)).status_code == 200
    assert guest.provisioned().status_code == 403


@pytest.mark.usefixtures("stored")
def test_a_host_that_nobody_trusts_is_not_attested(client: httpx.Client) -> None:
    guest = Guest(client, Host())
    assert guest.attest().status_code == 401
    assert guest.provisioned().status_code == 401


@pytest.mark.usefixtures("stored")
def test_an_enclave_without_its_guard_is_not_attested(client: httpx.Client, host: Host) -> None:
    assert Guest(client, host).attest(guard=Guard.OFF).status_code == 401


@pytest.mark.usefixtures("stored")
def test_a_key_that_is_not_in_the_report_data_gets_nothing(client: httpx.Client, host: Host) -> None:
    """The carrier puts its own key in the enclave's place."""
    guest = Guest(client, host)
    client.cookies.clear()
    begun = client.post("/kbs/v0/auth", json={"version": "0.4.0", "tee": "software", "extra-params": ""})
    guest.cookies = {"kbs-session-id": cookie_of(begun)}
    client.cookies.clear()
    message = host.answer(begun.json()["nonce"])
    message["runtime-data"]["tee-pubkey"] = public_members(X25519Key())
    assert client.post("/kbs/v0/attest", json=message, cookies=guest.cookies).status_code == 401
    assert guest.provisioned().status_code == 401


def test_a_session_may_demand_that_nothing_unmeasured_came_in(tmp_path: Path) -> None:
    """`measurement` says what was there at the start. Admission is a claim of its own."""
    forge = SoftwareForge()
    attester = software_attester(X25519Key(), forge)
    with desk(tmp_path, attester) as made:
        claims = "        claims: { admission: strict }"
        body = {"session": session(attester.measurement, claims=claims)}
        assert made.admin("PUT", f"sessions/{NAME}", json=body).status_code == 201
        made.attest()
        assert made.client.get(f"/cloister/v1/provision/app/{NAME}").status_code == 200
        learned = replace(attester, make=lambda data: forge.evidence(data, admission=Admission.LEARN))
        assert made.attest(learned).status_code == 200
        assert made.client.get(f"/cloister/v1/provision/app/{NAME}").status_code == 403


def test_what_does_not_fit_into_a_block_is_denied_in_words(tmp_path: Path) -> None:
    attester = software_attester(X25519Key())
    with desk(tmp_path, attester) as made:
        long = "$$CLOISTER::token:hex$$" * 170
        variables = ", ".join(f'T{number}: "{long}"' for number in range(4))
        large = session(attester.measurement, size=4096).replace('TOKEN: "$$CLOISTER::token$$"', variables)
        stored = made.admin("PUT", f"sessions/{NAME}", json={"session": large})
        assert stored.status_code == 201, stored.text
        made.attest()
        refused = made.client.get(f"/cloister/v1/provision/app/{NAME}?format=block")
        assert refused.status_code == 403
        assert "too large for a start block" in refused.json()["detail"]
        assert made.client.get(f"/cloister/v1/provision/app/{NAME}").status_code == 200
