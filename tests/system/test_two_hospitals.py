"""Two hospitals compute together (examples/two_hospitals): right statistics, and no row for anybody but the program.

Each hospital's key goes to one version of the study's session, and that to one measured program. Changing a byte of
either stops both keys.
"""

import importlib.util
import json
import math
import re
import shutil
import statistics
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from tests.system.arms import CLOISTER_ENVIRONMENT, ENVIRONMENT, ROOT
from tests.system.procfs_sampler import Sampled, build, forms_of, sample

from cloister.launch import _abi

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_runtime, pytest.mark.needs_program("cc")]

SCRIPT = ROOT / "examples" / "two_hospitals" / "run.py"
HOSPITALS = ("hospital-a", "hospital-b")
LIBRARY = "libcrypto.so.3"
PROCESS = "joint_statistic"
"""The kernel keeps 15 characters of a name."""
STARTS, LOOKS = 30, 20


def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("two_hospitals_run", SCRIPT)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def play(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The stage with everybody ready: the broker runs and has all sessions."""
    if not Path("/usr/include/openssl/evp.h").exists():
        pytest.skip("OpenSSL's headers are not installed (libssl-dev)")
    made = script().Play(tmp_path_factory.mktemp("play") / "stage")
    made.study()
    for hospital in HOSPITALS:
        made.hospital(hospital)
    with made.broker():
        made.put_all()
        made.take_program()
        yield made


def rows_of(play: Any, hospital: str) -> list[str]:
    return [str(row) for row in (play.directory / hospital / "table.csv").read_text().splitlines()[1:]]


def needles_of(play: Any) -> dict[str, bytes]:
    """Every row of both tables, and both keys in every form."""
    found: dict[str, bytes] = {}
    for hospital in HOSPITALS:
        found |= {f"{hospital}:row{number}": row.encode() for number, row in enumerate(rows_of(play, hospital))}
        found |= {f"{hospital}:key:{form}": value for form, value in forms_of(key_of(play, hospital)).items()}
    return found


def key_of(play: Any, hospital: str) -> bytes:
    found = re.search("hex:([0-9a-f]{64})", (play.directory / hospital / "session.yaml").read_text())
    assert found
    return bytes.fromhex(found[1])


def on_host(play: Any, *words: str, **more: str) -> "subprocess.CompletedProcess[str]":
    """The host's administrator runs something."""
    command = play.real(play.host_command(*words))
    environment = CLOISTER_ENVIRONMENT | more
    return subprocess.run(
        command, cwd=play.directory / "host", env=environment, capture_output=True, text=True, timeout=60, check=False
    )


def denials(play: Any) -> list[str]:
    """Why the broker said no, by its audit log."""
    words = play.real(("cloister", "log", "show", "state/audit.log", "--json"))
    done = subprocess.run(
        words,
        cwd=play.directory / "broker",
        env=CLOISTER_ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    events = [json.loads(line)["event"] for line in done.stdout.splitlines()]
    return [str(event["reason"]) for event in events if event["kind"] == "denied"]


def check_refused(play: Any, done: "subprocess.CompletedProcess[str]", before: list[str]) -> None:
    """Nothing ran, and the broker's log says that it denied the study's session."""
    assert (done.returncode, done.stdout) == (_abi.EXIT_NOT_PROVISIONED, ""), done.stderr
    assert len(denials(play)) == len(before) + 1
    log = (play.directory / "broker" / "state" / "audit.log").read_text()
    assert not any(key_of(play, hospital).hex() in log for hospital in HOSPITALS)


def flipped(content: bytes, at: int) -> bytes:
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


def expected_statistics(play: Any) -> list[float]:
    """What the program must print, by Python's own means, from the tables that only this test sees together."""
    rows = [[float(word) for word in row.split(",")] for hospital in HOSPITALS for row in rows_of(play, hospital)]
    treated, others = ([row[3] for row in rows if row[2] == which] for which in (1, 0))
    means = statistics.fmean(treated), statistics.fmean(others)
    error = math.sqrt(sum(statistics.variance(some) / len(some) for some in (treated, others)))
    correlation = statistics.correlation([row[1] for row in rows], [row[3] for row in rows])
    return [len(rows), len(treated), *means, means[0] - means[1], (means[0] - means[1]) / error, correlation]


def sampled(play: Any, tool: Path) -> Sampled:
    """The host runs the program, and its administrator looks at everything meanwhile."""
    return sample(
        tool, play.real(play.host_command()), needles_of(play), place=play.directory / "host",
        directories=[Path("/dev/shm")], environment=CLOISTER_ENVIRONMENT,
    )  # fmt: skip


@pytest.mark.slow
def test_the_play_shows_every_step(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, SCRIPT, tmp_path / "stage"],
        env=CLOISTER_ENVIRONMENT, capture_output=True, text=True, timeout=110, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count(f"(exit status {_abi.EXIT_NOT_PROVISIONED})") == 2
    assert "Welch's t" in done.stdout
    rows = [row for hospital in HOSPITALS for row in (tmp_path / "stage" / hospital / "table.csv").read_text().split()]
    assert not any(row in done.stdout for row in rows)


def test_the_statistics_are_those_of_both_tables(play: Any) -> None:
    done = on_host(play)
    assert done.returncode == 0, done.stderr
    numbers = [float(found) for found in re.findall(r"(?<= )-?\d+(?:\.\d+)?(?= |$)", done.stdout, re.MULTILINE)]
    assert numbers == pytest.approx(expected_statistics(play), abs=0.006)


@pytest.mark.slow
def test_the_host_sees_no_row_and_no_key(play: Any, tmp_path: Path) -> None:
    """The program takes milliseconds: it is run until it was looked at often enough while it had both tables."""
    tool = build(tmp_path)
    looks: Counter[str] = Counter()
    for _ in range(STARTS):
        found = sampled(play, tool)
        assert found.hits == []
        if found.status == _abi.EXIT_CANNOT_PROTECT:  # a debugger came into the start: nothing ran
            continue
        assert found.status == 0, found.errors
        assert "Welch's t" in found.output
        looks.update({name: of["looks"] + of["memories"] for name, of in found.counts.items()})
        if looks[PROCESS] >= LOOKS:
            break
    assert looks[PROCESS] >= LOOKS, looks
    assert looks["cloister-guard"] >= LOOKS, looks


def test_control_natively_the_host_sees_rows_and_keys(play: Any, tmp_path: Path) -> None:
    tables = [play.directory / "host" / f"{hospital}.enc" for hospital in HOSPITALS]
    keys = [tmp_path / f"{hospital}.key" for hospital in HOSPITALS]
    for key, hospital in zip(keys, HOSPITALS, strict=True):
        key.write_bytes(key_of(play, hospital))
    command = [play.directory / "host" / "joint_statistics", keys[0], tables[0], keys[1], tables[1]]
    loop = 'for i in $(seq 40); do "$@"; done'
    found = sample(
        build(tmp_path), ["sh", "-c", loop, "sh", *command], needles_of(play), place=tmp_path, environment=ENVIRONMENT,
        trace_pause=0,
    )  # fmt: skip
    assert found.status == 0, found.errors
    seen = {(hit.kind, hit.needle.partition(":")[2][:3]) for hit in found.hits if hit.process.startswith("joint")}
    assert {("memory", "row"), ("memory", "key")} <= seen


def test_no_hospital_has_anything_of_the_other(play: Any) -> None:
    for own, other in (HOSPITALS, HOSPITALS[::-1]):
        secret = [row.encode() for row in rows_of(play, other)] + list(forms_of(key_of(play, other)).values())
        for folder in (own, "study", "host"):
            for file in (path for path in (play.directory / folder).rglob("*") if path.is_file()):
                assert not any(one in file.read_bytes() for one in secret), f"{other}'s secret is in {file}"


def test_a_changed_byte_of_the_program_stops_both_keys(play: Any) -> None:
    content = (play.directory / "host" / "joint_statistics").read_bytes()
    text = content.index(b"patients, both")
    changed = play.directory / "host" / "changed"
    for at in (text, len(content) // 2, len(content) - 1):
        changed.write_bytes(flipped(content, at))
        changed.chmod(0o755)
        before = denials(play)
        check_refused(play, on_host(play, "./changed"), before)
    changed.write_bytes(flipped(content, text))
    control = subprocess.run([changed], check=False)
    assert control.returncode == 2, "the changed program does not even run, so refusing it proves little"


def test_a_changed_byte_of_its_library_stops_both_keys(play: Any, tmp_path: Path) -> None:
    listed = subprocess.run(
        ["ldd", play.directory / "host" / "joint_statistics"], capture_output=True, text=True, check=True
    )
    found = re.search(rf"{LIBRARY} => (\S+)", listed.stdout)
    assert found, listed.stdout
    content = Path(found[1]).read_bytes()
    (tmp_path / LIBRARY).write_bytes(content + b"\0")
    before = denials(play)
    check_refused(play, on_host(play, LD_LIBRARY_PATH=str(tmp_path)), before)
    (tmp_path / LIBRARY).unlink()
    assert on_host(play, LD_LIBRARY_PATH=str(tmp_path)).returncode == 0


def test_a_table_that_the_host_changed_is_not_used(play: Any) -> None:
    table = play.directory / "host" / "hospital-b.enc"
    content = table.read_bytes()
    try:
        for other in (flipped(content, 40), content[:-1], (play.directory / "host" / "hospital-a.enc").read_bytes()):
            table.write_bytes(other)
            done = on_host(play)
            assert (done.returncode, done.stdout) == (1, "")
            assert "is not what its key encrypted" in done.stderr
    finally:
        table.write_bytes(content)


@pytest.mark.slow
def test_a_changed_byte_of_the_study_s_session_stops_both_keys(play: Any, tmp_path: Path) -> None:
    """A broker of its own, to which the hospitals bring the same sessions, and the study one with a byte changed."""
    session = (play.directory / "study" / "session.yaml").read_text()
    other = script().Play(tmp_path / "other")
    for name in (*HOSPITALS, "study", "host"):
        shutil.copytree(play.directory / name, other.directory / name, dirs_exist_ok=True)
    changed = session.replace("path: /run/keys/b", "path: /run/keys/B")
    assert sum(one != two for one, two in zip(session, changed, strict=True)) == 1
    (other.directory / "study" / "session.yaml").write_text(changed)
    with other.broker():
        other.put_all()
        check_refused(other, on_host(other), [])
        assert "does not export" in denials(other)[0]
