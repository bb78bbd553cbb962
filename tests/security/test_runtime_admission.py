"""Strict enclaves against a host that races: what was not measured never runs, whatever changes while it is opened.

Each attack has its control: the same attack on an enclave that is not strict, where it succeeds.
"""

import contextlib
import os
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.integration.runtime_programs.arms import Outcome, enclaved
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
from cloister.launch.runtime_file import runtime_path
from cloister.measure.software import Manifest

pytestmark = pytest.mark.needs_runtime

GOOD, EVIL = 7, 66
RACING = 1.5
"""Seconds for each race: some hundreds of opens on a machine that is not busy."""
ROUNDS = 8
CODE = {answer: b"\xb8" + answer.to_bytes(4, "little") for answer in (GOOD, EVIL)}
"""mov $answer, %eax"""
Attack = Callable[[int, threading.Event], None]


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("races")


@pytest.fixture(scope="module")
def program(programs: Path) -> Path:
    return scenarios(programs)


@pytest.fixture(scope="module")
def libraries(program: Path) -> dict[str, bytes]:
    return started_with(program)


def raced(command: list[str], attack: Attack, descriptor: int | None = None) -> dict[int, int]:
    """What a program that loads a library again and again got meanwhile: answer -> how often; -1 for refusals."""
    pipe, stop = subprocess.PIPE, threading.Event()
    with subprocess.Popen(
        command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True,
        pass_fds=() if descriptor is None else (descriptor,),
    ) as process:  # fmt: skip
        assert process.stdout
        assert process.stdout.readline() == "again\n"
        attacker = threading.Thread(target=attack, args=(process.pid, stop))
        attacker.start()
        time.sleep(RACING)
        stop.set()
        attacker.join()
        output, _ = process.communicate("\n", timeout=60)
    lines = [line.split() for line in output.splitlines()]
    return {-1 if line[0] == "refused" else int(line[1]): int(line[-1]) for line in lines}


def both(
    program: Path, files: dict[str, bytes], path: Path, attack: Attack, expected: int, *, needs_control: bool = True
) -> tuple[Counter[int], Counter[int]]:
    """The attack on a strict enclave, and its control.

    Once more, and again, while there was no time for the control to succeed and for the strict one to show `expected`.
    """
    strict: Counter[int] = Counter()
    control: Counter[int] = Counter()
    for _ in range(ROUNDS):
        with descriptor_of(Manifest(files).serialize()) as descriptor:
            strict.update(raced(strict_command(descriptor, program, f"dlopen-again:{path}"), attack, descriptor))
        control.update(raced(enclaved(program, f"dlopen-again:{path}"), attack))
        if strict[EVIL] or (strict[expected] and (control[EVIL] or not needs_control)):
            break
    return strict, control


def swapping(swap: Callable[[int], object]) -> Attack:
    """An attack that goes to and fro until it is stopped."""

    def attack(_pid: int, stop: threading.Event) -> None:
        turn = 0
        while not stop.is_set():
            swap(turn % 2)
            turn += 1
            time.sleep(0.0003 * (turn % 7))

    return attack


def judge(strict: Counter[int], control: Counter[int]) -> None:
    assert control[EVIL] > 0, f"the control: the attack works ({control})"
    assert {answer for answer, times in strict.items() if times} <= {GOOD, -1}, strict
    assert strict[GOOD] > 0, f"it was loaded between the attacks ({strict})"


def pair(place: Path) -> tuple[Path, Path]:
    """The measured library, and another with the same name."""
    for name in ("good", "evil"):
        (place / name).mkdir()
    return library(place / "good" / "libanswer.so", GOOD), library(place / "evil" / "libanswer.so", EVIL)


def test_a_file_that_is_replaced_while_it_is_opened(program: Path, libraries: dict[str, bytes], tmp_path: Path) -> None:
    contents = [path.read_bytes() for path in pair(tmp_path)]
    path, other = tmp_path / "libanswer.so", tmp_path / "next"
    path.write_bytes(contents[0])

    def swap(turn: int) -> None:
        other.write_bytes(contents[turn])
        other.rename(path)

    judge(*both(program, libraries | measured([path]), path, swapping(swap), GOOD))


