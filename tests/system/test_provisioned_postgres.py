"""The same whole way with a broker on a real PostgreSQL, which is stopped and started again under it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.services.postgres import Postgres, postgres
from tests.system.attested import CLOISTER, attested_host, measured, run
from tests.system.test_provisioned_run import NAME, SECRET, SOURCE, Stage, end, session_of, show, shown

from cloister.launch import _abi

pytestmark = [
    pytest.mark.needs_root, pytest.mark.needs_runtime, pytest.mark.slow,
    pytest.mark.needs_program("cc", "psql", "setpriv"),
]  # fmt: skip


@pytest.fixture
def database() -> Iterator[Postgres]:
    with postgres() as made:
        yield made


@pytest.fixture
def stage(tmp_path: Path, database: Postgres) -> Iterator[Stage]:
    directory = tmp_path / "provisioned"
    directory.mkdir()
    (directory / "app.c").write_text(SOURCE)
    run(["cc", "-O1", "-o", str(directory / "app"), str(directory / "app.c")])
    with attested_host(directory, "--database", database.url) as host:
        program = measured(directory / "app", directory)
        host.put(NAME, session_of(program))
        yield Stage(host=host, program=program, directory=directory)


def test_a_program_gets_its_secrets(stage: Stage) -> None:
    done = stage.run()
    assert done.returncode == 7, done.stderr
    assert shown(done.stdout)["TOKEN"] == SECRET


def test_the_database_stops_and_comes_back(stage: Stage, database: Postgres) -> None:
    process = stage.start()
    try:
        assert process.stdout is not None
        assert f"file password={SECRET}" in [process.stdout.readline().decode().strip() for _ in range(8)]
        database.stop()
        try:
            refused = stage.run()
            assert (refused.returncode, refused.stdout) == (_abi.EXIT_NOT_PROVISIONED, b"")
            assert b"undecided" in refused.stderr
            assert show(process) == f"file password={SECRET}", "what it had, it keeps"
        finally:
            database.start()
        assert stage.run().returncode == 7
    finally:
        end(process)


def test_the_broker_that_the_measurement_names(stage: Stage, tmp_path: Path) -> None:
    """With its key in the measurement nobody else's secrets are taken, and this broker's are."""
    key, name = str(stage.host.server.state / "broker-key"), "team/named"
    root = run([*CLOISTER, "measure", "--quiet", "--broker-key", key, str(stage.program.path)]).stdout.strip()
    digest = root.removeprefix("software:measurement=")
    assert digest != stage.program.measurement
    stage.host.put(name, session_of(stage.program, name=name).replace(stage.program.measurement, digest))
    done = stage.run("--broker-key", key, session=name)
    assert done.returncode == 7, done.stderr
    without = stage.run(session=name)
    assert without.returncode == _abi.EXIT_NOT_PROVISIONED
    assert b"denied" in without.stderr
    other = tmp_path / "other-key"
    other.write_text("ab" * 32 + "\n")
    assert stage.run("--broker-key", str(other), session=name).returncode == _abi.EXIT_NOT_PROVISIONED
