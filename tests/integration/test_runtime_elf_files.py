"""Random ELF files never crash the loader: they are refused clearly, or run as they do natively."""

import errno
import struct

import pytest
from tests.fuzz import elf_files
from tests.fuzz.elf_changes import INTERPRETERS, Elf, Segment
from tests.fuzz.elf_files import STRICT, Case, Verdict, complaint, run

pytestmark = [pytest.mark.needs_runtime, pytest.mark.needs_program("cc", "setpriv")]

QUICK_SEEDS = 25
ARMS = ("unguarded", "guarded", STRICT)
LOAD, PHDR, INTERP, NOTE = 1, 6, 3, 4
WRITABLE, READABLE, EXECUTABLE = 6, 4, 1
TERABYTE = 1 << 40


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return elf_files.bases(tmp_path_factory.mktemp("whole"))


def load(elf: Elf, flags: int) -> Segment:
    return next(one for one in elf.of_kind(LOAD) if one.flags == flags)


# ---------------------------------------------------------------- random files


@pytest.mark.parametrize("arm", ARMS)
def test_random_files_are_refused_clearly_or_run_as_natively(whole: dict[str, bytes], arm: str) -> None:
    for seed in range(QUICK_SEEDS):
        assert not elf_files.wrong_in(elf_files.generated(seed, whole), arm), f"seed {seed}"


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("first", range(1000, 1600, 100))
def test_many_random_files(whole: dict[str, bytes], first: int) -> None:
    for seed in range(first, first + 100):
        assert not elf_files.wrong_in(elf_files.generated(seed, whole), elf_files.arm_of(seed)), f"seed {seed}"


@pytest.mark.parametrize("base", elf_files.BASES)
def test_unchanged_files_run(whole: dict[str, bytes], base: str) -> None:
    if base not in whole:
        pytest.skip("not installed: musl-gcc")
    files = {"program": whole[base], **{name: whole[name] for name in ("interpreter", "library.so")}}
    native = run(Case(base, files), None)
    assert native.ran, native
    for arm in ARMS:
        enclaved = run(Case(base, files), arm)
        assert (enclaved.status, enclaved.output, enclaved.errors) == (native.status, native.output, ""), arm


# ---------------------------------------------------------------- what was found


def test_a_mapping_that_is_longer_than_its_file_takes_no_memory_for_it(whole: dict[str, bytes]) -> None:
    """The loader of the C library maps a library by what its headers claim: here four terabytes."""
    library = Elf.of(whole["library.so"])
    segment = load(library, WRITABLE)
    segment.file_size = segment.memory_size = 4 * TERABYTE
    case = Case("opens", {"program": whole["opens"], "library.so": library.bytes()})
    for arm in ARMS:
        found = run(case, arm)
        assert not found.hangs
        assert found.output.startswith("error: ./library.so: failed to map segment"), (arm, found)


@pytest.mark.parametrize("flags", [READABLE, WRITABLE])
def test_more_memory_than_addresses_is_refused(whole: dict[str, bytes], flags: int) -> None:
    elf = Elf.of(whole["static"])
    elf.of_kind(LOAD)[-1].flags, elf.of_kind(LOAD)[-1].memory_size = flags, 100 * TERABYTE
    found = run(Case("static", {"program": elf.bytes()}), "unguarded")
    assert (found.status, found.errors) == (
        121,
        "cloister: ./program: its ELF headers ask for more memory than there are addresses\n",
    )


@pytest.mark.parametrize("flags", [READABLE, EXECUTABLE])
def test_constants_beyond_the_file_are_zeros(whole: dict[str, bytes], flags: int) -> None:
    """The constants, cut off: natively the kernel puts zeros there, which can be read whatever the flags say."""
    elf = Elf.of(whole["bare"])
    constants = [one for one in elf.of_kind(LOAD) if one.flags == READABLE][-1]
    constants.file_size, constants.flags = 0, flags
    case = Case("bare", {"program": elf.bytes()})
    native = run(case, None)
    assert native.ran
    assert native.output != run(Case("bare", {"program": whole["bare"]}), None).output
    for arm in ARMS:
        assert (run(case, arm).status, run(case, arm).output) == (native.status, native.output)


