"""`cloister measure` for the software enclave: what it lists is what a strict enclave needs, no more and no less."""

import importlib.util
import json
import marshal
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.integration.runtime_programs.arms import Outcome
from tests.integration.runtime_programs.strict import library, run_strict, scenarios

from cloister import cli
from cloister.app.measuring_loader import loaded_by
from cloister.errors import CannotEnclave, NotFound, UsageError
from cloister.launch.command import RuntimeOptions, enclave_command
from cloister.launch.strict import manifest_descriptor, read_manifest_file

Measure = Callable[..., tuple[int, str, str]]


@pytest.fixture
def measure(capfd: pytest.CaptureFixture[str]) -> Measure:
    def command(*words: str | Path) -> tuple[int, str, str]:
        code = cli.main(["measure", *map(str, words)])
        printed = capfd.readouterr()
        return code, printed.out, printed.err

    return command


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return scenarios(tmp_path_factory.mktemp("measure"))


def run_with(manifest: Path, program: str | Path, *words: str, environment: dict[str, str] | None = None) -> Outcome:
    """As `cloister run --manifest` does it."""
    descriptor = manifest_descriptor(manifest, str(program))
    try:
        command = enclave_command(str(program), words, RuntimeOptions(manifest_fd=descriptor))
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=60, pass_fds=[descriptor], env=environment
        )
    finally:
        os.close(descriptor)
    return Outcome(status=done.returncode, output=done.stdout, errors=done.stderr)


@pytest.mark.needs_runtime
def test_what_the_loader_says_is_enough_and_each_line_is_needed(
    measure: Measure, program: Path, tmp_path: Path
) -> None:
    manifest = tmp_path / "app.toml"
    code, output, _ = measure("-o", manifest, program)
    said = read_manifest_file(manifest)
    assert (code, output.splitlines()[-1]) == (0, f"software:measurement={said.measurement.hex()}")
    assert run_with(manifest, program, "write:/nothing").status == 0
    code_files = [path for path in said.manifest.files if ".so." in path and path != "/etc/ld.so.cache"]
    assert len(code_files) == 2
    for path in code_files:
        fewer = {other: digest for other, digest in said.started().files.items() if other != path}
        assert run_strict(fewer, program, "write:/nothing").status != 0


def test_the_parts_are_named(measure: Measure, program: Path) -> None:
    _, root, text = measure(program)
    _, document, _ = measure("--json", program)
    found = json.loads(document)
    assert {found["tee"], found["claim"], found["digest"]} >= {"software", "measurement"}
    assert f"executable {found['executable']} {program}" in text
    assert f"libraries  {found['libraries']}" in text
    assert all(f"{digest} {path}" in text for path, digest in found["files"].items())
    assert root == f"software:measurement={found['digest']}\n", "alone, for $(cloister measure ./app)"
    assert measure("-q", program)[1:] == (root, "")


def test_files_and_closed_directories_that_are_named(measure: Measure, program: Path, tmp_path: Path) -> None:
    data, manifest = tmp_path / "data", tmp_path / "app.toml"
    data.write_text("x")
    measure("--file", data, "--closed", f"{tmp_path}/", "-o", manifest, program)
    found = read_manifest_file(manifest).manifest
    assert str(data) in found.files
    assert found.closed == frozenset({str(tmp_path)})


@pytest.mark.needs_runtime
def test_a_learned_run_finds_what_is_loaded_later(measure: Measure, program: Path, tmp_path: Path) -> None:
    answer, manifest = library(tmp_path / "libanswer.so", 7), tmp_path / "app.toml"
    (link := tmp_path / "link.so").symlink_to(answer)
    code, output, _ = measure("--learn", "-q", "-o", manifest, "--", program, f"dlopen:{link}", "execute:/bin/true")
    assert code == 0
    assert "dlopen: 7\n" in output
    listed = read_manifest_file(manifest).manifest.files
    assert {str(link), "/bin/true", os.path.realpath("/bin/true")} <= listed.keys(), "by the names that were opened"
    assert run_with(manifest, program, f"dlopen:{link}").output == "dlopen: 7\n"
    assert run_with(manifest, program, f"dlopen:{answer}").output == "dlopen: refused\n"


def test_a_run_that_fails_is_told(measure: Measure, tmp_path: Path) -> None:
    _, _, errors = measure("--learn", "-q", "-o", tmp_path / "m.toml", "--", "/bin/sh", "-c", "exit 3")
    assert "status 3" in errors


# ---- Python: the interpreter's code is files that it reads


@pytest.fixture
def application(tmp_path: Path) -> Path:
    place = tmp_path / "app"
    place.mkdir()
    (place / "main.py").write_text(
        "import part\nprint('main', part.NAME)\ntry:\n    import extra\nexcept ImportError:\n    pass\n"
    )
    (place / "part.py").write_text("NAME = 'part'\n")
    return place


@pytest.fixture
def learned(measure: Measure, application: Path, tmp_path: Path) -> Path:
    manifest = tmp_path / "app.toml"
    words = ["--learn-files", "--closed", application, "-q", "-o", manifest, "--", python()]
    code, output, errors = measure(*words, "-B", application / "main.py")
    assert (code, output.splitlines()[0]) == (0, "main part"), errors
    return manifest


def python() -> str:
    """An interpreter that is no shim."""
    return os.path.realpath(sys.executable)


def main(manifest: Path, application: Path) -> Outcome:
    return run_with(manifest, python(), "-B", str(application / "main.py"))


