"""Other frameworks' mounts as regions of a shield, and back: what means the same, and what is named as lost."""

from typing import Any

import pytest

from cloister._toml import read_toml
from cloister.broker.session.read import parse_session
from cloister.frameworks.conversion import Conversion, convert
from cloister.frameworks.formats import detect, read_configuration
from cloister.frameworks.model import Backing, Configuration, Mount
from cloister.shield_policy.policy import ShieldPolicy
from cloister.shield_policy.reading import read_shield_policy
from cloister.shield_policy.words import FileKind

GRAMINE = """\
libos.entrypoint = "/app/server"
fs.mounts = [
  { type = "encrypted", path = "/data", uri = "file:enc", key_name = "disk" },
  { type = "encrypted", path = "/seal", uri = "file:seal", key_name = "_sgx_mrenclave" },
  { type = "tmpfs", path = "/tmp" },
  { type = "chroot", path = "/lib", uri = "file:/usr/lib" },
]
sgx.allowed_files = ["file:/var/log/app"]
"""
SCONE = """\
name: shop/app
version: "0.3"
services:
  - name: web
    image_name: img
    command: app
    attestation: [{ mrenclave: ["abababababababababababababababababababababababababababababababab"] }]
volumes: [{ name: disk }]
images: [{ name: img, volumes: [{ name: disk, path: /data }] }]
"""
EGO = """\
{"exe": "a", "key": "k", "heapSize": 512, "mounts": [
  {"source": "/srv/in", "target": "/srv/in", "type": "hostfs", "readOnly": true},
  {"source": "/home/x", "target": "/data", "type": "hostfs"}, {"target": "/tmp", "type": "memfs"}
]}
"""
OCCLUM = """\
{"resource_limits": {"user_space_size": "1GB"}, "entry_points": ["/bin"], "mount": [
  {"target": "/host", "type": "hostfs", "source": "/host"}, {"target": "/data", "type": "sefs", "source": "./enc"},
  {"target": "/tmp", "type": "ramfs"}
]}
"""


def made(text: str, to: str = "cloister-shield") -> Conversion:
    return convert(read_configuration(text, "file"), to)


def policy(text: str) -> ShieldPolicy:
    """As the shield's own reader takes it: what is written here is a valid policy."""
    return read_shield_policy(made(text).text, "shield.toml")


def differences(found: Conversion) -> dict[str, str]:
    return {one.item: one.outcome.value for one in found.differences}


def test_mounts_of_gramine() -> None:
    data, seal, memory = policy(GRAMINE).regions
    assert (data.kind, data.path, data.volume) == (FileKind.ENCRYPTED, "/data", "/srv/data.volume")
    assert (data.key and data.key.secret, data.root_at_broker, data.create) == ("disk", True, True)
    assert seal.key
    assert seal.key.secret == "sgx_mrenclave"
    assert (memory.kind, memory.path) == (FileKind.MEMORY, "/tmp")
    found = differences(made(GRAMINE))
    assert found["mounts./lib"] == "lost"
    assert (found["mounts./data"], found["mounts./seal"]) == ("changed", "changed")
    assert found["host_files./var/log/app"] == "lost"
    assert "mounts./tmp" not in found


def test_volumes_of_scone() -> None:
    (region,) = policy(SCONE).regions
    assert (region.kind, region.path, region.volume) == (FileKind.ENCRYPTED, "/data", "/srv/data.volume")
    assert region.key
    assert region.key.secret == "disk"


def test_mounts_of_ego() -> None:
    host, memory = policy(EGO).regions
    assert (host.kind, host.path, host.read_only) == (FileKind.PLAIN, "/srv/in", True)
    assert memory.kind is FileKind.MEMORY
    found = differences(made(EGO))
    assert found["mounts./data"] == "lost", "a region shows the host's files where they are"
    assert {"mounts./srv/in", "mounts./tmp"}.isdisjoint(found)


