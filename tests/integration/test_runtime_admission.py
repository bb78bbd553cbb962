"""Strict enclaves: only measured code and files come in, whichever way they come."""

import os
import resource
import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from tests.integration.runtime_programs.strict import (
    descriptor_of,
    library,
    measured,
    run_strict,
    scenarios,
    started_with,
    strict_command,
)

from cloister.launch import _abi
from cloister.measure.software import Manifest

pytestmark = pytest.mark.needs_runtime

UNLISTED = "the manifest does not list it"
CHANGED = "it is not what was measured"
JIT = "it may not become code"


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("strict")


@pytest.fixture(scope="module")
def program(programs: Path) -> Path:
    return scenarios(programs)


@pytest.fixture(scope="module")
def libraries(program: Path) -> dict[str, bytes]:
    return started_with(program)


def text_file(path: Path, content: str, mode: int = 0o644) -> Path:
    path.write_text(content)
    path.chmod(mode)
    return path


# ---- starting


def test_a_static_program_needs_nothing(programs: Path) -> None:
    done = run_strict({}, scenarios(programs, "static"), "jit")
    assert done.status == 0, done.errors
    assert "protect: EACCES" in done.output


def test_a_dynamic_program_needs_its_loader_and_libraries(program: Path, libraries: dict[str, bytes]) -> None:
    done = run_strict(libraries, program, "read:/etc/hostname")
    assert (done.status, done.output.split(":")[0]) == (0, "read"), done.errors


@pytest.mark.parametrize("suffix", ["ld-linux-x86-64.so.2", "libc.so.6"])
def test_each_of_them_is_needed(program: Path, libraries: dict[str, bytes], suffix: str) -> None:
    done = run_strict({path: digest for path, digest in libraries.items() if not path.endswith(suffix)}, program)
    assert done.status in {_abi.EXIT_NOT_EXECUTABLE, _abi.EXIT_NOT_FOUND}
    assert (suffix in done.errors, UNLISTED in done.errors) == (True, True)


def test_a_listed_program_must_be_what_was_measured(program: Path, libraries: dict[str, bytes], tmp_path: Path) -> None:
    copy = shutil.copy(program, tmp_path / "copy")
    listed = libraries | measured([copy])
    assert run_strict(listed, copy).status == 0
    with Path(copy).open("ab") as file:
        file.write(b"\0")
    done = run_strict(listed, copy)
    assert (done.status, CHANGED in done.errors) == (_abi.EXIT_NOT_EXECUTABLE, True)


def test_a_program_under_a_librarys_name_is_not_that_library(
    programs: Path, libraries: dict[str, bytes], tmp_path: Path
) -> None:
    name = shutil.copy(scenarios(programs, "static"), tmp_path / "libanswer.so")
    done = run_strict(libraries | {str(name): bytes(31) + b"\1"}, name)
    assert (done.status, CHANGED in done.errors) == (_abi.EXIT_NOT_EXECUTABLE, True)


GOOD = struct.pack("<III", 0, 1, 2) + b"/a" + bytes(31) + b"\1"
TWO = struct.pack("<II", 0, 2)
DAMAGED = {
    "empty": b"",
    "flags": struct.pack("<II", 1, 0),
    "cut": GOOD[:-1],
    "too long": GOOD + b"\0",
    "more than there are": struct.pack("<II", 0, 2) + GOOD[8:],
    "count of all ones": struct.pack("<II", 0, 2**32 - 1) + GOOD[8:],
    "length of all ones": struct.pack("<III", 0, 1, 2**32 - 1) + GOOD[12:],
    "twice": TWO + GOOD[8:] * 2,
    "not in order": TWO + struct.pack("<I", 3) + b"/ab" + bytes(31) + b"\1" + GOOD[8:],
    "relative": struct.pack("<III", 0, 1, 2) + b"ab" + bytes(31) + b"\1",
    "not normalised": struct.pack("<III", 0, 1, 5) + b"/a/.." + bytes(31) + b"\1",
    "a NUL": struct.pack("<III", 0, 1, 3) + b"/a\0" + bytes(31) + b"\1",
    "a directory with a digest": struct.pack("<III", 0, 1, 3) + b"/a/" + bytes(31) + b"\1",
    "a file without": struct.pack("<III", 0, 1, 2) + b"/a" + bytes(32),
    "no path": struct.pack("<III", 0, 1, 0) + bytes(31) + b"\1",
}


