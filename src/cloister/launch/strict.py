"""Strict mode without a broker: the manifest of measured files, handed to the runtime by descriptor."""

import os

from cloister.errors import UsageError
from cloister.measure.software import SoftwareMeasurement, read_measurement

__all__ = ["manifest_descriptor", "read_manifest_file"]

LONGEST = 32 << 20


def read_manifest_file(path: str | os.PathLike[str]) -> SoftwareMeasurement:
    """The measurement that `cloister measure --write-manifest` wrote to this file. UsageError if it is none."""
    try:
        with open(path, "rb") as file:
            data = file.read(LONGEST + 1)
        if len(data) > LONGEST:
            raise UsageError(f"{os.fspath(path)}: longer than {LONGEST:,} bytes, so it is no manifest")
        return read_measurement(data.decode(), os.fspath(path))
    except OSError as error:
        raise UsageError(f"cannot read {os.fspath(path)}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{os.fspath(path)}: not UTF-8 text, so it is no manifest") from error


def manifest_descriptor(path: str | os.PathLike[str], program: str) -> int:
    """A descriptor for `RuntimeOptions.manifest_fd`, which survives an exec.

    `program` is the path that is going to be started. It must be the measured one: its content is then compared too.
    """
    measured = read_manifest_file(path)
    started = os.path.abspath(program)
    if started != measured.program:
        raise UsageError(
            f"{os.fspath(path)} is the manifest of {measured.program}, not of {started}; "
            f"make one: cloister measure --write-manifest FILE {started}"
        )
    descriptor = os.memfd_create("cloister-manifest", 0)
    with open(descriptor, "wb", closefd=False) as file:
        file.write(measured.started().serialize())
    return descriptor
