"""The first stack, identity, signals, time, and calls that do not exist."""

import errno
import signal
import struct
import time

import pytest
from tests.unit.emulate_linux_space import CODE, SCRATCH, Bench, PagedSpace, honest, image

from cloister.emulate.linux.outcome import Ended
from cloister.emulate.linux.process import ShimOptions
from cloister.emulate.linux.shim import Shim
from cloister.errors import CannotEnclave
from cloister.measure.image import PAGE, Architecture, ImagePage, Permission, with_page


@pytest.fixture(params=list(Architecture))
def bench(request: pytest.FixtureRequest) -> Bench:
    return honest(architecture=request.param)[0]


def text(bench: Bench, address: int) -> bytes:
    found = b""
    while (one := bench.memory(1, address + len(found))) != b"\0":
        found += one
    return found


def test_the_first_stack(bench: Bench) -> None:
    assert bench.stack % 16 == 0
    words = struct.unpack("<40Q", bench.memory(320, bench.stack))
    assert words[0] == 2
    assert [text(bench, one) for one in words[1:3]] == [b"/bin/program", b"one"]
    assert words[3] == 0
    assert text(bench, words[4]) == b"HOME=/"
    assert words[5] == 0
    auxiliary = dict(zip(words[6::2], words[7::2], strict=False))
    assert (auxiliary[3], auxiliary[4], auxiliary[5]) == (CODE + 0x40, 56, 3)
    assert (auxiliary[6], auxiliary[9], auxiliary[23]) == (PAGE, CODE + 64, 0)
    assert text(bench, auxiliary[31]) == b"/bin/program"
    assert len(set(bench.memory(16, auxiliary[25]))) > 4


def test_a_program_where_the_stack_must_be_is_refused() -> None:
    program = with_page(image(Architecture.RISCV64), ImagePage(0x3F_FFFF_E000, Permission.READ, bytes(PAGE)))
    space = PagedSpace(Architecture.RISCV64)
    with pytest.raises(CannotEnclave, match="stack"):
        Shim(space, bytes, ShimOptions(unsafe_plain_console=True)).start(program, [b"x"], [])
    with pytest.raises(CannotEnclave, match="arguments"):
        Shim(space, bytes, ShimOptions(unsafe_plain_console=True)).start(image(), [b"x" * (1 << 21)], [])


def test_options_that_make_no_sense() -> None:
    with pytest.raises(ValueError, match="console_key"):
        ShimOptions()
    with pytest.raises(ValueError, match="console_key"):
        ShimOptions(console_key=bytes(32), unsafe_plain_console=True)
    with pytest.raises(ValueError, match="absolute"):
        ShimOptions(unsafe_plain_console=True, directory="here")
    with pytest.raises(ValueError, match="stack"):
        ShimOptions(unsafe_plain_console=True, stack_size=5000)
    assert "secret" not in repr(ShimOptions(console_key=b"secret" * 5 + b"..")), "a key is not shown"


def test_identity_comes_from_inside(bench: Bench) -> None:
    asked = bench.shim.host_calls
    assert bench.call("getpid") == bench.call("gettid") == 1000
    assert bench.call("getuid") == bench.call("getegid") == 1000
    assert bench.call("uname", SCRATCH) == 0
    assert bench.memory(5) == b"Linux"
    assert bench.call("getrandom", SCRATCH, 4096, 0) == 4096
    assert len(set(bench.memory(4096))) > 200
    assert bench.call("prlimit64", 0, 3, 0, SCRATCH) == 0
    assert struct.unpack("<QQ", bench.memory(16)) == (16 * PAGE, 16 * PAGE)
    assert bench.call("sysinfo", SCRATCH) == 0
    assert struct.unpack_from("<Q", bench.memory(48), 40)[0] == bench.space.free_memory()
    assert bench.call("sched_getaffinity", 0, 128, SCRATCH) == 8
    assert bench.shim.host_calls == asked


def test_the_thread_pointer() -> None:
    bench, _ = honest()
    assert bench.call("arch_prctl", 0x1002, 0x1234_5000) == 0
    assert bench.space.thread_pointer == 0x1234_5000
    assert bench.call("arch_prctl", 0x1003, SCRATCH) == 0
    assert int.from_bytes(bench.memory(8), "little") == 0x1234_5000
    assert bench.call("arch_prctl", 0x3001, 0) == -errno.EINVAL