def test_a_file_that_is_written_while_it_is_read(program: Path, libraries: dict[str, bytes], tmp_path: Path) -> None:
    """The same inode: what was hashed is no longer what stands in the file."""
    path = library(tmp_path / "libanswer.so", GOOD)
    at = path.read_bytes().index(CODE[GOOD])
    files = libraries | measured([path])
    with path.open("r+b", buffering=0) as file:
        swap = swapping(lambda turn: os.pwrite(file.fileno(), CODE[(GOOD, EVIL)[turn]], at))
        judge(*both(program, files, path, swap, GOOD))


def test_a_link_on_the_way_that_is_turned(program: Path, libraries: dict[str, bytes], tmp_path: Path) -> None:
    good, evil = pair(tmp_path)
    current, other = tmp_path / "current", tmp_path / "next"
    current.symlink_to(good.parent)

    def swap(turn: int) -> None:
        other.symlink_to((good, evil)[turn].parent)
        other.rename(current)

    path = current / "libanswer.so"
    judge(*both(program, libraries | measured([path]), path, swapping(swap), GOOD))


# ---- copies that are not sealed yet


def large_library(place: Path, answer: int) -> Path:
    """A library whose copy takes some milliseconds: an administrator finds it while it is made."""
    source, path = place / "large.c", place / "liblarge.so"
    source.write_text(
        f"const char room[8 << 20] = {{1}};\nint answer(void) {{ return {answer}; }}\n"
        "const char *at(void) { return room; }\n"
    )
    subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-o", path, source], check=True)
    return path


def copies(pid: int) -> Iterator[str]:
    """Descriptors of the program that are copies in the making, or finished ones."""
    with contextlib.suppress(OSError):
        for name in os.listdir(f"/proc/{pid}/fd"):
            path = f"/proc/{pid}/fd/{name}"
            with contextlib.suppress(OSError):
                if _abi.MEMFD_TEXT in os.readlink(path):
                    yield path


def write_over(path: str, at: int, *, size: int, image: bool) -> None:
    """Write into a copy until its seal refuses it."""
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDWR)
        try:
            if (os.fstat(descriptor).st_size != size) == image:
                for _ in range(2000):
                    os.pwrite(descriptor, CODE[EVIL], at)
        finally:
            os.close(descriptor)


@pytest.mark.needs_root
@pytest.mark.parametrize("image", [False, True], ids=["the copy that is hashed", "the image that is made of it"])
def test_a_copy_that_is_written_before_its_seal(
    program: Path,
    libraries: dict[str, bytes],
    tmp_path: Path,
    image: bool,  # noqa: FBT001
) -> None:
    """Root can open both until they are sealed. The image is larger: stubs stand behind the file's bytes."""
    path = large_library(tmp_path, GOOD)
    data = path.read_bytes()

    def attack(pid: int, stop: threading.Event) -> None:
        while not stop.is_set():
            for copy in copies(pid):
                write_over(copy, data.index(CODE[GOOD]), size=len(data), image=image)

    strict, control = both(program, libraries | measured([path]), path, attack, -1, needs_control=image)
    if image:
        assert control[EVIL] > 0, f"the control: the attack works ({control})"
    assert {answer for answer, times in strict.items() if times} <= {GOOD, -1}, strict
    assert strict[-1] > 0, f"attacks were in time, and were noticed ({strict})"


# ---- names that lead elsewhere


def test_the_program_itself_is_swapped_at_its_start(tmp_path: Path) -> None:
    contents = []
    for word in ("good", "evil"):
        source, target = tmp_path / f"{word}.c", tmp_path / word
        source.write_text(f'#include <stdio.h>\nint main(void) {{ puts("{word}"); return 0; }}\n')
        subprocess.run(["cc", "-static", "-o", target, source], check=True)
        contents.append(target.read_bytes())
    path, other, stop = tmp_path / "program", tmp_path / "next", threading.Event()
    path.write_bytes(contents[0])
    path.chmod(0o755)
    files = measured([path])

    def swap(turn: int) -> None:
        other.write_bytes(contents[turn])
        other.chmod(0o755)
        other.rename(path)

    attacker = threading.Thread(target=swapping(swap), args=(0, stop))
    attacker.start()
    try:
        done = [run_strict(files, path) for _ in range(40)]
    finally:
        stop.set()
        attacker.join()
    assert {one.output for one in done} <= {"good\n", ""}
    assert any(one.output for one in done)
    assert all(one.status == (0 if one.output else _abi.EXIT_NOT_EXECUTABLE) for one in done), done