@pytest.mark.parametrize("what", DAMAGED)
def test_a_damaged_manifest_runs_nothing(programs: Path, what: str) -> None:
    static = scenarios(programs, "static")
    assert run_strict(GOOD, static).status == 0
    done = run_strict(DAMAGED[what], static, "memfd")
    assert (done.status, done.output) == (_abi.EXIT_USAGE, "")
    assert "manifest" in done.errors


# ---- libraries


def test_a_library_that_is_not_listed(program: Path, libraries: dict[str, bytes], tmp_path: Path) -> None:
    path = library(tmp_path / "libanswer.so", 7)
    done = run_strict(libraries, program, f"dlopen:{path}")
    assert done.output == "dlopen: refused\n"
    assert f"{path}: {UNLISTED}" in done.errors
    assert run_strict(libraries | measured([path]), program, f"dlopen:{path}").output == "dlopen: 7\n"


def test_a_library_with_one_other_byte(program: Path, libraries: dict[str, bytes], tmp_path: Path) -> None:
    path = library(tmp_path / "libanswer.so", 7)
    listed = libraries | measured([path])
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    done = run_strict(listed, program, f"dlopen:{path}")
    assert done.output == "dlopen: refused\n"
    assert f"{path}: {CHANGED}" in done.errors


def test_measured_libraries_that_change_their_names(program: Path, libraries: dict[str, bytes], tmp_path: Path) -> None:
    """Both are measured code, but each under the other's name."""
    one, two = library(tmp_path / "libone.so", 1), library(tmp_path / "libtwo.so", 2)
    listed = libraries | measured([one, two])
    one.rename(tmp_path / "kept")
    two.rename(one)
    (tmp_path / "kept").rename(two)
    done = run_strict(listed, program, f"dlopen:{one}", f"dlopen:{two}")
    assert done.output == "dlopen: refused\n" * 2
    assert done.errors.count(CHANGED) == 2


def test_the_name_is_what_counts(program: Path, libraries: dict[str, bytes], tmp_path: Path) -> None:
    """A link to a listed library is another name; so is a copy. A roundabout way to the same name is not."""
    path = library(tmp_path / "libanswer.so", 7)
    (tmp_path / "link.so").symlink_to(path)
    (tmp_path / "inner").mkdir()
    roundabout = f"{tmp_path}/inner/..//./libanswer.so"
    done = run_strict(libraries | measured([path]), program, f"dlopen:{tmp_path}/link.so", f"dlopen:{roundabout}")
    assert done.output == "dlopen: refused\ndlopen: 7\n"


@pytest.mark.parametrize("variable", ["LD_PRELOAD", "LD_AUDIT"])
def test_a_preloaded_library(program: Path, libraries: dict[str, bytes], tmp_path: Path, variable: str) -> None:
    source, path = tmp_path / "evil.c", tmp_path / "libevil.so"
    source.write_text(
        "#include <unistd.h>\nunsigned la_version(unsigned v) { return v; }\n"
        '__attribute__((constructor)) static void begin(void) { if (write(1, "evil\\n", 5) < 0) _exit(1); }\n'
    )
    subprocess.run(["cc", "-shared", "-fPIC", "-o", path, source], check=True)
    environment = {"PATH": os.environ["PATH"], variable: str(path)}
    done = run_strict(libraries, program, "write:/", environment=environment)
    assert "evil" not in done.output
    assert f"{path}: {UNLISTED}" in done.errors
    done = run_strict(libraries | measured([path]), program, environment=environment)
    assert "evil" in done.output, "the control: listed, it is loaded"


