"""cloister.launch: the constants shared with C, the command line, and the start block."""

import importlib.util
import os
import shutil
import struct
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloister.errors import NotExecutable, NotFound, UsageError
from cloister.launch import _abi
from cloister.launch.command import RuntimeOptions, enclave_command, find_program, start_block

ROOT = Path(__file__).parents[2]


def render_abi() -> str:
    spec = importlib.util.spec_from_file_location("generate_abi", ROOT / "runtime" / "generate_abi.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return str(module.render((ROOT / "runtime" / "include" / "cloister_abi.h").read_text()))


def test_the_generated_constants_are_current() -> None:
    assert Path(_abi.__file__).read_text() == render_abi(), "run: make -C runtime abi"


def test_every_constant_of_the_header_is_there() -> None:
    header = (ROOT / "runtime" / "include" / "cloister_abi.h").read_text()
    names = {line.split()[1].removeprefix("CLOISTER_") for line in header.splitlines() if line.startswith("#define ")}
    assert names - {"ABI_H"} == {name for name in vars(_abi) if name.isupper()}


def take_strings(block: bytes, at: int, count: int) -> tuple[list[bytes], int]:
    strings = []
    for _ in range(count):
        (size,) = struct.unpack_from("<I", block, at)
        strings.append(block[at + 4 : at + 4 + size])
        assert len(strings[-1]) == size
        at += 4 + size
    return strings, at


def parse_block(block: bytes) -> tuple[list[bytes], list[bytes]]:
    """The start block as runtime/src/block.c reads it."""
    count, variables = struct.unpack_from("<II", block)
    strings, at = take_strings(block, 8, count + variables)
    assert at == len(block), "bytes left over"
    return strings[:count], strings[count:]


text = st.binary(max_size=40).filter(lambda raw: b"\0" not in raw).map(os.fsdecode)
names = text.filter(lambda name: name and "=" not in name)


@given(st.lists(text, max_size=8), st.dictionaries(names, text, max_size=8))
def test_a_start_block_holds_exactly_what_it_was_given(argv: list[str], environment: dict[str, str]) -> None:
    words, variables = parse_block(start_block(argv, environment))
    assert words == [os.fsencode(word) for word in argv]
    assert variables == [os.fsencode(f"{name}={value}") for name, value in environment.items()]


@pytest.mark.parametrize(
    ("argv", "environment"),
    [(["a\0b"], {}), (["a"], {"N\0": "v"}), (["a"], {"N": "v\0"})],
    ids=["argument", "name", "value"],
)
def test_a_nul_byte_is_refused(argv: list[str], environment: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="NUL"):
        start_block(argv, environment)


def test_the_limits_of_a_start_block() -> None:
    start_block(["x"] * _abi.START_MAX_STRINGS, {})
    with pytest.raises(UsageError, match="larger"):
        start_block(["x"] * _abi.START_MAX_STRINGS, {"A": "b"})
    start_block(["x" * _abi.START_MAX_BYTES], {})
    with pytest.raises(UsageError, match="larger"):
        start_block(["x" * _abi.START_MAX_BYTES, "y"], {})


paths = st.lists(text.filter(lambda part: part not in {"", ".", ".."} and "/" not in part), min_size=1, max_size=3).map(
    lambda parts: "/" + "/".join(parts)
)


@given(text, st.dictionaries(paths, st.binary(max_size=50), max_size=4))
def test_directory_and_files_follow(directory: str, files: dict[str, bytes]) -> None:
    plain = start_block(["a", "b"], {"N": "v"})
    block = start_block(["a", "b"], {"N": "v"}, directory=directory, files=files)
    assert block.startswith(plain)
    if not directory and not files:
        assert block == plain
        return
    (entered,), at = take_strings(block, len(plain), 1)
    (count,) = struct.unpack_from("<I", block, at)
    strings, at = take_strings(block, at + 4, 2 * count)
    assert at == len(block), "bytes left over"
    assert entered == os.fsencode(directory)
    assert dict(zip(strings[::2], strings[1::2], strict=True)) == {os.fsencode(k): v for k, v in files.items()}


@pytest.mark.parametrize("path", ["", "relative", "/a/", "/a//b", "//a", "/a/./b", "/a/../b", "/", "/a\0b"])
def test_the_path_of_a_file_is_absolute_and_plain(path: str) -> None:
    with pytest.raises(UsageError, match="absolute"):
        start_block(["x"], {}, files={path: b""})


def test_files_are_limited_too() -> None:
    start_block(["x"], {}, files={"/f": bytes(_abi.FRAME_MAX_BYTES - 100)})
    with pytest.raises(UsageError, match="larger"):
        start_block(["x"], {}, files={"/f": bytes(_abi.FRAME_MAX_BYTES)})


def test_options_as_the_runtime_spells_them(tmp_path: Path) -> None:
    assert RuntimeOptions().words() == []
    options = RuntimeOptions(start_fd=7, checkpoint=tmp_path / "s", report=Path("r.jsonl"), unsafe_no_guard=True)
    assert options.words() == [
        "--start-fd=7",
        f"--checkpoint={tmp_path / 's'}",
        f"--report={Path.cwd() / 'r.jsonl'}",
        "--unsafe-no-guard",
    ]


def test_each_option_stands_alone(tmp_path: Path) -> None:
    assert RuntimeOptions(start_fd=0).words() == ["--start-fd=0"]
    assert RuntimeOptions(report=tmp_path / "r").words() == [f"--report={tmp_path / 'r'}"]
    assert RuntimeOptions(unsafe_no_guard=True).words() == ["--unsafe-no-guard"]


def test_a_socket_path_must_fit_a_unix_address() -> None:
    most = "/" + "s" * 106
    assert RuntimeOptions(checkpoint=Path(most)).words() == [f"--checkpoint={most}"]
    with pytest.raises(UsageError, match="107"):
        RuntimeOptions(checkpoint=Path(most + "s")).words()
    with pytest.raises(UsageError, match="107"):
        RuntimeOptions(checkpoint=Path("/" + "é" * 54)).words()


@pytest.fixture
def places(tmp_path: Path) -> list[Path]:
    """Directories for PATH: empty, with a directory and a data file named like programs, with programs."""
    found = [tmp_path / name for name in ("empty", "wrong", "right")]
    for place in found:
        place.mkdir()
    (found[1] / "prog").write_text("data")
    (found[1] / "dir").mkdir()
    for name in ("prog", "only"):
        path = found[2] / name
        path.write_text("#!/bin/sh\necho ran\n")
        path.chmod(0o755)
    return found


def search_path(places: Sequence[Path]) -> dict[str, str]:
    return {"PATH": ":".join(map(str, places))}


def test_a_program_is_found_where_execvp_finds_it(places: list[Path]) -> None:
    environment = search_path(places)
    for name in ("prog", "only"):
        assert find_program(name, environment) == str(places[2] / name)
        assert find_program(name, environment) == shutil.which(name, path=environment["PATH"])
        done = subprocess.run(
            ["env", "-i", f"PATH={environment['PATH']}:/bin:/usr/bin", name], capture_output=True, check=True
        )
        assert done.stdout == b"ran\n"


def test_what_is_there_but_not_a_program(places: list[Path]) -> None:
    for name in ("dir", "prog"):
        with pytest.raises(NotExecutable, match="chmod"):
            find_program(name, search_path(places[:2]))
        with pytest.raises(NotExecutable, match="chmod"):
            find_program(str(places[1] / name), {})


def test_what_is_not_there(places: list[Path]) -> None:
    with pytest.raises(NotFound, match="in PATH"):
        find_program("nothing-of-this-name", search_path(places))
    with pytest.raises(NotFound) as caught:
        find_program(str(places[0] / "nothing"), {})
    assert "PATH" not in str(caught.value)
    with pytest.raises(NotFound):
        find_program("", search_path(places))


def test_a_name_with_a_slash_is_not_searched(places: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(places[2])
    assert find_program("./prog", {"PATH": "/nonexistent"}) == "./prog"
    with pytest.raises(NotFound):
        find_program("prog", {"PATH": "/nonexistent"})


def test_an_empty_place_in_path_is_the_current_directory(places: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(places[2])
    assert Path(find_program("only", {"PATH": f"{places[0]}::"})).samefile(places[2] / "only")


def test_the_command_line(places: list[Path]) -> None:
    program = str(places[2] / "prog")
    command = enclave_command(program, ["-x", "--", "a b"], RuntimeOptions(unsafe_no_guard=True))
    assert Path(command[0]).name == "cloister-enclave"
    assert command[1:] == ["--unsafe-no-guard", "--", program, program, "-x", "--", "a b"]


def test_argument_zero_is_the_name_as_given(places: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(places[2]))
    assert enclave_command("prog", [])[-2:] == [str(places[2] / "prog"), "prog"]