def test_a_library_path_that_the_host_chose(libraries: dict[str, bytes], tmp_path: Path) -> None:
    good, evil = pair(tmp_path)
    source, target = tmp_path / "a.c", tmp_path / "a"
    source.write_text(
        '#include <stdio.h>\nint answer(void);\nint main(void) { printf("%d\\n", answer()); return 0; }\n'
    )
    subprocess.run(
        ["cc", "-o", target, source, f"-L{good.parent}", "-lanswer", f"-Wl,-rpath,{good.parent}"], check=True
    )
    files = libraries | measured([good])
    assert run_strict(files, target).output == f"{GOOD}\n"
    redirected = {**os.environ, "LD_LIBRARY_PATH": str(evil.parent)}
    control = subprocess.run(enclaved(target), env=redirected, capture_output=True, text=True, check=False)
    assert control.stdout == f"{EVIL}\n", "the control"
    done = run_strict(files, target, environment=redirected)
    assert (done.output, done.status != 0) == ("", True)
    assert str(evil) in done.errors


@pytest.mark.needs_root
@pytest.mark.needs_program("ldconfig", "unshare", "mount")
def test_the_loaders_cache_is_measured(program: Path, libraries: dict[str, bytes], tmp_path: Path) -> None:
    """Two versions are listed; the host's cache gives the one for the other."""
    versions = [library(tmp_path / name / "libanswer.so.1", answer) for name, answer in made(tmp_path)]
    caches = [tmp_path / f"{path.parent.name}.cache" for path in versions]
    for path, cache in zip(versions, caches, strict=True):
        config = cache.with_suffix(".conf")
        config.write_text(f"{path.parent}\n")
        subprocess.run(["/sbin/ldconfig", "-X", "-C", cache, "-f", config], check=True, capture_output=True)
    files = {path: digest for path, digest in libraries.items() if path != "/etc/ld.so.cache"} | measured(versions)
    listed = files | {"/etc/ld.so.cache": next(iter(measured([caches[0]]).values()))}
    assert with_cache(caches[0], listed, program).output == f"dlopen: {GOOD}\n"
    assert with_cache(caches[1], files, program).output == f"dlopen: {EVIL}\n", "the control: a cache nobody measured"
    assert with_cache(caches[1], listed, program).output == "dlopen: refused\n"


def made(place: Path) -> Iterator[tuple[str, int]]:
    for name, answer in (("new", GOOD), ("old", EVIL)):
        (place / name).mkdir()
        yield name, answer


def with_cache(cache: Path, files: dict[str, bytes], program: Path) -> Outcome:
    """Run in a mount namespace of its own, where /etc/ld.so.cache is another file."""
    with descriptor_of(Manifest(files).serialize()) as descriptor:
        script = 'mount --bind "$0" /etc/ld.so.cache && exec "$@"'
        command = strict_command(descriptor, program, "dlopen:libanswer.so.1")
        done = subprocess.run(
            ["unshare", "--mount", "sh", "-c", script, cache, *command],
            capture_output=True, text=True, check=False, timeout=60, pass_fds=[descriptor],
        )  # fmt: skip
    return Outcome(status=done.returncode, output=done.stdout, errors=done.stderr)


def test_code_by_a_descriptor_that_only_names_it(program: Path, libraries: dict[str, bytes], tmp_path: Path) -> None:
    """open(2) with O_PATH, then /proc/self/fd: another name for the file as it is now."""
    path = library(tmp_path / "libanswer.so", GOOD)
    done = run_strict(libraries | measured([path]), program, f"by-descriptor:{path}")
    assert done.output == "by descriptor: EACCES\n"


def test_a_manifest_that_changes_after_the_start(program: Path, libraries: dict[str, bytes], tmp_path: Path) -> None:
    path = library(tmp_path / "libanswer.so", GOOD)
    pipe = subprocess.PIPE
    with descriptor_of(Manifest(libraries).serialize()) as descriptor:
        command = strict_command(descriptor, program, "hold:/etc/hostname", f"dlopen:{path}")
        with subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=pipe, pass_fds=[descriptor], text=True
        ) as process:
            assert process.stdout
            assert process.stdout.readline() == "holding\n"
            os.pwrite(descriptor, Manifest(libraries | measured([path])).serialize(), 0)
            output, _ = process.communicate("\n", timeout=30)
    assert output.splitlines()[-1] == "dlopen: refused"


FORGED = (
    "mount -t tmpfs none /proc && mkdir -p /proc/self/fd && for i in $(seq 0 40); do cp {evil} /proc/self/fd/$i; done"
)


