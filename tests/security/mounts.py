"""Mounts of a test's own."""

import subprocess
import time
from pathlib import Path

__all__ = ["unmount"]

TRIES, PAUSE = 50, 0.1


def unmount(place: Path) -> None:
    """Whoever looks around in /proc, as other programs of this machine may, has something there open for a moment."""
    said = ""
    for _ in range(TRIES):
        done = subprocess.run(["umount", str(place)], capture_output=True, text=True, timeout=60, check=False)
        if done.returncode == 0:
            return
        said = done.stderr
        assert "busy" in said, said
        time.sleep(PAUSE)
    raise AssertionError(f"{place} stays busy: {said}")
