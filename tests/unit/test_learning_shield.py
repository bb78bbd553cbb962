"""Shield policies from runs: what was used has its entry, nothing else has, and everything weak is called so."""

import tomllib
from pathlib import Path
from typing import Any, cast

from cloister.app.learning import Learned, Network
from cloister.app.learning_shield import MOST_REGIONS, shield_policy
from cloister.app.measuring import Found
from cloister.frameworks.model import Backing, Configuration, MeasuredFile, Mount
from cloister.shield_policy.reading import read_shield_policy

NOTES = {
    ("mounts", "/srv/state"): "written: /srv/state/out; the host sees ciphertext",
    ("mounts", "/srv/b"): "written: /srv/b; the host sees ciphertext",
}


def policy(files: list[str], mounts: dict[str, Mount] | None = None, network: Network | None = None) -> dict[str, Any]:
    text = policy_text(files, mounts, network)
    read_shield_policy(text, "made", "/srv/policies")
    return cast("dict[str, Any]", tomllib.loads(text)["shield"])


def policy_text(files: list[str], mounts: dict[str, Mount] | None = None, network: Network | None = None) -> str:
    configuration = Configuration(
        measured_files={path: MeasuredFile((path,)) for path in files}, mounts=mounts or {}, notes=NOTES
    )
    found = cast("Found", None)
    return shield_policy(Learned(configuration=configuration, found=found, network=network or Network()))


def paths(made: dict[str, Any]) -> list[str]:
    return [one["path"] for one in made["files"]]


def test_what_was_read_is_read_only_and_called_unsafe() -> None:
    made = policy(["/usr/bin/app", "/srv/app/a.conf", "/srv/app/deep/b"])
    assert paths(made) == ["/srv/app", "/usr/bin"]
    assert all(one["read_only"] and one["unsafe_plain"] and one["kind"] == "plain" for one in made["files"])


def test_a_file_of_the_root_does_not_open_the_root() -> None:
    assert paths(policy(["/app"])) == ["/app"]


def test_compiled_modules_come_with_their_sources() -> None:
    assert paths(policy(["/srv/m/__pycache__/a.pyc"])) == ["/srv/m"]
    assert paths(policy(["/usr/lib/python3.11/json/__pycache__/a.pyc"])) == ["/usr/lib/python3.11"]


def test_many_directories_become_few_and_never_all() -> None:
    made = policy([f"/srv/{one}/{two}/file" for one in range(40) for two in range(3)])
    assert len(made["files"]) <= MOST_REGIONS
    assert "/" not in paths(made)


def test_what_was_written_goes_into_a_volume_or_memory() -> None:
    mounts = {
        "/": Mount(Backing.MAPPED, "/"), "/srv/state": Mount(Backing.ENCRYPTED, "/srv/state"),
        "/tmp": Mount(Backing.MEMORY),
    }  # fmt: skip
    text = policy_text(["/usr/bin/app"], mounts)
    made = policy(["/usr/bin/app", "/srv/app"], mounts)
    assert made["files"][0] == {
        "path": "/srv/state", "kind": "encrypted", "volume": "srv-state.volume", "unsafe_key_file": "srv-state.key",
        "create": True,
    }  # fmt: skip
    assert "cloister volume create --key srv-state.key" in text
    assert made["files"][1]["kind"] == "memory"


def test_what_was_written_beside_what_is_read_is_said_and_not_opened() -> None:
    text = policy_text(["/srv/a"], {"/srv/b": Mount(Backing.ENCRYPTED, "/srv/b")})
    assert "# written: /srv/b, beside files that are read" in text
    assert paths(policy(["/srv/a"], {"/srv/b": Mount(Backing.ENCRYPTED, "/srv/b")})) == ["/srv"]


def test_ports_and_destinations() -> None:
    network = Network(
        listening=("127.0.0.1:8443", "[::]:8443", "0.0.0.0:80"),
        spoken=(
            "tcp 127.0.0.1:8443->127.0.0.1:51000",
            "tcp 10.0.0.1:51001->192.0.2.7:6379",
            "tcp6 [::1]:51002->[::1]:5432",
        ),
    )
    made = policy(["/srv/a"], network=network)
    assert [one["port"] for one in made["listen"]] == [80, 8443]
    assert [(one["address"], one["port"]) for one in made["connect"]] == [("192.0.2.7", 6379), ("::1", 5432)]
    assert all(one["unsafe_plain"] for one in (*made["listen"], *made["connect"]))


def test_every_entry_has_its_reason() -> None:
    lines = policy_text(["/srv/a"], network=Network(listening=("0.0.0.0:80",))).splitlines()
    entries = [number for number, line in enumerate(lines) if line.startswith("[[")]
    assert len(entries) == 2
    assert all(lines[number - 1].startswith("# ") for number in entries)


def test_names_are_quoted_as_toml_has_it(tmp_path: Path) -> None:
    name = str(tmp_path / 'a "b" \\ é')
    assert paths(policy([f"{name}/file"])) == [name]