def test_a_file_that_changes_after_it_was_opened(program: Path, libraries: dict[str, bytes], tmp_path: Path) -> None:
    path = text_file(tmp_path / "data", "measured\n")
    answer = library(tmp_path / "libanswer.so", 7)
    manifest = Manifest(libraries | measured([path, answer])).serialize()
    pipe = subprocess.PIPE
    with descriptor_of(manifest) as descriptor:
        command = strict_command(descriptor, program, f"dlopen:{answer}", f"hold:{path}", f"read:{path}")
        with subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=pipe, pass_fds=[descriptor], text=True
        ) as process:
            assert process.stdout
            assert [process.stdout.readline(), process.stdout.readline()] == ["dlopen: 7\n", "holding\n"]
            path.write_text("replaced\n")
            output, errors = process.communicate("\n", timeout=30)
    assert output == "held: [measured]\nread: EACCES\n"
    assert f"{path}: {CHANGED}" in errors


# ---- code from elsewhere


@pytest.mark.parametrize("child", [False, True])
def test_no_generated_code(program: Path, libraries: dict[str, bytes], child: bool) -> None:  # noqa: FBT001
    done = run_strict(libraries, program, *(["fork"] if child else []), "jit", "memfd")
    assert done.output.splitlines() == [
        "map: EACCES", "protect: EACCES", "data: EACCES", "text writable: EACCES", "segment: EACCES",
        "personality: EPERM", "memfd: EACCES", "sealed memfd: EACCES",
    ]  # fmt: skip
    assert JIT in done.errors
    assert "/memfd:code" in done.errors


def test_the_same_attempts_without_a_manifest(program: Path) -> None:
    """The control: the attempts are right, and succeed where nothing is strict."""
    from tests.integration.runtime_programs.arms import enclaved, run  # noqa: PLC0415 - for this one

    done = run(enclaved(program, "jit", "memfd", f"map:{program}"))
    assert done.output.splitlines() == [
        "map: 42", "protect: 42", "data: done", "text writable: done", "segment: done", "personality: done",
        "memfd: done", "sealed memfd: done", "map private: done", "map shared: done", "map writable: done",
        "map, then protect: done", "copy, then protect: done",
    ]  # fmt: skip


def test_mapping_files_as_code(program: Path, libraries: dict[str, bytes], tmp_path: Path) -> None:
    answer = library(tmp_path / "libanswer.so", 7)
    done = run_strict(libraries, program, f"map:{answer}")
    assert [line.split(": ")[1] for line in done.output.splitlines()] == ["EACCES"] * 5
    done = run_strict(libraries | measured([answer]), program, f"map:{answer}")
    assert [line.split(": ")[1] for line in done.output.splitlines()] == ["done", "done", *["EACCES"] * 3]


# ---- measured files


def test_measured_files_are_read_as_they_were_measured(
    program: Path, libraries: dict[str, bytes], tmp_path: Path
) -> None:
    path = text_file(tmp_path / "data", "measured\n")
    listed = libraries | measured([path])
    words = [f"read:{path}", "openat2:data", "read:./x/../data", f"details:{path}"]
    done = run_strict(listed, program, *words, cwd=tmp_path)
    changed = int(path.stat().st_mtime)
    assert done.output.splitlines() == [
        "read: [measured]",
        "openat2: [measured]",
        "read: [measured]",
        f"details: lowest 1 then next 1, cloexec 1 0, mode 0, offset 0, size 9, permissions 644, changed {changed}",
    ]
    path.write_text("replaced\n")
    done = run_strict(listed, program, *words[:3], cwd=tmp_path)
    assert done.output == "read: EACCES\nopenat2: EACCES\nread: EACCES\n"
    path.unlink()
    assert run_strict(listed, program, words[0]).output == "read: ENOENT\n"


