"""The data tables of the tracer agree with the kernel's and with themselves."""

import re
from pathlib import Path

import pytest

from cloister.observe.trace.decode import KINDS
from cloister.observe.trace.flags import TABLES, text_of
from cloister.observe.trace.numbers import NAMES, NUMBERS, name_of
from cloister.observe.trace.signatures import SIGNATURES, parse

HEADERS = [Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"), Path("/usr/include/asm/unistd_64.h")]


def test_numbers_agree_with_the_header_of_this_machine() -> None:
    header = next((path for path in HEADERS if path.exists()), None)
    if header is None:
        pytest.skip("asm/unistd_64.h is not installed (linux-libc-dev)")
    defined = {int(number): name for name, number in re.findall(r"#define __NR_(\w+) (\d+)", header.read_text())}
    assert len(defined) > 300
    # A newer kernel may have more calls than the table, never other names for the same numbers.
    assert {number: name for number, name in defined.items() if number <= max(NAMES)}.items() <= NAMES.items()


def test_numbers_and_names_are_one_to_one() -> None:
    assert len(NAMES) == len(NUMBERS) > 370
    assert name_of(0) == "read"
    assert name_of(9999) == "syscall_9999"
    assert name_of(0x40000000) == "x32:read"


def test_every_signature_is_of_a_known_call_and_decodable() -> None:
    assert len(SIGNATURES) > 150
    for signature in SIGNATURES.values():
        assert signature.name in NUMBERS
        assert len(signature.params) <= 6
        names = [param.name for param in signature.params]
        assert len(set(names)) == len(names) or signature.name == "epoll_ctl"
        for param in signature.params:
            assert param.kind in KINDS, (signature.name, param)
            if param.kind == "flags":
                assert param.detail in TABLES
            elif param.detail not in ("", "="):
                assert param.detail.removeprefix("*") in names, (signature.name, param)


def test_a_line_that_is_no_signature_is_refused() -> None:
    with pytest.raises(ValueError, match="not a system-call signature"):
        parse("read fd, buf")
    with pytest.raises(ValueError, match="not a parameter"):
        parse("read(fd)")


@pytest.mark.parametrize(
    ("table", "value", "text"),
    [
        ("open", 0o2000000, "O_RDONLY|O_CLOEXEC"),
        ("open", 0o1102, "O_RDWR|O_CREAT|O_TRUNC"),
        ("open", 0o4010000, "O_RDONLY|O_SYNC"),
        ("prot", 0, "PROT_NONE"),
        ("prot", 5, "PROT_READ|PROT_EXEC"),
        ("map", 0x22, "MAP_PRIVATE|MAP_ANONYMOUS"),
        ("map", 0x4000022, "MAP_PRIVATE|MAP_ANONYMOUS|0x4000000"),
        ("access", 0, "F_OK"),
        ("socktype", 0x80801, "SOCK_STREAM|SOCK_NONBLOCK|SOCK_CLOEXEC"),
        ("clone", 0x1200011, "SIGCHLD|CLONE_CHILD_CLEARTID|CLONE_CHILD_SETTID"),
        ("futex", 0x81, "FUTEX_WAKE|FUTEX_PRIVATE_FLAG"),
        ("msg", 0, "0"),
        ("whence", 17, "17"),
    ],
)
def test_flags_by_name(table: str, value: int, text: str) -> None:
    assert text_of(table, value) == text
