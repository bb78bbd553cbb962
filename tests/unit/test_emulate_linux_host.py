"""The untrusted side: whatever arrives is answered, and paths stay beneath the root."""

import errno
import os
from pathlib import Path

import pytest
from tests.unit.emulate_linux_space import join

from cloister.emulate.linux.console import PlainConsole
from cloister.emulate.linux.host import LinuxHost
from cloister.emulate.linux.messages import LARGEST_DATA, HostCall, HostReply, Operation, split
from cloister.errors import ParseError


def console() -> PlainConsole:
    return PlainConsole(lambda _size: b"", len)


def ask(host: LinuxHost, operation: int, first: int = 0, second: int = 0, data: bytes = b"") -> tuple[HostReply, bytes]:
    header = HostCall(operation=operation, length=len(data), sequence=9, first=first, second=second, third=0)
    return split(HostReply, host.serve(join(header, data)))


def test_malformed_requests_are_einval() -> None:
    host = LinuxHost(console())
    for request in (b"", bytes(39), bytes(40) + b"x", os.urandom(500)):
        assert split(HostReply, host.serve(request))[0].error == errno.EINVAL
    assert ask(host, 999)[0].error == errno.ENOSYS
    assert ask(host, Operation.OPEN, data=b"relative")[0].error == errno.EINVAL
    assert ask(host, Operation.OPEN, data=b"/a\0b")[0].error == errno.EINVAL
    assert ask(host, Operation.OPEN, first=3, data=b"/")[0].error == errno.EINVAL
    assert ask(host, Operation.CLOCK, first=77)[0].error == errno.EINVAL


def test_only_the_programs_own_files_are_reached(tmp_path: Path) -> None:
    with (tmp_path / "hosts own").open("wb") as other, LinuxHost(console()) as host:
        for operation in (Operation.READ, Operation.WRITE, Operation.CLOSE, Operation.TRUNCATE, Operation.LIST):
            assert ask(host, operation, first=other.fileno())[0].error == errno.EBADF


def test_files_left_open_are_closed(tmp_path: Path) -> None:
    host = LinuxHost(console())
    reply, _ = ask(host, Operation.OPEN, first=0o102, second=0o600, data=os.fsencode(tmp_path / "f"))
    assert os.fstat(reply.value)
    host.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(reply.value)


def test_a_root_confines_paths(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    root.mkdir()
    outside.mkdir()
    (outside / "secret").write_bytes(b"secret")
    (root / "inside").write_bytes(b"inside")
    (root / "link").symlink_to(outside)
    (root / "direct").symlink_to(outside / "secret")
    with LinuxHost(console(), root) as host:
        assert ask(host, Operation.OPEN, data=b"/inside")[0].error == 0
        assert ask(host, Operation.OPEN, data=b"/../../inside")[0].error == 0
        assert ask(host, Operation.STATUS, first=1, data=b"/")[0].error == 0
        for path in (b"/link/secret", b"/direct", b"/link"):
            assert ask(host, Operation.OPEN, data=path)[0].error == errno.EACCES
        assert ask(host, Operation.OPEN, data=os.fsencode(outside / "secret"))[0].error == errno.ENOENT
        assert ask(host, Operation.RENAME, data=b"/inside\0/link/stolen")[0].error == errno.EACCES
    assert sorted(one.name for one in outside.iterdir()) == ["secret"]


def test_messages_have_limits() -> None:
    header = HostCall(operation=1, length=LARGEST_DATA + 1, sequence=1, first=0, second=0, third=0)
    with pytest.raises(ValueError, match="holds"):
        HostCall.message(1, 1, data=bytes(LARGEST_DATA + 1))
    with pytest.raises(ValueError, match="holds"):
        HostReply.message(1, 1, data=bytes(LARGEST_DATA + 1))
    with pytest.raises(ParseError, match="limit"):
        split(HostCall, join(header, bytes(LARGEST_DATA + 1)))
    with pytest.raises(ParseError, match="follow"):
        split(HostCall, join(header, b"x"))
