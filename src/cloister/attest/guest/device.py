"""Opening a guest's device for reports."""

import os
from pathlib import Path

from cloister.errors import CannotProtect, UsageError

__all__ = ["open_device"]


def open_device(device: Path) -> int:
    """A descriptor. UsageError for who is not root, CannotProtect."""
    try:
        return os.open(device, os.O_RDWR | os.O_CLOEXEC)
    except PermissionError as error:
        raise UsageError(f"{device}: asking for a report takes root here; use sudo") from error
    except OSError as error:
        raise CannotProtect(f"cannot open {device}: {error.strerror}") from error