def test_data_of_a_segment_that_is_not_writable_are_writable_beyond_the_file(whole: dict[str, bytes]) -> None:
    """As the kernel has it (vm_brk_flags)."""
    elf = Elf.of(whole["bare"])
    data = load(elf, WRITABLE)
    data.file_size, data.flags = 0, READABLE
    case = Case("bare", {"program": elf.bytes()})
    native = run(case, None)
    assert native.ran
    for arm in ARMS:
        assert (run(case, arm).status, run(case, arm).output) == (native.status, native.output)


def test_headers_are_where_they_are_loaded_whatever_the_file_says(whole: dict[str, bytes]) -> None:
    """PT_PHDR names a place where they are not."""
    elf = Elf.of(whole["static"])
    first = elf.of_kind(NOTE)[0]
    elf.segments.remove(first)
    elf.segments.insert(0, first)
    first.kind, first.address = PHDR, 0x77777
    case = Case("static", {"program": elf.bytes()})
    native = run(case, None)
    assert native.output.endswith(" at 64\n")
    assert run(case, "unguarded").output == native.output


@pytest.mark.parametrize("name", INTERPRETERS, ids=lambda name: name[:20].decode() or "none")
def test_every_interpreter_is_run_or_refused(whole: dict[str, bytes], name: bytes) -> None:
    """The program itself, too, which would go on for ever if its interpreter were asked for an interpreter."""
    elf = Elf.of(whole["dynamic"])
    segment = elf.of_kind(INTERP)[0]
    segment.offset, segment.file_size = len(elf.data), len(name) + 1
    elf.data += name + b"\0"
    others = {"interpreter": whole["interpreter"], "script": b"#!./other\n", "other": whole["bare"]}
    case = Case("dynamic", {"program": elf.bytes(), **others})
    assert not elf_files.wrong_in(case, "unguarded")


# ---------------------------------------------------------------- the judge itself


RAN = Verdict(status=7, output="x")
REFUSED = Verdict(status=121, errors="cloister: why\n", began=False)


@pytest.mark.parametrize(("native", "enclaved", "wrong"), [
    (RAN, RAN, False), (RAN, REFUSED, False), (Verdict(refused=errno.ENOEXEC), REFUSED, False),
    (Verdict(status=-11), Verdict(status=-11), False), (Verdict(status=-11), RAN, False),
    (RAN, Verdict(status=7, output="y"), True), (RAN, Verdict(status=-11, errors="cloister: why\n"), True),
    (Verdict(status=-11), Verdict(status=-11, began=False), True),
    (Verdict(status=-11), Verdict(status=125, errors="cloister: why\n", began=False), True),
    (Verdict(status=-11), Verdict(status=121, began=False), True),
    (Verdict(refused=errno.ENOEXEC), Verdict(status=-11), True), (RAN, Verdict(status=-9, hangs=True), True),
])  # fmt: skip
def test_what_is_wrong_is_said(native: Verdict, enclaved: Verdict, wrong: bool) -> None:  # noqa: FBT001
    assert bool(complaint(native, enclaved)) is wrong


def test_a_loader_that_crashes_is_told_from_a_program_that_does(whole: dict[str, bytes]) -> None:
    """By a program that crashes: natively nobody has put a filter before it, the enclave has."""
    elf = Elf.of(whole["bare"])
    struct.pack_into("<Q", elf.data, 24, 0)
    case = Case("bare", {"program": elf.bytes()})
    native, enclaved = run(case, None), run(case, "unguarded")
    assert (native.status, native.began) == (-11, False)
    assert (enclaved.status, enclaved.began) == (-11, True)
