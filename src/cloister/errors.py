"""The exception tree, and the exit code that each branch becomes.

    CloisterError                1
    ├── UsageError               2    the command line or an input file is wrong
    ├── ObservationError         3    a process or dump could not be looked at
    └── LaunchError            125    the enclave could not be started, for a reason in Cloister itself
        ├── CannotProtect      120    this machine does not offer what protection needs
        ├── CannotEnclave      121    this program cannot be enclaved (32-bit, not ELF)
        ├── NotExecutable      126    the program was found but may not be executed
        └── NotFound           127    the program was not found

Every message says what happened, to which input, and what to do about it.
"""

__all__ = [
    "CannotEnclave",
    "CannotProtect",
    "CloisterError",
    "LaunchError",
    "NotExecutable",
    "NotFound",
    "ObservationError",
    "UsageError",
]


class CloisterError(Exception):
    """Root of everything Cloister raises on purpose."""

    exit_code = 1


class UsageError(CloisterError):
    """The command line or an input file is wrong."""

    exit_code = 2


class ObservationError(CloisterError):
    """A process or dump could not be looked at."""

    exit_code = 3


class LaunchError(CloisterError):
    """The enclave could not be started."""

    exit_code = 125


class CannotProtect(LaunchError):
    """This machine lacks what protection needs; nothing was run."""

    exit_code = 120


class CannotEnclave(LaunchError):
    """This program cannot be enclaved; nothing was run."""

    exit_code = 121


class NotExecutable(LaunchError):
    """The program was found but may not be executed."""

    exit_code = 126


class NotFound(LaunchError):
    """The program was not found."""

    exit_code = 127