def test_registers_are_the_programs(program: Path, libraries: dict[str, bytes], tmp_path: Path) -> None:
    data = text_file(tmp_path / "data", "x" * 10_000)
    done = run_strict(libraries | measured([data]), program, f"registers:{data}")
    assert done.output == "registers: opened 1, kept 1\n" * 2


def test_a_measured_file_beyond_the_file_size_limit(program: Path, libraries: dict[str, bytes], tmp_path: Path) -> None:
    """Its copy would be larger than the program may write, though it only reads: an error, not a signal."""
    data = tmp_path / "data"
    data.touch()
    os.truncate(data, 40 << 20)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    listed = libraries | measured([data])
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (32 << 20, limits[1]))
        done = run_strict(listed, program, f"read:{data}", "read:/nowhere")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert done.output == "read: EFBIG\nread: ENOENT\n"


def test_measured_files_are_not_written(program: Path, libraries: dict[str, bytes], tmp_path: Path) -> None:
    path = text_file(tmp_path / "data", "measured\n")
    done = run_strict(libraries | measured([path]), program, f"write:{path}")
    assert [line.split(": ")[1] for line in done.output.splitlines()] == ["EROFS"] * 4
    assert path.read_text() == "measured\n"


@pytest.mark.parametrize("kind", ["fifo", "directory", "device"])
def test_what_stands_in_a_measured_files_place(
    program: Path, libraries: dict[str, bytes], tmp_path: Path, kind: str
) -> None:
    path = text_file(tmp_path / "data", "measured\n")
    listed = libraries | measured([path])
    path.unlink()
    {"fifo": os.mkfifo, "directory": os.mkdir, "device": lambda at: at.symlink_to("/dev/zero")}[kind](path)
    assert run_strict(listed, program, f"read:{path}").output == "read: EACCES\n"


def test_a_closed_directory(program: Path, libraries: dict[str, bytes], tmp_path: Path) -> None:
    place = tmp_path / "closed"
    (place / "inner").mkdir(parents=True)
    listed, unlisted = text_file(place / "listed", "yes\n"), text_file(place / "unlisted", "no\n")
    (place / "inner" / "link").symlink_to(unlisted)
    beside = text_file(tmp_path / "closed-not", "beside\n")
    manifest = Manifest(libraries | measured([listed]), frozenset({str(place)}))
    words = [f"read:{path}" for path in (listed, unlisted, place / "inner" / "link", place / "missing", beside)]
    done = run_strict(manifest, program, *words, f"directory:{place}", f"write:{place}/new")
    assert done.output.splitlines() == [
        "read: [yes]", "read: ENOENT", "read: ENOENT", "read: ENOENT", "read: [beside]", "directory: done",
        "in directory: ENOENT", "write: EROFS", "append: EROFS", "truncate: EROFS", "create: EROFS",
    ]  # fmt: skip
    assert run_strict(libraries, program, *words[1:2]).output == "read: [no]\n", "the control: not closed"


# ---- other programs


def test_programs_and_scripts_that_are_not_listed(program: Path, libraries: dict[str, bytes], tmp_path: Path) -> None:
    script = text_file(tmp_path / "script", "#!/bin/sh\necho ran\n", 0o755)
    words = ["execute:/bin/echo", f"execute:{script}", "execute-descriptor:/bin/echo"]
    done = run_strict(libraries, program, *words)
    assert done.output.splitlines() == ["execute: EACCES", "execute: EACCES", "execute descriptor: EACCES"]
    assert (f"{script}: {UNLISTED}" in done.errors, f"/bin/echo: {UNLISTED}" in done.errors) == (True, True)
    done = run_strict(libraries | measured([script]), program, words[1])
    assert done.output == "execute: EACCES\n", "its interpreter is not listed"
    assert f"/bin/sh: {UNLISTED}" in done.errors


