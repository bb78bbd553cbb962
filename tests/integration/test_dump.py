"""Dumps of real processes, opened by the real gdb."""

import json
import os
import resource
import secrets
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from cloister import cli
from cloister.launch.command import RuntimeOptions, enclave_command

SECONDS = 20
SOURCE = r"""
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
char marker[64];
int number = 4242;
static pthread_barrier_t both;  /* nothing is said before the other thread is where it is looked for */
static void *other_thread(void *unused) { pthread_barrier_wait(&both); for (;;) pause(); return unused; }
static void wait_here(void) { puts("ready"); fflush(stdout); for (;;) pause(); }
int main(void) {
    pthread_t thread;
    mmap(0, 1ul << 38, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (!fgets(marker, sizeof marker, stdin)) return 1;
    if (pthread_barrier_init(&both, 0, 2) || pthread_create(&thread, 0, other_thread, 0)) return 1;
    pthread_barrier_wait(&both);
    wait_here();
}
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("program")
    source = directory / "holder.c"
    source.write_text(SOURCE)
    subprocess.run(["cc", "-g", "-O0", "-pthread", "-o", directory / "holder", source], check=True)
    return directory / "holder"


@contextmanager
def running(argv: list[str], text: str) -> Iterator[int]:
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stdin
    assert process.stdout
    try:
        process.stdin.write(text + "\n")
        process.stdin.close()
        assert process.stdout.readline() == "ready\n"
        yield process.pid
        assert process.poll() is None, "the dump ended the program"
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.stdout.close()
        process.wait(SECONDS)


def gdb(program: Path, core: Path, *commands: str) -> str:
    words = [word for command in commands for word in ("-ex", command)]
    done = subprocess.run(
        ["gdb", "-nx", "-batch", "-ex", "set debuginfod enabled off", *words, program, core],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    return done.stdout + done.stderr


def dump(pid: int, core: Path, *options: str) -> dict[str, Any]:
    assert cli.main(["dump", str(pid), "--output", str(core), *options]) == 0
    document = json.loads(Path(f"{core}.json").read_text())
    return dict(document)


@pytest.mark.needs_program("cc", "gdb")
@pytest.mark.parametrize("options", [[], ["--freeze"]])
def test_gdb_shows_symbols_memory_and_backtraces(program: Path, tmp_path: Path, options: list[str]) -> None:
    text = secrets.token_hex(16)
    core = tmp_path / "core"
    with running([str(program)], text) as pid:
        document = dump(pid, core, *options)
    shown = gdb(program, core, "print marker", "print number", "thread apply all backtrace")
    assert f'"{text}' in shown
    assert "= 4242" in shown
    assert "wait_here ()" in shown
    assert "other_thread (" in shown
    process = document["processes"][0]
    assert len(process["threads_with_registers"]) == 2
    assert stat.S_IMODE(core.stat().st_mode) == 0o600
    assert core.stat().st_size < 1 << 30, "reserved addresses take no room"


@pytest.mark.needs_program("cc", "gdb")
def test_without_registers_gdb_still_reads_memory(program: Path, tmp_path: Path) -> None:
    text = secrets.token_hex(16)
    core = tmp_path / "core"
    with running([str(program)], text) as pid:
        document = dump(pid, core, "--no-registers")
    assert f'"{text}' in gdb(program, core, "print marker")
    process = document["processes"][0]
    assert process["threads_with_registers"] == []
    assert process["absences"][0]["reason"] == "not asked for"


@pytest.mark.needs_program("cc")
def test_map_accounts_for_every_byte(program: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with running([str(program)], "x") as pid:
        document = dump(pid, tmp_path / "core", "--json")
        assert json.loads(capsys.readouterr().out) == document
    process = document["processes"][0]
    for mapping in process["mappings"]:
        size = int(mapping["end"], 16) - int(mapping["start"], 16)
        parts = ("read_bytes", "untouched_bytes", "reserved_bytes", "unreadable_bytes")
        assert sum(mapping[part] for part in parts) == size
        assert mapping["unreadable_bytes"] == sum(mapping["unreadable_by_reason"].values())
    assert process["totals"] == document["totals"]
    assert process["totals"]["reserved_bytes"] >= 1 << 38


@pytest.mark.needs_program("cc")
def test_a_dump_is_found_again_by_scan(program: Path, tmp_path: Path) -> None:
    text = secrets.token_hex(16)
    core = tmp_path / "core"
    with running([str(program)], text) as pid:
        dump(pid, core)
    assert cli.main(["scan", str(core), "--secret", text]) == 10
    assert cli.main(["scan", str(core), "--secret", secrets.token_hex(16)]) == 0


@pytest.mark.needs_program("cc", "gdb")
@pytest.mark.needs_runtime
def test_enclaved_program(program: Path, tmp_path: Path) -> None:
    text = secrets.token_hex(16)
    core = tmp_path / "core"
    with running(enclave_command(str(program), [], RuntimeOptions()), text) as pid:
        document = dump(pid, core)
    cores = [path for path in tmp_path.iterdir() if path.suffix != ".json"]
    assert len(cores) == 3
    for path in cores:
        assert cli.main(["scan", str(path), "--secret", text]) == 0
    processes = document["processes"]
    assert [process["role"] for process in processes] == ["program", "guard", "guard"]
    for process in processes:
        assert process["threads_with_registers"] == []
        assert process["absences"][0]["reason"] == "another tracer (a guard) is attached"
        assert process["totals"]["unreadable_by_reason"]["secret memory refused the read (EIO)"] > 0
    assert text not in gdb(program, core, "print marker")


def test_descendants_get_their_own_core(tmp_path: Path) -> None:
    with running(["sh", "-c", "read line; sleep 60 & echo ready; wait"], "x") as pid:
        document = dump(pid, tmp_path / "core")
    processes = document["processes"]
    assert [process["role"] for process in processes] == ["program", "descendant"]
    assert {Path(process["core"]).name for process in processes} == {"core", f"core.{processes[1]['pid']}"}


def test_existing_files_are_not_overwritten(tmp_path: Path) -> None:
    core = tmp_path / "core"
    core.write_text("mine")
    with running(["sh", "-c", "read line; echo ready; sleep 60"], "x") as pid:
        assert cli.main(["dump", str(pid), "--output", str(core)]) == 2
        assert cli.main(["dump", str(pid), "--output", str(tmp_path / "new"), "--map", str(core)]) == 2
    assert core.read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["core"]


def test_half_a_core_is_not_left_behind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with running(["sh", "-c", "read line; echo ready; sleep 60"], "x") as pid:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
        try:
            assert cli.main(["dump", str(pid), "--output", str(tmp_path / "core")]) == 3
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "cannot write the core: File too large" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_no_such_process(tmp_path: Path) -> None:
    process = subprocess.Popen(["true"])
    process.wait()
    assert cli.main(["dump", str(process.pid), "--output", str(tmp_path / "core")]) == 3


def test_stopped_program_stays_stopped(tmp_path: Path) -> None:
    with running(
        [sys.executable, "-c", "input(); print('ready', flush=True); import time; time.sleep(60)"], "x"
    ) as pid:
        os.kill(pid, signal.SIGSTOP)
        dump(pid, tmp_path / "core")
        assert "T (stopped)" in Path(f"/proc/{pid}/status").read_text()
        os.kill(pid, signal.SIGCONT)


def test_signals_reach_the_program_after_a_dump(tmp_path: Path) -> None:
    code = "import signal\nsignal.signal(signal.SIGUSR1, lambda *a: print('caught', flush=True))\ninput()\n"
    code += "print('ready', flush=True)\nwhile True: signal.pause()\n"
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin
    assert process.stdout
    try:
        process.stdin.write("x\n")
        process.stdin.flush()
        assert process.stdout.readline() == "ready\n"
        dump(process.pid, tmp_path / "core", "--freeze")
        os.kill(process.pid, signal.SIGUSR1)
        assert process.stdout.readline() == "caught\n"
    finally:
        process.kill()
        process.stdin.close()
        process.stdout.close()
        process.wait(SECONDS)
