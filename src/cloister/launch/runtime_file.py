"""Where the built runtime is."""

import os

from cloister.errors import LaunchError

__all__ = ["runtime_path"]


def runtime_path() -> str:
    """The `cloister-enclave` program that came with this package; `LaunchError` if it was not built."""
    package = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
    path = os.path.join(package, "_runtime", "cloister-enclave")
    if not os.path.isfile(path):
        raise LaunchError(f"{path}: the runtime is not built; run `make -C runtime` or `pip install .`")
    return path
