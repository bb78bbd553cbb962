"""What firmware and boot loader measured before this kernel ran: the confidential-computing event log (CCEL).

The kernel shows the log's memory as it is, zeros behind the last event included (ACPI 6.5, section 5.2.34). Evidence
says what the registers hold; the log, replayed, says why.
"""

from pathlib import Path
from typing import Final

from cloister.errors import CannotProtect, UsageError

__all__ = ["LOG", "TPM_LOG", "read_event_log"]

LOG: Final = Path("/sys/firmware/acpi/tables/data/CCEL")
TPM_LOG: Final = Path("/sys/kernel/security/tpm0/binary_bios_measurements")
"""What was measured into the TPM (the kernel's Documentation/security/tpm/tpm_event_log.rst)."""


def read_event_log(path: Path = LOG) -> bytes:
    """The bytes of the log. CannotProtect if this machine has none, UsageError if it may not be read."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise CannotProtect(f"{path} does not exist: this is no guest whose firmware keeps such a log") from None
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    if not any(content):
        raise CannotProtect(f"{path} is empty: the firmware measured nothing")
    return content