@pytest.mark.needs_root
@pytest.mark.needs_program("unshare", "mount")
def test_a_proc_that_the_host_forged(program: Path, libraries: dict[str, bytes], tmp_path: Path) -> None:
    """Copies are opened once more by /proc/self/fd, and directories named by it: both would be the host's word."""
    good, evil = tmp_path / "good", tmp_path / "evil"
    good.write_text("measured\n")
    evil.write_text("evil\n")
    words = [f"read:{good}", f"dlopen:{library(tmp_path / 'libanswer.so', GOOD)}", f"directory:{tmp_path}"]
    (tmp_path / "unlisted").write_text("unlisted\n")
    files = libraries | measured([good, tmp_path / "libanswer.so"])
    with descriptor_of(Manifest(files).serialize()) as descriptor:
        script = f'{FORGED.format(evil=evil)}; cat /proc/self/fd/3; exec "$@"'
        done = subprocess.run(
            ["unshare", "--mount", "sh", "-c", script, "sh", *strict_command(descriptor, program, *words)],
            capture_output=True, text=True, check=False, timeout=60, pass_fds=[descriptor],
        )  # fmt: skip
    control, *lines = done.stdout.splitlines()
    assert control == "evil", "the control: it is forged"
    assert lines == ["read: [measured]", f"dlopen: {GOOD}", "directory: done", "in directory: EACCES"]


# ---- the command line of a new image, which comes through ordinary memory


def command_line(pid: int) -> tuple[int, bytes]:
    """Where the kernel's copy stands in the process, and what it says."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    start, end = int(fields[45]), int(fields[46])
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        return start, os.pread(memory.fileno(), end - start, start)


def children_of(pid: int) -> list[int]:
    with contextlib.suppress(OSError):
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def changing(before: bytes, after: bytes, hits: list[int]) -> Attack:
    """An attack that changes words of the command lines of what the program executes."""

    def attack(pid: int, stop: threading.Event) -> None:
        while not stop.is_set():
            for child in children_of(pid):
                with contextlib.suppress(OSError, IndexError):
                    start, words = command_line(child)
                    if (at := words.find(before)) >= 0:
                        with Path(f"/proc/{child}/mem").open("r+b", buffering=0) as memory:
                            hits.append(os.pwrite(memory.fileno(), after, start + at))

    return attack


def executed_again(command: list[str], attack: Attack, descriptor: int) -> tuple[str, str]:
    """What a shell that executes a program many times got and said meanwhile."""
    stop, pipe = threading.Event(), subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, pass_fds=[descriptor]) as process:
        attacker = threading.Thread(target=attack, args=(process.pid, stop))
        attacker.start()
        output, errors = process.communicate(timeout=100)
        stop.set()
        attacker.join()
    return output, errors


CHANGES = {
    "another measured program": (b"/bin/echo\0", b"/bin/true\0"),
    "a program nobody measured": (b"/bin/echo\0", b"/bin/date\0"),
    "no block": (b"--handoff-fd=", b"--report=/tm/"),
}


@pytest.mark.needs_root
@pytest.mark.parametrize("what", CHANGES)
def test_the_command_line_of_what_is_executed(what: str) -> None:
    """Root writes into it between execve(2) and the runtime's reading. The sealed block says which program it is."""
    before, after = CHANGES[what]
    files = started_with(Path("/bin/sh")) | measured(["/bin/echo", "/bin/true"])
    script = "i=0; while [ $i -lt 60 ]; do i=$((i+1)); /bin/echo right || echo refused; done"
    hits: list[int] = []
    with descriptor_of(Manifest(files).serialize()) as descriptor:
        command = strict_command(descriptor, "/bin/sh", "-c", script)
        output, errors = executed_again(command, changing(before, after, hits), descriptor)
    assert any(hits), "the attack was in time at least once"
    assert set(output.split()) <= {"right", "refused"}, (output, errors)
    assert output.split().count("right") + output.split().count("refused") == 60
    assert "right" in output


def symbol(name: str) -> int:
    """Where a function of the runtime stands, in every process."""
    listing = subprocess.run(["nm", runtime_path()], check=True, capture_output=True, text=True).stdout
    return next(int(line.split()[0], 16) for line in listing.splitlines() if line.split()[-1] == name)


RETURN_1 = b"\xb8\x01\0\0\0\xc3"  # mov $1, %eax; ret