def test_calls_that_do_not_exist_are_counted_by_name(bench: Bench) -> None:
    assert bench.call("clone", 0) == -errno.ENOSYS
    assert bench.call("execve", 0) == -errno.ENOSYS
    assert bench.call("clone", 0) == -errno.ENOSYS
    assert bench.shim.call(99_999, [0] * 6) == -errno.ENOSYS
    assert bench.shim.refused == {"clone": 2, "execve": 1, "number 99999": 1}


def test_signals_end_the_program_or_nothing(bench: Bench) -> None:
    assert bench.outcome("exit_group", 0x1_0003) == Ended(3)
    assert bench.outcome("tgkill", 1000, 1000, signal.SIGABRT) == Ended(134, signal.SIGABRT)
    assert bench.call("kill", 1000, signal.SIGCHLD) == 0
    assert bench.call("kill", 1, signal.SIGKILL) == -errno.ESRCH
    bench.space.write(SCRATCH, struct.pack("<4Q", 1, 0, 0, 0))
    assert bench.call("rt_sigaction", signal.SIGTERM, SCRATCH, 0, 8) == 0
    assert bench.call("kill", 1000, signal.SIGTERM) == 0
    bench.space.write(SCRATCH, struct.pack("<4Q", CODE, 7, 0, 0))
    assert bench.call("rt_sigaction", signal.SIGTERM, SCRATCH, SCRATCH + 64, 8) == 0
    assert int.from_bytes(bench.memory(8, SCRATCH + 64), "little") == 1
    assert bench.call("kill", 1000, signal.SIGTERM) == -errno.ENOSYS
    assert bench.call("rt_sigaction", signal.SIGKILL, SCRATCH, 0, 8) == -errno.EINVAL


def test_the_signal_mask_is_kept(bench: Bench) -> None:
    bench.space.write(SCRATCH, (0b110).to_bytes(8, "little"))
    assert bench.call("rt_sigprocmask", 0, SCRATCH, 0, 8) == 0
    bench.space.write(SCRATCH, (0b010).to_bytes(8, "little"))
    assert bench.call("rt_sigprocmask", 1, SCRATCH, SCRATCH + 8, 8) == 0
    assert bench.call("rt_sigprocmask", 0, 0, SCRATCH + 16, 8) == 0
    assert struct.unpack("<QQ", bench.memory(16, SCRATCH + 8)) == (0b110, 0b100)


def test_a_futex_never_hangs(bench: Bench) -> None:
    bench.space.write(SCRATCH, (5).to_bytes(4, "little"))
    assert bench.call("futex", SCRATCH, 0x80, 4, 0) == -errno.EAGAIN
    assert bench.call("futex", SCRATCH, 0x80, 5, 0) == -errno.EDEADLK
    assert bench.call("futex", SCRATCH, 0x81, 1, 0) == 0


def test_clocks_and_sleep(bench: Bench) -> None:
    assert bench.call("clock_gettime", time.CLOCK_REALTIME, SCRATCH) == 0
    seconds, rest = struct.unpack("<QQ", bench.memory(16))
    assert abs(seconds - time.time()) < 5
    assert rest < 10**9
    assert bench.call("clock_gettime", 99, SCRATCH) == -errno.EINVAL
    bench.space.write(SCRATCH, struct.pack("<QQ", 0, 30_000_000))
    before = time.monotonic_ns()
    assert bench.call("nanosleep", SCRATCH, 0) == 0
    assert time.monotonic_ns() - before >= 30_000_000
    bench.space.write(SCRATCH, struct.pack("<QQ", 0, 10**9))
    assert bench.call("nanosleep", SCRATCH, 0) == -errno.EINVAL
    bench.space.write(SCRATCH, struct.pack("<QQ", 1, 0))
    assert bench.call("clock_nanosleep", time.CLOCK_MONOTONIC, 1, SCRATCH, 0) == 0, "a time that has passed"


def test_terminals_are_made_up_inside() -> None:
    bench, _ = honest()
    assert bench.call("ioctl", 0, 0x5401, SCRATCH) == -errno.ENOTTY
