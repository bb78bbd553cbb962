"""A shield policy denies by default: an honest program's calls do not lead past it, whichever way they go."""

import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.security.shielded_runs import PYTHON, Policy, compiled

pytestmark = [pytest.mark.needs_runtime, pytest.mark.needs_root, pytest.mark.needs_program("cc", PYTHON)]
SECRET = b"FUNFOO"
DENIED, READ_ONLY, NOT_PERMITTED, ABSENT, UNSUPPORTED = (
    errno.EACCES,
    errno.EROFS,
    errno.EPERM,
    errno.ENOSYS,
    errno.EOPNOTSUPP,
)
PATHS = """
    open_write open_read open_path creat openat_inherited openat_working dots tmpfile stat access readlink mkdir mkfifo
    symlink link rename unlink truncate chmod chown utime chdir setxattr inotify unix_bind unix_connect read_only
    execve execveat execveat_inherited execveat_no_follow
"""
THROUGH_PROC = """
    proc_root proc_cwd proc_task_root proc_thread_root proc_number_root proc_descriptor proc_task_descriptor
    dev_descriptor proc_map_files
"""
KEPT_BY_THE_KERNEL = "queue message key"
CHANGES_WHAT_PATHS_MEAN = """
    chroot mount umount pivot_root open_tree move_mount fsopen fspick mount_setattr swapon acct quotactl fanotify
"""
NOT_OFFERED = "memory_file openat2 setxattrat getxattrat listxattrat removexattrat file_getattr file_setattr"
EXPECTED = {
    **dict.fromkeys((PATHS + THROUGH_PROC + KEPT_BY_THE_KERNEL).split(), DENIED),
    **dict.fromkeys(CHANGES_WHAT_PATHS_MEAN.split(), NOT_PERMITTED),
    **dict.fromkeys(NOT_OFFERED.split(), ABSENT),
    "read_only_write": READ_ONLY,
    "handle": UNSUPPORTED,
    "name_to_handle": UNSUPPORTED,
}
HARMFUL_WHERE_NOTHING_REFUSES = {"chroot", "swapon", "mount", "pivot_root", "umount", "move_mount", "quotactl"}
"""Ways that the control does not go: they would change the machine that runs the tests, or fail for other reasons."""


@pytest.fixture(scope="module")
def escapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled("escapes", tmp_path_factory.mktemp("escapes"))


@pytest.fixture
def outside(tmp_path: Path, escapes: Path) -> Path:
    """A directory that no region holds."""
    made = tmp_path / "outside"
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "file").write_text("of the host\n")
    made.mkdir()
    (made / "given").write_text("of the host\n")
    (made / "link").symlink_to("given")
    (made / "program").write_bytes(escapes.read_bytes())
    (made / "program").chmod(0o755)
    return made


@pytest.fixture
def inherited(outside: Path) -> Iterator[int]:
    """It is open already when the program starts."""
    number = os.open(outside, os.O_RDONLY)
    yield number
    os.close(number)


def variables(outside: Path, inherited: int) -> dict[str, str]:
    plain = outside.parent / "plain"
    return {
        "OUTSIDE": str(outside),
        "PLAIN": str(plain),
        "PLAIN_FILE": str(plain / "file"),
        "INHERITED": str(inherited),
    }


def state_of(path: Path) -> tuple[int, int, bytes]:
    status = path.lstat()
    content = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
    return status.st_mode, status.st_mtime_ns, content


def snapshot(directory: Path) -> dict[str, tuple[int, int, bytes]]:
    """Everything in it that a program could change."""
    return {str(path): state_of(path) for path in sorted(directory.rglob("*"))}


def answers(said: str) -> dict[str, int]:
    return {name: -int(number) for name, number in (line.split() for line in said.splitlines())}


