"""Where the built runtime is."""

from pathlib import Path

from cloister.errors import LaunchError

__all__ = ["runtime_path"]


def runtime_path() -> Path:
    """The `cloister-enclave` program that came with this package; `LaunchError` if it was not built."""
    path = Path(__file__).resolve().parent.parent / "_runtime" / "cloister-enclave"
    if not path.is_file():
        raise LaunchError(f"{path}: the runtime is not built; run `make -C runtime` or `pip install .`")
    return path