def writing(place: Callable[[int], int], data: bytes, hits: list[int]) -> Attack:
    """An attack that writes into new images of the runtime, before anything of theirs is sealed."""

    def attack(pid: int, stop: threading.Event) -> None:
        while not stop.is_set():
            for child in children_of(pid):
                with contextlib.suppress(OSError, IndexError):
                    if b"--handoff-fd" in command_line(child)[1]:
                        with Path(f"/proc/{child}/mem").open("r+b", buffering=0) as memory:
                            hits.append(os.pwrite(memory.fileno(), data, place(child)))

    return attack


def vdso_of(pid: int) -> int:
    """Where the kernel's own vDSO is mapped; IndexError once it is sealed."""
    lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    return int(next(iter([line for line in lines if line.endswith("[vdso]")][:1] or [""])).split("-")[0] or "0", 16)


def written_images(program: Path, word: str, files: dict[str, bytes], attack: Attack) -> list[str]:
    """What a program said that a shell executed again and again meanwhile; "refused" where it was not started."""
    script = f"i=0; while [ $i -lt 40 ]; do i=$((i+1)); {program} {word} || echo refused; done"
    listed = files | started_with(Path("/bin/sh")) | measured([program])
    with descriptor_of(Manifest(listed).serialize()) as descriptor:
        output, _ = executed_again(strict_command(descriptor, "/bin/sh", "-c", script), attack, descriptor)
    return output.splitlines()


@pytest.mark.needs_root
@pytest.mark.needs_program("nm")
def test_the_text_of_a_new_image(program: Path, libraries: dict[str, bytes]) -> None:
    """Root writes into the runtime's text after execve(2), before it is sealed: strict would be what root says."""
    hits: list[int] = []
    at = symbol("measured_is_copy")
    lines = written_images(program, "memfd", libraries, writing(lambda _: at, RETURN_1, hits))
    assert any(hits), "the attack was in time at least once"
    assert set(lines) <= {"memfd: EACCES", "sealed memfd: EACCES", "refused"}
    assert "memfd: EACCES" in lines


@pytest.mark.needs_root
def test_the_vdso_of_a_new_image(program: Path, libraries: dict[str, bytes]) -> None:
    """Code that the kernel maps into every process, which nobody measures: root may not change it either."""
    hits: list[int] = []
    lines = written_images(program, "vdso", libraries, writing(lambda pid: vdso_of(pid) + 9, b"\x01", hits))
    assert any(hits), "the attack was in time at least once"
    assert set(lines) <= {"vdso: 0", "refused"}
    assert "vdso: 0" in lines


# ---- what was refused


def catch_copy(pid: int, size: int) -> int:
    """A descriptor of a copy of that size, taken while the program makes it."""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        for copy in copies(pid):
            with contextlib.suppress(OSError):
                descriptor = os.open(copy, os.O_RDONLY)
                if os.fstat(descriptor).st_size == size:
                    return descriptor
                os.close(descriptor)
    raise AssertionError("no copy could be caught")


@pytest.mark.needs_root
@pytest.mark.parametrize("changed", [True, False], ids=["a refused copy", "control: the measured one"])
def test_a_refused_copy_does_not_come_in_by_another_name(
    program: Path,
    libraries: dict[str, bytes],
    tmp_path: Path,
    changed: bool,  # noqa: FBT001
) -> None:
    """Root keeps the copy that was refused, and makes a name that nobody listed lead to it."""
    path, unlisted, pipe = large_library(tmp_path, GOOD), tmp_path / "unlisted.so", subprocess.PIPE
    files = libraries | measured([path])
    if changed:
        large_library(tmp_path, EVIL)
    with descriptor_of(Manifest(files).serialize()) as manifest:
        words = strict_command(manifest, program, f"dlopen-again:{path}", f"dlopen:{unlisted}")
        with subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=pipe, text=True, pass_fds=(manifest,)) as process:
            assert process.stdout
            assert process.stdout.readline() == "again\n"
            caught = catch_copy(process.pid, path.stat().st_size)
            unlisted.symlink_to(f"/proc/{os.getpid()}/fd/{caught}")
            output, errors = process.communicate("\n", timeout=60)
            os.close(caught)
    last = output.splitlines()[-1]
    if changed:
        assert str(EVIL) not in last, output
        assert "the manifest does not list it" in errors
    else:
        assert str(GOOD) in last, output