@pytest.mark.needs_runtime
def test_a_python_program_runs_as_it_was_learned(learned: Path, application: Path) -> None:
    done = main(learned, application)
    assert (done.status, done.output) == (0, "main part\n"), done.errors


@pytest.mark.needs_runtime
@pytest.mark.parametrize("name", ["main.py", "part.py"])
def test_a_changed_python_file(learned: Path, application: Path, name: str) -> None:
    path = application / name
    path.write_text(path.read_text() + "print('evil')\n")
    done = main(learned, application)
    assert "evil" not in done.output
    assert done.status != 0
    assert f"{path}: it is not what was measured" in done.errors


@pytest.mark.needs_runtime
def test_a_python_file_that_was_not_there(learned: Path, application: Path) -> None:
    """The program looks for `extra`, which nobody measured."""
    (application / "extra.py").write_text("print('evil')\n")
    done = main(learned, application)
    assert "evil" not in done.output
    assert "extra.py" in done.errors, "it saw a name, and found nothing behind it"


@pytest.mark.needs_runtime
def test_compiled_python_in_the_sources_place(learned: Path, application: Path) -> None:
    """CPython prefers compiled code whose note of the source's size and time is right."""
    source = application / "part.py"
    status = source.stat()
    compiled = Path(importlib.util.cache_from_source(str(source)))
    compiled.parent.mkdir(exist_ok=True)
    note = struct.pack("<III", 0, int(status.st_mtime), status.st_size)
    code = marshal.dumps(compile("print('evil'); NAME = 'part'", str(source), "exec"))
    compiled.write_bytes(importlib.util.MAGIC_NUMBER + note + code)
    native = subprocess.run([python(), "-B", application / "main.py"], capture_output=True, text=True, check=False)
    assert "evil" in native.stdout, "the control: natively the compiled code runs"
    done = main(learned, application)
    assert (done.status, done.output) == (0, "main part\n"), done.errors


# ---- reading and comparing manifests


def test_diff_names_the_component(measure: Measure, program: Path, tmp_path: Path) -> None:
    old, new, data = tmp_path / "old.toml", tmp_path / "new.toml", tmp_path / "data"
    copy = shutil.copy(program, tmp_path / "app")
    data.write_text("one")
    measure("--file", data, "-o", old, copy)
    assert measure("diff", old, old) == (0, "", "")
    data.write_text("two")
    measure("--file", data, "-o", new, copy)
    code, output, _ = measure("diff", old, new)
    assert (code, output.count("\n"), output.startswith(f"{data}: ")) == (1, 1, True)
    code, output, _ = measure("--manifest", old, copy)
    assert (code, output.startswith(f"{data}: ")) == (1, True)
    assert measure("--manifest", new, copy)[0] == 0
    with Path(copy).open("ab") as file:
        file.write(b"\0")
    assert [change["component"] for change in json.loads(measure("--json", "--manifest", new, copy)[1])] == [
        "executable"
    ]
    assert measure("-q", "--manifest", new)[1].startswith("software:measurement=")


WRONG = {
    "nothing": [],
    "arguments without --learn": ["/bin/true", "x"],
    "diff of one": ["diff", "/bin/true"],
    "no manifest": ["--manifest", "/bin/true"],
    "both": ["--manifest", "/bin/true", "-o", "/dev/null"],
    "no such manifest": ["--manifest", "/nowhere"],
    "options of the other": ["--tee", "sgx", "--learn", "/bin/true"],
    "a manifest nobody can write": ["-o", "/nowhere/m.toml", "/bin/true"],
}


@pytest.mark.parametrize("what", WRONG)
def test_wrong_command_lines(measure: Measure, what: str) -> None:
    assert measure(*WRONG[what])[0] == UsageError.exit_code


def test_a_manifest_is_for_its_program(measure: Measure, program: Path, tmp_path: Path) -> None:
    manifest = tmp_path / "m.toml"
    measure("-o", manifest, program)
    with pytest.raises(UsageError, match="is the manifest of"):
        manifest_descriptor(manifest, "/bin/true")


# ---- asking the loader


def test_the_loader_that_a_program_names_is_not_simply_run(tmp_path: Path) -> None:
    """PT_INTERP of a hostile program: whoever measures it would run what it says."""
    evil, source, target = tmp_path / "evil", tmp_path / "a.c", tmp_path / "a"
    evil.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    evil.chmod(0o755)
    source.write_text("int main(void) { return 0; }\n")
    subprocess.run(["cc", f"-Wl,--dynamic-linker={evil}", "-o", target, source], check=True)
    with pytest.raises(CannotEnclave, match="could be any program"):
        loaded_by(str(target))
    assert not (tmp_path / "ran").exists()


def test_a_library_that_is_missing(tmp_path: Path) -> None:
    answer, source, target = library(tmp_path / "libanswer.so", 7), tmp_path / "a.c", tmp_path / "a"
    source.write_text("int answer(void); int main(void) { return answer(); }\n")
    subprocess.run(["cc", "-o", target, source, answer, f"-Wl,-rpath,{tmp_path}"], check=True)
    assert str(answer) in loaded_by(str(target))
    answer.unlink()
    with pytest.raises(NotFound, match="libanswer"):
        loaded_by(str(target))


def test_scripts_need_their_interpreter(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("#! /bin/sh -e\n")
    assert loaded_by(str(script)) == ["/bin/sh", *loaded_by("/bin/sh")]
    script.write_text("text\n")
    with pytest.raises(CannotEnclave):
        loaded_by(str(script))
    with pytest.raises(NotFound):
        loaded_by(str(tmp_path / "missing"))