def test_mounts_of_occlum() -> None:
    data, host, memory = policy(OCCLUM).regions
    assert (host.kind, host.path) == (FileKind.PLAIN, "/host")
    assert (data.kind, data.volume) == (FileKind.ENCRYPTED, "/srv/data.volume")
    assert memory.kind is FileKind.MEMORY
    assert differences(made(OCCLUM))["mounts./data"] == "changed"


@pytest.mark.parametrize("text", [GRAMINE, SCONE, OCCLUM])
def test_a_session_gets_the_keys_too(text: str) -> None:
    found = made(text, "cloister-session")
    attested = found.text.replace(
        "    shield:", f'    attestation: [{{ tee: sgx, measurement: "{"ab" * 32}" }}]\n    shield:'
    )
    session = parse_session((attested if "attestation" not in found.text else found.text).encode(), "s.yaml")
    (service,) = session.services
    assert service.shield
    keys = service.shield.secrets()
    assert keys
    assert keys <= set(session.secrets_of(service))
    assert {f"secrets.{one}" for one in keys} <= {one.item for one in found.differences if one.outcome == "added"}


POLICY = """\
[shield]
unsafe_open_network = true

[[shield.files]]
path = "/data"
kind = "encrypted"
volume = "app.volume"
unsafe_key_file = "app.key"
root = "broker"
cache = "1 MiB"

[[shield.files]]
path = "/ro"
kind = "authenticated"
volume = "ro.volume"
key = "ro"

[[shield.files]]
path = "/tmp"
kind = "memory"

[[shield.listen]]
port = 80
protocol = "ra-tls"
"""


def test_a_policy_survives_being_written() -> None:
    assert detect(POLICY, "x") == "cloister-shield"
    found = made(POLICY)
    assert not found.differences
    assert plain(found.text) == plain(POLICY)
    assert not made(found.text).differences


def plain(text: str) -> dict[str, Any]:
    return read_toml(text, "x").values


def test_the_regions_of_a_policy() -> None:
    found = read_configuration(POLICY, "x")
    assert found.mounts == {
        "/data": Mount(Backing.ENCRYPTED, "app.volume"), "/tmp": Mount(Backing.MEMORY)
    }  # fmt: skip
    gramine = convert(found, "gramine")
    assert 'path = "/data"' in gramine.text
    lost = {one.item for one in gramine.losses}
    assert {"shield.unsafe_open_network", "shield.listen"} <= lost
    assert any(one.startswith("shield.files[1]") for one in lost), "an authenticated region"


def test_a_session_s_shield_survives() -> None:
    text = f"""\
name: a
version: "1"
services:
  - name: web
    attestation: [{{ tee: sgx, measurement: "{"ab" * 32}" }}]
    shield:
      files:
        - {{ path: /data, kind: encrypted, volume: /srv/v, key: disk, root: broker }}
        - {{ path: /usr, kind: plain, unsafe_plain: true, read_only: true }}
      listen: [{{ port: 443, protocol: ra-tls }}]
secrets: [{{ name: disk, kind: aes-key, generate: {{}} }}]
"""
    found = convert(read_configuration(text, "s.yaml"), "cloister-session")
    assert not found.differences
    first, second = (parse_session(one.encode(), "s.yaml") for one in (text, found.text))
    assert first.services[0].shield == second.services[0].shield


@pytest.mark.parametrize(
    ("target", "mount", "written"),
    [
        ("/data/", Mount(Backing.MEMORY), False),
        ("data", Mount(Backing.MEMORY), False),
        ("/data", Mount(Backing.HOST, "."), False),
        ("/data", Mount(Backing.HOST, "/data"), True),
        ("/data", Mount(Backing.MAPPED, "/data"), False),
        ("/", Mount(Backing.ENCRYPTED), True),
    ],
)
def test_what_is_not_meant_is_not_written(target: str, mount: Mount, *, written: bool) -> None:
    found = convert(Configuration(format="ego", mounts={target: mount}), "cloister-shield")
    assert bool(read_shield_policy(found.text, "x").regions) is written
    assert written or f"mounts.{target}" in {one.item for one in found.losses}