def test_nothing_that_no_region_holds_is_reached(tmp_path: Path, outside: Path, inherited: int, escapes: Path) -> None:
    plain = str(tmp_path / "plain")
    policy = Policy(
        directory=tmp_path, memory=("/data",), read_only=(plain,), environment=variables(outside, inherited)
    )
    watched = [outside, tmp_path / "plain"]
    before = [snapshot(directory) for directory in watched]
    done = policy.run([str(escapes), *EXPECTED], cwd=outside, pass_fds=[inherited])
    assert answers(done.stdout) == EXPECTED, done.stderr
    assert [snapshot(directory) for directory in watched] == before


def test_control_without_a_policy_these_ways_are_open(outside: Path, inherited: int, escapes: Path) -> None:
    ways = [way for way in EXPECTED if way not in HARMFUL_WHERE_NOTHING_REFUSES and not way.startswith("exec")]
    environment = {**os.environ, **variables(outside, inherited)}
    done = subprocess.run(
        [escapes, *ways], cwd=outside, pass_fds=[inherited], env=environment, capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip
    open_to_all = [way for way, error in answers(done.stdout).items() if error == 0]
    assert {"proc_root", "proc_cwd", "proc_descriptor", "dev_descriptor", "read_only", "unix_bind"} < set(open_to_all)
    assert any(SECRET in content for _, _, content in snapshot(outside).values())


PLANTED = "#!/bin/sh\necho planted by the host\n"
EXECUTING = """
import os, sys
region = sys.argv[1]
with open(f"{region}/tool", "w") as file: file.write("#!/bin/sh\\necho of the volume\\n")
os.chmod(f"{region}/tool", 0o755)
def run(function):
    child = os.fork()
    if not child:
        try: function()
        except OSError as error: os._exit(error.errno)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
words = ["tool"]
around = f"{region}/../{os.path.basename(region)}/tool"
results = [run(lambda: os.execv(f"{region}/tool", words)), run(lambda: os.execv(around, words))]
number = os.open(f"{region}/tool", os.O_RDONLY)
results += [run(lambda: os.execve(number, words, {}))]
os.chdir(region)
results += [run(lambda: os.execv("./tool", words)), run(lambda: os.execv("tool", words))]
print(*results)
"""


def test_the_hosts_program_is_not_taken_for_one_in_a_region(tmp_path: Path) -> None:
    """The host lays a program where the region is, and where the kernel believes the working directory to be."""
    region = tmp_path / "region"
    for place in (region, tmp_path / "here"):
        place.mkdir()
        (place / "tool").write_text(PLANTED)
        (place / "tool").chmod(0o755)
    policy = Policy(directory=tmp_path, strict=False, memory=(str(region),))
    said = policy.python(EXECUTING, str(region), cwd=tmp_path / "here")
    assert said == f"{DENIED} {DENIED} {DENIED} {DENIED} {DENIED}\n"


def test_an_interpreter_of_the_hosts_is_not_taken_for_one_in_a_region(tmp_path: Path) -> None:
    region = tmp_path / "region"
    region.mkdir()
    (region / "interpreter").write_bytes(Path("/bin/true").read_bytes())
    (region / "interpreter").chmod(0o755)
    script = tmp_path / "script"
    script.write_text(f"#!{region}/interpreter\n")
    script.chmod(0o755)
    policy = Policy(directory=tmp_path, strict=False, memory=(str(region),))
    said = policy.python(
        "import os, sys\ntry: os.execv(sys.argv[1], ['x'])\nexcept OSError as e: print(e.errno)", str(script)
    )
    assert said == f"{DENIED}\n"


CHILDREN = """
import os, subprocess, sys
region, elsewhere = sys.argv[1:]
os.chdir(region)
subprocess.run(["/bin/true"], cwd=elsewhere, umask=0o777, check=True)
with open("written", "w") as file: file.write("FUNFOO")
print(os.getcwd() == region, os.path.exists(f"{region}/written"), oct(os.stat("written").st_mode & 0o777))
os.mkdir(f"{region}/below")
os.chdir(elsewhere)
said = subprocess.run(["/bin/pwd"], cwd=f"{region}/below", capture_output=True, check=True).stdout
print(said.decode().strip() == f"{region}/below")
print(os.getcwd() == elsewhere)
"""


def test_a_child_that_changes_its_directory_does_not_move_its_parent(tmp_path: Path) -> None:
    """A vfork child shares its parent's memory. What the parent writes goes into the region still."""
    (tmp_path / "elsewhere").mkdir()
    policy = Policy(directory=tmp_path, strict=False, memory=("/data",))
    said = policy.python(CHILDREN, "/data", str(tmp_path / "elsewhere"), cwd=tmp_path)
    assert said == "True True 0o644\nTrue\nTrue\n"
    assert not list((tmp_path / "elsewhere").iterdir())


AGAIN = """
import os, subprocess
with open("/data/file", "w") as file: file.write("content")
number = os.open("/data/file", os.O_RDONLY)
for path in (f"/proc/self/fd/{number}", f"/dev/fd/{number}", f"/proc/thread-self/fd/{number}"):
    with open(path) as file: print(file.read(), os.stat(path).st_size)
with open("/data/file") as given:
    print(subprocess.run(["/bin/cat", "/dev/stdin"], stdin=given, capture_output=True).stdout.decode())
with open(f"/proc/self/fd/{number}", "a") as file: file.write(" and more")
print(open("/data/file").read())
"""


def test_a_shielded_file_that_is_opened_by_its_descriptor_is_the_file(tmp_path: Path) -> None:
    """The kernel has an empty file behind that number, which must never pass for the content."""
    said = Policy(directory=tmp_path, strict=False, memory=("/data",)).python(AGAIN)
    assert said.splitlines() == ["content 7", "content 7", "content 7", "content", "content and more"]


GIVING = """
import array, ctypes, os, socket
libc = ctypes.CDLL(None, use_errno=True)
with open("/data/file", "w") as file: file.write("FUNFOO")
number = os.open("/data/file", os.O_RDWR)
one, other = socket.socketpair()
def error(result): return ctypes.get_errno() if result < 0 else 0
def sent(fds):
    try: one.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))])
    except OSError as error: return error.errno
    return 0
print(sent([number]), sent([1, number]), sent([1]))
process = os.pidfd_open(os.getpid())
print(error(libc.syscall(438, process, number, 0)))
print(error(libc.unshare(0x400)), error(libc.unshare(0x200)), error(libc.close_range(100, 200, 2)))
class Vector(ctypes.Structure): _fields_ = [("at", ctypes.c_char_p), ("size", ctypes.c_size_t)]
print(error(libc.vmsplice(number, ctypes.byref(Vector(b"FUNFOO", 6)), 1, 0)))
"""


def test_shielded_descriptors_are_not_given_past_the_table(tmp_path: Path) -> None:
    said = Policy(directory=tmp_path, strict=False, memory=("/data",)).python(GIVING)
    assert said.splitlines() == [
        f"{NOT_PERMITTED} {NOT_PERMITTED} 0",
        f"{NOT_PERMITTED}",
        f"{NOT_PERMITTED} {NOT_PERMITTED} {errno.EINVAL}",
        f"{errno.EBADF}",
    ]


WATCHING = """
import ctypes, os, socket
libc = ctypes.CDLL(None, use_errno=True)
os.mkdir("/data/below")
print(libc.inotify_add_watch(libc.inotify_init(), b"/data/below", 2), ctypes.get_errno())
for path in ("/data/below/socket", "below/socket"):
    os.chdir("/data")
    try: socket.socket(socket.AF_UNIX).bind(path)
    except OSError as error: print(error.errno)
os.chdir("/")
socket.socket(socket.AF_UNIX).bind("\\0abstract-cloister-test")
print("bound")
"""


def test_names_in_a_region_are_not_told_to_the_kernel(tmp_path: Path) -> None:
    said = Policy(directory=tmp_path, strict=False, memory=("/data",)).python(WATCHING)
    assert said.splitlines() == [f"-1 {errno.ENOSPC}", f"{DENIED}", f"{DENIED}", "bound"]
