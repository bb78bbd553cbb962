"""Small C programs that some attacks need: compiled when they are made, with this machine's compiler."""

import subprocess
from pathlib import Path

from cloister.app.battery.attack import NotTried
from cloister.app.battery.tracing import program

__all__ = ["build"]

BUILD_SECONDS = 60.0


def build(place: Path, name: str, source: str, *flags: str) -> Path:
    """Compile one of these."""
    compiler = program("cc")
    text = place / f"{name}.c"
    text.write_text(source)
    done = subprocess.run(
        [compiler, "-O1", "-o", str(place / name), str(text), *flags],
        capture_output=True,
        text=True,
        check=False,
        timeout=BUILD_SECONDS,
        cwd=place,
    )
    if done.returncode:
        raise NotTried(f"cc could not build what is needed: {done.stderr.strip()[-120:]}")
    return place / name