def test_a_listed_script_that_changed(program: Path, libraries: dict[str, bytes], tmp_path: Path) -> None:
    script = text_file(tmp_path / "script", "#!/bin/sh\necho ran\n", 0o755)
    listed = libraries | measured([script, "/bin/sh"])
    assert run_strict(listed, program, f"execute:{script}").output == "ran\n"
    script.write_text("#!/bin/sh\necho evil\n")
    done = run_strict(listed, program, f"execute:{script}")
    assert done.output == "execute: EACCES\n"
    assert f"{script}: {CHANGED}" in done.errors


def test_what_is_executed_is_strict_too(program: Path, libraries: dict[str, bytes], tmp_path: Path) -> None:
    data = text_file(tmp_path / "data", "measured\n")
    script = text_file(
        tmp_path / "script", f"#!/bin/sh\nexec {program} read:{data} memfd execute:/bin/true read:{program}\n", 0o755
    )
    listed = libraries | measured([script, "/bin/sh", data])
    done = run_strict(listed, program, f"execute:{script}")
    assert done.output.splitlines()[:4] == [
        "read: [measured]", "memfd: EACCES", "sealed memfd: EACCES", "execute: EACCES",
    ], done.errors  # fmt: skip
    data.write_text("replaced\n")
    assert run_strict(listed, program, f"execute:{script}").output.splitlines()[0] == "read: EACCES"


def test_the_program_of_the_tree_is_what_it_was_at_the_start(
    program: Path, libraries: dict[str, bytes], tmp_path: Path
) -> None:
    """It is measured once, though no manifest lists it, and executed again by its name, and by the kernel's."""
    copy = shutil.copy(program, tmp_path / "copy")
    assert run_strict(libraries, copy, f"execute:{copy}").output == ""
    assert run_strict(libraries | measured([copy]), copy, "execute:/proc/self/exe").output == ""
    pipe = subprocess.PIPE
    with descriptor_of(Manifest(libraries).serialize()) as descriptor:
        command = strict_command(descriptor, copy, f"write:{copy}", "hold:/etc/hostname", f"execute:{copy}")
        with subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=pipe, pass_fds=[descriptor], text=True
        ) as process:
            assert process.stdout
            assert [process.stdout.readline()[-6:] for _ in range(5)] == ["EROFS\n"] * 4 + ["lding\n"]
            with Path(copy).open("ab") as file:
                file.write(b"\0")
            output, errors = process.communicate("\n", timeout=30)
    assert output.splitlines()[-1] == "execute: EACCES"
    assert f"{copy}: {CHANGED}" in errors


def test_programs_by_descriptor(program: Path, libraries: dict[str, bytes], tmp_path: Path) -> None:
    listed = libraries | measured(["/bin/true"])
    assert run_strict(listed, program, "execute-descriptor:/bin/true").output == ""
    done = run_strict(listed, program, "execute-descriptor:/bin/false")
    assert done.output == "execute descriptor: EACCES\n"
    copy = shutil.copy("/bin/true", tmp_path / "copy")
    done = run_strict(listed, program, f"execute-descriptor:{copy}")
    assert done.output == "execute descriptor: EACCES\n", "measured content under a name nobody measured"


def test_a_script_as_the_program_itself(tmp_path: Path) -> None:
    script = text_file(tmp_path / "script", '#!/bin/sh -e\necho "ran $0"\n', 0o755)
    listed = started_with(Path("/bin/sh")) | measured(["/bin/sh"])
    done = run_strict(listed | measured([script]), script)
    assert (done.status, done.output) == (0, f"ran {script}\n"), done.errors
    done = run_strict(started_with(Path("/bin/sh")), script)
    assert (done.status, done.output) == (_abi.EXIT_NOT_EXECUTABLE, "")
    assert f"/bin/sh: {UNLISTED}" in done.errors
