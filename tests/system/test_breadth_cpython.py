"""CPython's own tests, run natively and in the enclave: each test must end the same way."""

import functools
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.system.arms import ARMS, ENVIRONMENT, Arm, command

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_runtime, pytest.mark.long, pytest.mark.timeout(2000)]

PYENV = Path.home() / ".pyenv" / "versions"
INTERPRETERS = (sys.executable, *sorted(map(str, PYENV.glob("3.*/bin/python3")), reverse=True), "/usr/bin/python3")
MODULES = (
    "test_posix", "test_mmap", "test_signal", "test_subprocess", "test_asyncio", "test_socket",
    "test_multiprocessing_fork", "test_multiprocessing_spawn", "test_multiprocessing_forkserver",
    "test_concurrent_futures", "test_mailbox", "test_os", "test_threading", "test_faulthandler", "test_select",
    "test_selectors", "test_epoll", "test_poll", "test_fcntl", "test_resource", "test_pty", "test_fork1",
    "test_wait4", "test_io", "test_tempfile", "test_shutil", "test_ctypes", "test_ssl", "test_httpservers",
    "test_tarfile", "test_zipfile", "test_time", "test_thread", "test_popen", "test_pathlib",
)  # fmt: skip
LINE = re.compile(
    r"^(?P<name>test\w+ \([\w.]+\)).*?\.\.\. (?:.*?)(?P<end>ok|FAIL|ERROR|skipped|expected failure)",
    re.MULTILINE | re.DOTALL,
)
WITHOUT_HOST = "*VSOCK*"
"""These wait for ever on virtual machines whose host does not answer."""


LOOK = """
import os, sys, test
place = os.path.join(test.__path__[0], sys.argv[1])
print(sys.executable if os.path.isdir(place) or os.path.isfile(place + ".py") else "")
"""


@functools.cache
def interpreter(module: str) -> str:
    """One that was installed with this module of its tests; some installations leave a part of them out."""
    for candidate in INTERPRETERS:
        done = subprocess.run([candidate, "-c", LOOK, module], capture_output=True, text=True, check=False)
        if done.stdout.strip():
            return os.path.realpath(done.stdout.strip())
    pytest.skip(f"no Python here has {module}")


def endings(arm: Arm, module: str, directory: Path) -> tuple[int, dict[str, str]]:
    (directory / arm).mkdir()
    argv = [interpreter(module), "-m", "test", "-v", "--tempdir", str(directory / arm), "-i", WITHOUT_HOST, module]
    log = directory / f"{arm}.log"
    with log.open("wb") as output:
        done = subprocess.run(
            command(arm, argv), stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, cwd=directory,
            env={**ENVIRONMENT, "HOME": str(directory)}, timeout=1400, check=False,
        )  # fmt: skip
    text = log.read_text(errors="replace")
    return done.returncode, {found["name"]: found["end"] for found in LINE.finditer(text)}


@pytest.mark.parametrize("module", MODULES)
def test_same_endings(module: str, tmp_path: Path) -> None:
    (native, ended), (enclaved, inside) = (endings(arm, module, tmp_path) for arm in ARMS)
    assert ended, f"nothing ran: {(tmp_path / 'native.log').read_text()[-2000:]}"
    different = {
        name: (ended.get(name), inside.get(name)) for name in ended | inside if ended.get(name) != inside.get(name)
    }
    assert not different
    assert enclaved == native
