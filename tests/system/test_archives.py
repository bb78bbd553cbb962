"""gzip, xz and tar: what one arm packs, the other one unpacks, byte for byte; a proof while tar holds an archive."""

import contextlib
import hashlib
import io
import os
import subprocess
import tarfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.system.arms import ARMS, ENVIRONMENT, Arm, command
from tests.system.conftest import MemoryProof
from tests.system.conversation import Conversation

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_runtime]

DATA = os.urandom(300_000) + b"compressible " * 60_000 + bytes(100_000)


def output(arm: Arm, argv: Sequence[str], cwd: Path, data: bytes = b"") -> bytes:
    words = command(arm, argv)
    return subprocess.run(
        words, cwd=cwd, env=ENVIRONMENT, input=data, stdout=subprocess.PIPE, timeout=60, check=True
    ).stdout


@pytest.mark.parametrize(
    "tool",
    [
        pytest.param(tool, id=tool[0], marks=pytest.mark.needs_program(tool[0]))
        for tool in (("gzip", "-n6"), ("xz", "-1"), ("bzip2", "-1"), ("zstd", "-q"), ("busybox", "gzip"))
    ],
)
def test_round_trips(tool: tuple[str, ...], tmp_path: Path) -> None:
    packed = [output(arm, [*tool, "-c"], tmp_path, DATA) for arm in ARMS]
    assert packed[1] == packed[0]
    assert output("enclaved", [*tool, "-dc"], tmp_path, packed[0]) == DATA


def digests(directory: Path) -> dict[str, str]:
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    return {str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.needs_program("tar", "gzip", "xz")
@pytest.mark.parametrize("flag", ["z", "J"])
def test_tar_with_its_compressing_child(flag: str, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "below" / "deep").mkdir(parents=True)
    for number in range(60):
        (source / "below" / f"file {number} ä").write_bytes(DATA[: number * 5000])
    (source / "link").symlink_to("below")
    for arm, other in zip(ARMS, reversed(ARMS), strict=True):
        output(arm, ["tar", f"-c{flag}f", f"{arm}.tar", "-C", "source", "."], tmp_path)
        (tmp_path / f"from-{arm}").mkdir()
        output(other, ["tar", f"-x{flag}f", f"{arm}.tar", "-C", f"from-{arm}"], tmp_path)
        assert digests(tmp_path / f"from-{arm}") == digests(source)
        assert (tmp_path / f"from-{arm}" / "link").readlink() == Path("below")


@pytest.mark.needs_program("tar")
def test_a_half_read_archive(memory_proof: MemoryProof, marker: bytes, tmp_path: Path) -> None:
    """The first record (20 blocks of 512 bytes) is with tar, which waits for the second."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for name, content in (("secret", marker * 400), ("other", DATA[:20_000])):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    with contextlib.ExitStack() as stack:
        talks = []
        for arm in ARMS:
            (tmp_path / arm).mkdir()
            talks.append(stack.enter_context(Conversation(command(arm, ["tar", "-xf", "-"]), cwd=tmp_path / arm)))
        for talk in talks:
            talk.send(archive.getvalue()[:12_000])
            talk.expect_input_taken()
        memory_proof([talks[0].pid], [talks[1].pid], marker)
        native, enclaved = (talk.finish(archive.getvalue()[12_000:]) for talk in talks)
    assert native.status == 0
    assert enclaved == native
    assert digests(tmp_path / "enclaved") == digests(tmp_path / "native")
    assert (tmp_path / "enclaved" / "secret").read_bytes() == marker * 400
