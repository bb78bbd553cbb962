"""The control of the procfs sampler: whoever leaks a secret to one place is caught there, and who does not is not."""

import secrets
import subprocess
from pathlib import Path

import pytest
from tests.system.arms import ENVIRONMENT
from tests.system.procfs_sampler import SHORTEST, build, forms_of, sample

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_program("cc")]

LEAKS = Path(__file__).parent / "programs" / "leaks.c"
MASK = 0x55
PLACES = {
    "memory": "memory", "registers": "registers", "cmdline": "cmdline", "environ": "environ", "comm": "comm",
    "pipe": "pipe", "socket": "socket", "memfd": "memfd", "file": "file", "open file": "open file",
    "file name": "file name", "output": "file", "core": "file",
}  # fmt: skip
"""Where the program puts its secret, and what a hit there is called."""


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The sampler and the leaking program."""
    place = tmp_path_factory.mktemp("tools")
    leaks = place / "leaks"
    subprocess.run(["cc", "-O1", "-o", leaks, LEAKS], check=True)
    return build(place), leaks


def masked(secret: bytes) -> str:
    return bytes(byte ^ MASK for byte in secret).hex()


@pytest.mark.parametrize("where", PLACES)
def test_a_leak_is_found_where_it_is(tools: tuple[Path, Path], where: str, tmp_path: Path) -> None:
    if where == "core" and Path("/proc/sys/kernel/core_pattern").read_text().startswith(("|", "/")):
        pytest.skip("core files go elsewhere on this machine")
    sampler, leaks = tools
    secret = secrets.token_urlsafe(30).encode()
    found = sample(
        sampler,
        [leaks, where, masked(secret)],
        forms_of(secret),
        place=tmp_path,
        environment=ENVIRONMENT,
        trace_pause=500,
    )
    assert PLACES[where] in found.kinds, found
    if where == "memory":
        assert any("---p" in hit.detail for hit in found.hits), "found only where it was not hidden"
    if where in {"core", "output"}:
        assert any(hit.detail.endswith({"core": "core", "output": "stdout"}[where]) for hit in found.hits)
    assert min(found.passes) >= 5, found.passes


@pytest.mark.parametrize("form", ["raw", "hex", "base64+1"])
def test_other_forms_and_fragments_are_found(tools: tuple[Path, Path], form: str, tmp_path: Path) -> None:
    sampler, leaks = tools
    secret = secrets.token_urlsafe(30).encode()
    written = forms_of(secret)[form][3 : 3 + SHORTEST]
    found = sample(sampler, [leaks, "file", masked(written)], forms_of(secret), place=tmp_path, environment=ENVIRONMENT)
    assert ("file", form) in {(hit.kind, hit.needle) for hit in found.hits}, found


def test_nothing_is_found_where_nothing_is(tools: tuple[Path, Path], tmp_path: Path) -> None:
    sampler, leaks = tools
    secret, other = (secrets.token_urlsafe(30).encode() for _ in range(2))
    found = sample(sampler, [leaks, "output", masked(other)], forms_of(secret), place=tmp_path, environment=ENVIRONMENT)
    assert found.hits == []
    assert found.counts["leaks"]["memories"] > 5
    assert found.counts["leaks"]["looks"] > 5


def test_what_is_there_for_a_millisecond_is_caught(tools: tuple[Path, Path], tmp_path: Path) -> None:
    """Not each time, but often: so a hundred starts without a hit say something."""
    sampler, leaks = tools
    caught = 0
    for _ in range(20):
        secret = secrets.token_urlsafe(30).encode()
        found = sample(
            sampler, [leaks, "briefly", masked(secret)], forms_of(secret), place=tmp_path, environment=ENVIRONMENT,
            trace_pause=0,
        )  # fmt: skip
        caught += bool(found.hits)
    assert caught >= 5
