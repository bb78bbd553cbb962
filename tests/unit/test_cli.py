"""The dispatcher: `cloister` itself, without any subcommand's work."""

import argparse
import os
import subprocess
import sys
import types

import pytest

from cloister import __version__, cli
from cloister.errors import CannotProtect, CloisterError


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """A subcommand `run` that does what the test makes it do."""
    module = types.ModuleType("cloister.cli.run", "What it does.")
    module.__dict__["build_parser"] = lambda parser: parser.add_argument("--times", type=int, default=1)
    module.__dict__["run"] = lambda args: args.times
    monkeypatch.setitem(sys.modules, "cloister.cli.run", module)
    return module


def raising(error: BaseException) -> object:
    def run(_args: argparse.Namespace) -> int:
        raise error

    return run


def test_the_command_s_code_is_the_exit_code(fake: types.ModuleType) -> None:
    del fake
    assert cli.main(["run", "--times", "7"]) == 7


def test_an_error_becomes_one_line_and_its_code(fake: types.ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    fake.__dict__["run"] = raising(CannotProtect("no secret memory; do this"))
    assert cli.main(["run"]) == 120
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", "cloister run: no secret memory; do this\n")


def test_a_mistake_in_cloister_is_not_hidden(fake: types.ModuleType) -> None:
    fake.__dict__["run"] = raising(ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        cli.main(["run"])


def test_ctrl_c_is_130(fake: types.ModuleType) -> None:
    fake.__dict__["run"] = raising(KeyboardInterrupt())
    assert cli.main(["run"]) == 130


def test_no_command_prints_the_overview(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 2
    shown = capsys.readouterr().err
    assert all(name in shown for name in cli.COMMANDS)


@pytest.mark.parametrize("words", [["nonsense"], ["--nonsense"], ["run", "--nonsense"], ["run", "--tim", "3"]])
def test_unknown_words_are_usage_errors(words: list[str], fake: types.ModuleType) -> None:
    del fake
    with pytest.raises(SystemExit) as stopped:
        cli.main(words)
    assert stopped.value.code == 2


@pytest.mark.parametrize("words", [["--version"], ["--help"], ["run", "--help"]])
def test_help_and_version_succeed(words: list[str], fake: types.ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    del fake
    with pytest.raises(SystemExit) as stopped:
        cli.main(words)
    assert stopped.value.code == 0
    assert capsys.readouterr().out


def test_version_is_the_package_s(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--version"])
    assert capsys.readouterr().out == f"cloister {__version__}\n"


def test_a_closed_pipe_is_no_traceback() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    words = [sys.executable, "-m", "cloister", "doctor", "--json"]
    with os.fdopen(writing, "w") as closed:
        done = subprocess.run(words, stdout=closed, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (141, "")


def test_help_does_not_import_the_subcommands() -> None:
    script = "import sys; from cloister import cli; cli.main([]); print([m for m in sys.modules if 'cloister.' in m])"
    shown = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    ).stdout
    assert shown.strip() == str(["cloister.errors", "cloister.cli"])


def test_the_root_error_has_the_general_code() -> None:
    assert CloisterError.exit_code == 1
