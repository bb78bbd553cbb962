"""The generated seccomp filter decides what its rule table says, and the table holds what protection depends on."""

import errno
import functools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.property.runtime_pieces import bpf
from tests.property.runtime_pieces.pieces_unsafe import (
    RUNTIME,
    Rule,
    address_of,
    filter_program,
    filter_rules,
    kernel_constants,
    pieces,
    wide_filter_program,
)

SOURCE = (RUNTIME / "src" / "filter_rules.h").read_text()
UPPER = 1 << 32
O_DIRECT = 0o40000
FUTEX_PRIVATE = 128
K = kernel_constants()
PROBE, PROBE_ANSWER = 29456, 3000 + 1  # cloister_abi.h: FILTER_PROBE_NR, FILTER_PROBE_BASE + ABI_VERSION
KEY = 29457  # cloister_abi.h: FILTER_KEY_NR

OUTSIDE = 0x5555_0000_1000
THREAD = "CLONE_VM CLONE_FS CLONE_FILES CLONE_SIGHAND CLONE_THREAD CLONE_SYSVSEM CLONE_SETTLS CLONE_CHILD_CLEARTID"


def enum_names() -> list[str]:
    block = re.search(r"enum test \{(.*?)\};", SOURCE, re.DOTALL)
    assert block
    return re.findall(r"^\s*([A-Z_]+),", block[1], re.MULTILINE)


Wishes = tuple[bool, bool, bool, bool]
PLAIN: Wishes = (False, False, False, False)
OPENS: Wishes = (False, False, True, False)
FILES: Wishes = (False, False, True, True)
WISHES: list[Wishes] = [
    PLAIN,
    (True, False, False, False),
    (False, True, False, False),
    OPENS,
    FILES,
    (True, True, True, True),
]
"""Whether these are asked for: the program's end, setuid(2) and its kind, open(2) and its kind, injected files."""


@functools.cache
def rules(wishes: Wishes) -> list[Rule]:
    return filter_rules(enum_names(), observed=wishes[0], limited=wishes[1], opens=wishes[2], files=wishes[3])


def program_for(wishes: Wishes) -> list[bpf.Instruction]:
    return filter_program(observed=wishes[0], limited=wishes[1], opens=wishes[2], files=wishes[3])


def flags(names: str) -> int:
    return sum(K[name] for name in names.split())


@functools.cache
def gate() -> tuple[int, int]:
    return address_of("gate_start"), address_of("gate_end")


def is_from_gate(call: bpf.Call) -> bool:
    """The pointer is that of the instruction after `syscall`, so the gate's end still belongs to it."""
    start, end = gate()
    return start <= call.pointer <= end


def intercept(call: bpf.Call) -> int:
    return bpf.ALLOW if is_from_gate(call) else bpf.TRAP


def decide(rule: Rule, call: bpf.Call) -> int | None:  # noqa: PLR0911  one for each kind of rule
    """What one rule of the table says about a call of its number; None if it does not apply."""
    argument = call.arguments[rule.arg]
    low = argument % UPPER
    match rule.test:
        case "ALWAYS":
            return intercept(call)
        case "ANSWER" | "ASK_GUARD":
            return (bpf.ERRNO if rule.test == "ANSWER" else bpf.TRACE) | rule.value
        case "IF_SET":
            return intercept(call) if low & rule.value else None
        case "UNLESS_SET":
            return None if low & rule.value else intercept(call)
        case "IF_POINTER":
            return intercept(call) if argument else None
        case "IF_EQUAL":
            return intercept(call) if low == rule.value else None
        case "ANSWER_IF_EQUAL":
            verdict = bpf.ALLOW if is_from_gate(call) else bpf.ERRNO
            return verdict if low == rule.value else None
        case "IF_FILE":
            return intercept(call) if low >= pieces().pieces_files_base() else None
    raise AssertionError(f"{rule.test}: teach this test the new kind of rule")


def expected(call: bpf.Call, wishes: Wishes) -> int:
    if call.arch != bpf.X86_64:
        return bpf.KILL_PROCESS
    if call.number >= 0x4000_0000:
        return bpf.ERRNO | errno.ENOSYS
    for rule in rules(wishes):
        verdict = decide(rule, call) if rule.number == call.number else None
        if verdict is not None:
            return verdict
    return bpf.ALLOW


