"""Real programs on a machine without a TEE: C libraries decide which system calls there are, and in which form."""

import contextlib
import io
import sqlite3
import subprocess
from pathlib import Path

import pytest

from cloister.emulate.machine import Ending, Shape
from cloister.emulate.native import NativeMachine
from cloister.emulate.terminal import sealed_terminal
from cloister.measure.image import read_image

SOURCE = Path(__file__).with_name("emulate_linux_calls.c")
BUSYBOX = "/bin/busybox"
BUILDS = [
    pytest.param(*build, marks=pytest.mark.needs_program(build[0]), id=" ".join(build))
    for build in (
        ("gcc", "-static"),
        ("gcc", "-static-pie"),
        ("musl-gcc", "-static"),
        ("aarch64-linux-gnu-gcc", "-static"),
        ("aarch64-linux-gnu-gcc", "-static-pie"),
        ("riscv64-linux-gnu-gcc", "-static"),
    )
]
DATABASE = """
#include <sqlite3.h>
#include <stdio.h>

static int row(void *unused, int count, char **values, char **names) {
    (void)unused, (void)count, (void)names;
    return puts(values[0]) < 0;
}

int main(int count, char **arguments) {
    sqlite3 *database;
    int failed = sqlite3_open(arguments[1], &database);
    for (int i = 2; i < count && !failed; i++)
        failed = sqlite3_exec(database, arguments[i], row, NULL, NULL);
    printf("%s\\n", sqlite3_errmsg(database));
    return sqlite3_close(database) || failed;
}
"""


def run(program: Path, *arguments: str, typed: bytes = b"") -> tuple[Ending, bytes]:
    """Run a program to its end on a machine of its architecture: how it ended, and its output."""
    image, output = read_image(program.read_bytes()), bytearray()

    class Machine(NativeMachine):
        architecture = image.architecture

    machine = Machine(Shape(memory=16384, frames=1024), sealed_terminal(io.BytesIO(typed).read1, output.extend))
    try:
        machine.launch(image)
        machine.start([str(program), *arguments], {"NAME": "value"})
        return machine.run(), bytes(output)
    finally:
        machine.close()


def busybox(*arguments: str, typed: bytes = b"") -> bytes:
    ending, output = run(Path(BUSYBOX), *arguments, typed=typed)
    assert ending == Ending(0)
    return output


@pytest.mark.parametrize(("compiler", "linking"), BUILDS)
def test_what_a_c_library_asks_for(tmp_path: Path, compiler: str, linking: str) -> None:
    program = tmp_path / "program"
    subprocess.run([compiler, linking, "-O1", "-o", program, SOURCE], check=True)
    work = tmp_path / "work"
    work.mkdir()
    ending, output = run(program, str(work))
    assert output == b"everything holds\n"
    assert ending == Ending(134), "abort is a signal, 128 + 6"
    assert not list(work.iterdir())


@pytest.mark.needs_program("busybox")
def test_busybox_applets_give_what_they_give_elsewhere(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"pear 2\napple 1\ncherry 3\n" * 500)
    for applet in (("cat",), ("sort", "-u"), ("wc",), ("grep", "-c", "pear"), ("sha256sum",), ("tail", "-n", "2")):
        arguments = [*applet, str(path)]
        native = subprocess.run([BUSYBOX, *arguments], capture_output=True, check=True)
        assert busybox(*arguments) == native.stdout, applet
    assert busybox("awk", "{sum += $2} END {print sum}", str(path)) == b"3000\n"
    listed = subprocess.run([BUSYBOX, "ls", "-1", str(tmp_path)], capture_output=True, check=True)
    assert busybox("ls", "-1", str(tmp_path)) == listed.stdout


@pytest.mark.needs_program("busybox")
def test_input_comes_from_the_owner() -> None:
    assert busybox("tr", "a-z", "A-Z", typed=b"typed\n") == b"TYPED\n"


@pytest.mark.needs_program("gcc")
def test_sqlite_keeps_a_database_in_a_file(tmp_path: Path) -> None:
    source, program, path = (tmp_path / name for name in ("database.c", "database", "file.db"))
    source.write_text(DATABASE)
    built = subprocess.run(
        ["gcc", "-static", "-o", program, source, "-lsqlite3", "-lm"], capture_output=True, text=True, check=False
    )
    if built.returncode != 0:
        pytest.skip("SQLite's static library is not installed (libsqlite3-dev)")
    counting = "with recursive c(x) as (values(1) union all select x + 1 from c where x < 2000)"
    numbers = f"{counting} insert into t select x from c"  # noqa: S608 - constants
    ending, output = run(program, str(path), "create table t(a)", "begin", numbers, "commit", "select sum(a) from t")
    assert (ending, output) == (Ending(0), b"2001000\nnot an error\n")
    ending, output = run(program, str(path), "delete from t where a > 10", "vacuum", "pragma integrity_check")
    assert (ending, output) == (Ending(0), b"ok\nnot an error\n")
    with contextlib.closing(sqlite3.connect(path)) as database:
        assert database.execute("select count(*), sum(a) from t").fetchall() == [(10, 55)]
