"""Programs that leak on purpose, run in the real software enclave: each place must be found and named.

The secret itself is read from standard input into secret memory; what each program does next puts a copy where an
administrator can read it.
"""

import os
import re
import sys
from pathlib import Path

import pytest

from cloister.app.prove import prove
from cloister.observe.prove.plan import (
    AfterDelay,
    FeedArgument,
    FeedEnvironment,
    FeedStdin,
    FinishInput,
    Plan,
)
from cloister.observe.prove.render import Experiment, as_text
from cloister.observe.prove.verdict import Outcome

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_runtime, pytest.mark.slow]

PYTHON = os.path.realpath(sys.executable)
READ = "import base64, ctypes, mmap, os, socket, subprocess, sys\ns = sys.stdin.readline().strip()\n"
WAIT = "\nprint('done', flush=True)\nsys.stdin.readline()\n"

LEAKS = {
    "file": ("open('leak.txt', 'w').write(s)", r"file of .*/leak\.txt: .* as raw"),
    "deleted file": (
        "open('gone.txt', 'w').write(s); os.unlink('gone.txt')",
        r"file of .*/gone\.txt( \(deleted\))?: .* as raw",
    ),
    "base64 in a file": (
        "open('leak.b64', 'wb').write(base64.b64encode(b'key=' + s.encode()))",
        r"file of .*/leak\.b64: .* as base64@1",
    ),
    "file name": ("open('n-' + s, 'w').close()", r"file name of .*/n-<enclaved secret>"),
    "shared file mapping": (
        """f = os.open('map.bin', os.O_RDWR | os.O_CREAT); os.ftruncate(f, 4096)
m = mmap.mmap(f, 4096); os.close(f); m[: len(s)] = s.encode()""",
        r"memory of .*rw-s .*/map\.bin \(shared memory\)",
    ),
    "memfd": ("f = os.memfd_create('plain'); os.write(f, s.encode())", r"descriptor of .*/memfd:plain"),
    "pipe": ("r, w = os.pipe(); os.write(w, s.encode())", r"pipe of .*pipe:\["),
    "socket": ("a, b = socket.socketpair(); a.send(s.encode())", r"descriptor of .*socket:\["),
    "process name": ("ctypes.CDLL(None).prctl(15, s[:15].encode(), 0, 0, 0)", r"comm of .* as raw \(part\)"),
    "output": ("print(s)", r"output of .*standard output"),
}


def experiment(cwd: Path, code: str, **changes: object) -> Experiment:
    """Run one Python program through the experiment, in a directory of its own."""
    settings: dict[str, object] = {
        "words": (PYTHON, "-S", "-c", code),
        "feed": FeedStdin(),
        "readiness": AfterDelay(seconds=0.5),
        "ending": FinishInput(),
        "cwd": cwd,
        "environment": {"PATH": "/usr/bin:/bin", "TMPDIR": str(cwd)},
        "hold": 0.5,
        "ready_timeout": 20.0,
        **changes,
    }
    return prove(Plan(**settings), lambda _: None)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", list(LEAKS))
def test_leak_is_found_and_named(tmp_path: Path, name: str) -> None:
    leak, place = LEAKS[name]
    result = experiment(tmp_path, READ + leak + WAIT)
    assert result.verdict.outcome is Outcome.LEAKED, as_text(result)
    named = [str(found) for found in result.verdict.leaks]
    assert any(re.search(place, text) for text in named), named
    assert result.verdict.outcome.exit_code == 10


def test_the_same_program_without_the_leak_is_protected(tmp_path: Path) -> None:
    result = experiment(tmp_path, READ + WAIT)
    assert result.verdict.outcome is Outcome.PROTECTED, as_text(result)
    assert result.enclaved.samples.checkpoints >= 2


HANDED_ON = {
    "environ": "child = subprocess.Popen(['/bin/sleep', '20'], env={'KEY': s})",
    "cmdline": "child = subprocess.Popen(['/bin/sh', '-c', '/bin/sleep 20; :', s])",
}


@pytest.mark.parametrize("surface", list(HANDED_ON))
def test_what_children_are_handed_is_protected(tmp_path: Path, surface: str) -> None:
    result = experiment(tmp_path, READ + HANDED_ON[surface] + WAIT)
    assert result.verdict.outcome is Outcome.PROTECTED, as_text(result)
    assert surface in {place.surface.value for place in result.native.places}, "the control: natively it shows there"


@pytest.mark.parametrize("feed", [FeedEnvironment(name="TOKEN"), FeedArgument()])
def test_environment_and_arguments_are_protected(tmp_path: Path, feed: FeedEnvironment | FeedArgument) -> None:
    code = "import os, sys\nkept = os.environ.get('TOKEN', '') + sys.argv[-1]" + WAIT
    words = (PYTHON, "-S", "-c", code, "{secret}" if isinstance(feed, FeedArgument) else "x")
    result = experiment(tmp_path, code, feed=feed, words=words)
    assert result.verdict.outcome is Outcome.PROTECTED, as_text(result)
    assert {"environ", "cmdline"} & {place.surface.value for place in result.native.places}


def test_a_secret_that_never_reaches_the_program_is_inconclusive(tmp_path: Path) -> None:
    result = experiment(tmp_path, "import time; time.sleep(60)", ready_timeout=1.0, grace=0.3)
    assert result.verdict.outcome is Outcome.INCONCLUSIVE, as_text(result)
    assert "positive control" in [control.name for control in result.verdict.failed]


def test_a_secret_that_passes_through_unseen_is_inconclusive(tmp_path: Path) -> None:
    """splice(2) moves the secret inside the kernel: the native arm has nothing to find, so nothing is proved."""
    code = "import os, sys\nos.splice(0, os.open('/dev/null', os.O_WRONLY), 29)" + WAIT
    result = experiment(tmp_path, code)
    assert result.verdict.outcome is Outcome.INCONCLUSIVE, as_text(result)
    assert "positive control" in [control.name for control in result.verdict.failed]