words = st.one_of(
    st.integers(0, 2**64 - 1),
    st.integers(0, 63).map(lambda bit: 1 << bit),
    st.sampled_from([0, UPPER, FUTEX_PRIVATE, O_DIRECT, K["PR_SET_DUMPABLE"], K["PR_SET_DUMPABLE"] | UPPER]),
)
calls = st.builds(
    bpf.Call,
    number=st.one_of(
        st.sampled_from([rule.number for rule in rules(WISHES[-1])]), st.integers(0, 470), st.integers(0, 2**32 - 1)
    ),
    arch=st.sampled_from([bpf.X86_64] * 8 + [bpf.I386, bpf.AARCH64, 0]),
    pointer=st.one_of(
        st.integers(0, 2**64 - 1),
        st.sampled_from(gate()).flatmap(lambda edge: st.integers(edge - 2, edge + 2)),
        st.sampled_from(gate()).map(lambda edge: edge ^ (1 << 40)),
    ),
    arguments=st.tuples(*[words] * 6),
)


@pytest.mark.parametrize("wishes", WISHES)
def test_the_kernel_would_accept_it(wishes: Wishes) -> None:
    program = program_for(wishes)
    bpf.check(program)
    assert len(program) <= 4096  # BPF_MAXINSNS


@pytest.mark.parametrize("wishes", WISHES)
def test_every_rule_at_both_edges_of_the_gate(wishes: Wishes) -> None:
    program = program_for(wishes)
    start, end = gate()
    inside = [start, start + 1, (start + end) // 2, end - 1, end]
    outside = [0, start - 1, end + 1, start ^ UPPER, end ^ UPPER, start + UPPER, 2**64 - 1]
    patterns = [0, 1, UPPER, 2**64 - 1, *(1 << bit for bit in range(64))]
    for rule in rules(wishes):
        for pattern in (*patterns, rule.value, rule.value | UPPER, rule.value ^ 1):
            arguments = tuple(pattern if i == rule.arg else 0 for i in range(6))
            for pointer in (*inside, *outside):
                call = bpf.Call(number=rule.number, pointer=pointer, arguments=arguments)
                assert bpf.run(program, call) == expected(call, wishes), (rule, call)


@given(st.lists(calls, min_size=10, max_size=30), st.sampled_from(WISHES))
def test_any_call_gets_what_the_table_says(some: list[bpf.Call], wishes: Wishes) -> None:
    program = program_for(wishes)
    for call in some:
        assert bpf.run(program, call) == expected(call, wishes), call


ALWAYS_INTERCEPTED = (
    "mmap mprotect munmap brk mremap madvise msync pkey_mprotect fork execve execveat exit "
    "rt_sigsuspend readlink readlinkat"
)
ANSWERED = [
    ("mlock mlock2 munlock mlockall munlockall", 0),
    ("remap_file_pages userfaultfd clone3 rseq", errno.ENOSYS),
    ("pkey_alloc", errno.ENOSPC),
]


@pytest.mark.parametrize("name", ALWAYS_INTERCEPTED.split())
@pytest.mark.parametrize("word", [0, 1, UPPER, 2**64 - 1])
def test_protection_depends_on_intercepting(name: str, word: int) -> None:
    call = bpf.Call(number=K[f"__NR_{name}"], pointer=OUTSIDE, arguments=(word,) * 6)
    assert bpf.run(program_for(PLAIN), call) == bpf.TRAP


@pytest.mark.parametrize(("name", "error"), [(name, error) for names, error in ANSWERED for name in names.split()])
def test_protection_depends_on_refusing(name: str, error: int) -> None:
    call = bpf.Call(number=K[f"__NR_{name}"], pointer=OUTSIDE, arguments=(2**64 - 1,) * 6)
    assert bpf.run(program_for(PLAIN), call) == bpf.ERRNO | error


CONDITIONAL = [
    ("a thread", "clone", (flags(THREAD), 0, 0, 0, 0, 0), bpf.ALLOW),
    ("vfork", "clone", (flags("CLONE_VM CLONE_VFORK") | 17, 0, 0, 0, 0, 0), bpf.ALLOW),
    ("fork", "clone", (flags("CLONE_CHILD_SETTID CLONE_CHILD_CLEARTID") | 17, 0, 0, 0, 0, 0), bpf.TRAP),
    ("fork, upper half", "clone", (17 | flags("CLONE_VM") << 32, 0, 0, 0, 0, 0), bpf.TRAP),
    ("out of the guard's sight", "clone", (flags("CLONE_VM CLONE_UNTRACED"), 0, 0, 0, 0, 0), bpf.TRAP),
    ("fork out of sight", "clone", (flags("CLONE_UNTRACED") | 17, 0, 0, 0, 0, 0), bpf.TRAP),
    ("dumpable again", "prctl", (K["PR_SET_DUMPABLE"], 1, 0, 0, 0, 0), bpf.ERRNO),
    ("dumpable, upper half", "prctl", (K["PR_SET_DUMPABLE"] | UPPER, 1, 0, 0, 0, 0), bpf.ERRNO),
    ("a named tracer", "prctl", (K["PR_SET_PTRACER"], 2**64 - 1, 0, 0, 0, 0), bpf.ERRNO),
    ("a name", "prctl", (K["PR_SET_NAME"], OUTSIDE, 0, 0, 0, 0), bpf.ALLOW),
    ("is it dumpable", "prctl", (K["PR_GET_DUMPABLE"], 0, 0, 0, 0, 0), bpf.ALLOW),
    ("direct I/O", "openat", (0, OUTSIDE, O_DIRECT, 0, 0, 0), bpf.TRAP),
    ("direct I/O the old way", "open", (OUTSIDE, O_DIRECT | 2, 0, 0, 0, 0), bpf.TRAP),
    ("a directory", "openat", (0, OUTSIDE, 0o200000, 0, 0, 0), bpf.ALLOW),
    ("wait with a mask", "ppoll", (0, 0, 0, UPPER, 8, 0), bpf.TRAP),
    ("wait without one", "ppoll", (OUTSIDE, 1, 0, 0, 8, 0), bpf.ALLOW),
    ("a private futex", "futex", (OUTSIDE, FUTEX_PRIVATE | 1, 1, 0, 0, 0), bpf.ALLOW),
    ("a shared futex", "futex", (OUTSIDE, 1 | FUTEX_PRIVATE << 32, 1, 0, 0, 0), bpf.TRAP),
    ("reading the mask", "rt_sigprocmask", (0, 0, OUTSIDE, 8, 0, 0), bpf.ALLOW),
    ("setting it", "rt_sigprocmask", (0, UPPER, 0, 8, 0, 0), bpf.TRAP),
    ("a limit of address space", "prlimit64", (0, 9, OUTSIDE, 0, 0, 0), bpf.TRAP),
    ("another limit", "prlimit64", (0, 7, OUTSIDE, 0, 0, 0), bpf.ALLOW),
    ("the end, not observed", "exit_group", (0, 0, 0, 0, 0, 0), bpf.ALLOW),
    ("reading a file", "read", (0, OUTSIDE, 1, 0, 0, 0), bpf.ALLOW),
]


@pytest.mark.parametrize(("what", "name", "arguments", "verdict"), CONDITIONAL, ids=[case[0] for case in CONDITIONAL])
def test_what_depends_on_arguments(what: str, name: str, arguments: tuple[int, ...], verdict: int) -> None:
    call = bpf.Call(number=K[f"__NR_{name}"], pointer=OUTSIDE, arguments=arguments)
    assert bpf.run(program_for(PLAIN), call) == verdict, what


def test_an_observed_program_is_asked_before_it_ends() -> None:
    call = bpf.Call(number=K["__NR_exit_group"], pointer=OUTSIDE)
    assert bpf.run(program_for(WISHES[1]), call) == bpf.TRAP


def test_no_way_around_by_another_abi() -> None:
    program = program_for(PLAIN)
    for number in (0, 9, 90, 192, K["__NR_mmap"]):
        assert bpf.run(program, bpf.Call(number=number, arch=bpf.I386)) == bpf.KILL_PROCESS
        assert bpf.run(program, bpf.Call(number=number | 0x4000_0000)) == bpf.ERRNO | errno.ENOSYS
    assert bpf.run(program, bpf.Call(number=2**32 - 1)) == bpf.ERRNO | errno.ENOSYS


def test_the_runtime_itself_can_forbid_core_files() -> None:
    """Also in a program that an enclave executed: it stands under the filter from its first instruction."""
    inside = bpf.Call(number=K["__NR_prctl"], pointer=gate()[0] + 1, arguments=(K["PR_SET_DUMPABLE"], 0, 0, 0, 0, 0))
    assert bpf.run(program_for(PLAIN), inside) == bpf.ALLOW


def test_asking_for_the_key_is_the_guards_to_answer() -> None:
    for pointer in (OUTSIDE, gate()[0] + 1):
        assert bpf.run(program_for(PLAIN), bpf.Call(number=KEY, pointer=pointer)) == bpf.TRACE | KEY


def test_the_probe_tells_the_abi_version() -> None:
    assert bpf.run(program_for(PLAIN), bpf.Call(number=PROBE)) == bpf.ERRNO | PROBE_ANSWER


@pytest.mark.parametrize("name", ["open", "openat", "openat2", "creat"])
@pytest.mark.parametrize("word", [0, 1, UPPER, 2**64 - 1])
def test_measuring_depends_on_intercepting(name: str, word: int) -> None:
    call = bpf.Call(number=K[f"__NR_{name}"], pointer=OUTSIDE, arguments=(word,) * 6)
    assert bpf.run(program_for(OPENS), call) == bpf.TRAP


def test_another_way_to_a_file_is_shut() -> None:
    call = bpf.Call(number=K["__NR_open_by_handle_at"], pointer=OUTSIDE, arguments=(1,) * 6)
    assert bpf.run(program_for(OPENS), call) == bpf.ERRNO | errno.EOPNOTSUPP
    assert bpf.run(program_for(PLAIN), call) == bpf.ALLOW


@pytest.mark.parametrize("wishes", [PLAIN, OPENS, FILES])
@pytest.mark.parametrize("name", ["io_uring_setup", "io_setup"])
def test_nobody_gets_a_ring_that_others_could_write(name: str, wishes: Wishes) -> None:
    call = bpf.Call(number=K[f"__NR_{name}"], pointer=OUTSIDE, arguments=(1,) * 6)
    assert bpf.run(program_for(wishes), call) == bpf.ERRNO | errno.ENOSYS


def test_opens_are_untouched_where_nobody_measures() -> None:
    for name in ("open", "openat", "openat2", "creat"):
        call = bpf.Call(number=K[f"__NR_{name}"], pointer=OUTSIDE, arguments=(1,) * 6)
        assert bpf.run(program_for(PLAIN), call) == bpf.ALLOW


BYTES = {
    "read": 0,
    "pread64": 0,
    "readv": 0,
    "preadv": 0,
    "preadv2": 0,
    "sendfile": 1,
    "splice": 0,
    "copy_file_range": 0,
}
"""Calls that move a file's bytes, and which argument is the file."""


@pytest.mark.parametrize("name", BYTES)
def test_reads_are_intercepted_where_injected_files_are(name: str) -> None:
    base = pieces().pieces_files_base()
    for fd, verdict in (
        (0, bpf.ALLOW),
        (base - 1, bpf.ALLOW),
        (base, bpf.TRAP),
        (base + 1, bpf.TRAP),
        (UPPER, bpf.ALLOW),
    ):
        arguments = tuple(fd if i == BYTES[name] else 0 for i in range(6))
        call = bpf.Call(number=K[f"__NR_{name}"], pointer=OUTSIDE, arguments=arguments)
        assert bpf.run(program_for(FILES), call) == verdict, fd
        assert bpf.run(program_for(OPENS), call) == bpf.ALLOW
        assert bpf.run(wide_filter_program(), call) == bpf.TRAP


@pytest.mark.parametrize("name", ["dup2", "dup3", "close_range"])
@pytest.mark.parametrize("wishes", [OPENS, FILES])
def test_numbers_of_the_programs_choice_wait_for_the_runtime(name: str, wishes: tuple[bool, bool, bool, bool]) -> None:
    call = bpf.Call(number=K[f"__NR_{name}"], pointer=OUTSIDE, arguments=(3, 4, 0, 0, 0, 0))
    assert bpf.run(program_for(wishes), call) == bpf.TRAP


@pytest.mark.parametrize("name", ["dup", "fcntl"])
def test_their_numbers_do_not_change_unseen(name: str) -> None:
    """Only from there: a copy of another file is of no interest."""
    base = pieces().pieces_files_base()
    for fd, verdict in ((3, bpf.ALLOW), (base, bpf.TRAP)):
        call = bpf.Call(number=K[f"__NR_{name}"], pointer=OUTSIDE, arguments=(fd, 0, 0, 0, 0, 0))
        assert bpf.run(program_for(FILES), call) == verdict


PATHS = ["stat", "lstat", "newfstatat", "statx", "access", "faccessat", "faccessat2", "getxattr", "listxattr"]


@pytest.mark.parametrize("name", PATHS)
def test_paths_are_looked_at_where_files_are_injected(name: str) -> None:
    call = bpf.Call(number=K[f"__NR_{name}"], pointer=OUTSIDE, arguments=(OUTSIDE, OUTSIDE, 0, 0, 0, 0))
    assert bpf.run(program_for(FILES), call) == bpf.TRAP
    assert bpf.run(program_for(OPENS), call) == bpf.ALLOW


def test_the_size_of_an_open_file_is_asked_of_the_kernel() -> None:
    """Libc's fstat(3) is newfstatat(2) with AT_EMPTY_PATH."""
    for name, flags_at in (("newfstatat", 3), ("statx", 2)):
        arguments = tuple(0x1000 if i == flags_at else 5 if i == 0 else OUTSIDE for i in range(6))
        assert bpf.run(
            program_for(FILES), bpf.Call(number=K[f"__NR_{name}"], pointer=OUTSIDE, arguments=arguments)
        ) == (bpf.ALLOW)


def test_the_second_filter_is_accepted_and_leaves_the_rest() -> None:
    program = wide_filter_program()
    bpf.check(program)
    for name in ("write", "openat", "recvmsg", "lseek"):
        assert bpf.run(program, bpf.Call(number=K[f"__NR_{name}"], pointer=OUTSIDE)) == bpf.ALLOW
    inside = bpf.Call(number=K["__NR_read"], pointer=gate()[0] + 1)
    assert bpf.run(program, inside) == bpf.ALLOW, "the runtime's own"
