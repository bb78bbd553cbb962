"""What `cloister seal` and `cloister unseal` share: who the program is, which platform key, from where and to where."""

import argparse
import hashlib
import io
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol, Self

from cloister.errors import NotFound, UsageError
from cloister.model import Digest, Measurement, MeasurementKind, Tee
from cloister.result.keys import read_verification_keys
from cloister.seal.counter import FileCounter, MonotonicCounter
from cloister.seal.identity import SealingIdentity
from cloister.seal.keys import PlatformKey
from cloister.seal.platform_file import FilePlatformKey, default_key_path
from cloister.seal.tpm import DEFAULT_TCTI, TpmCounter, TpmPlatformKey

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer as Readable
    from _typeshed import WriteableBuffer as Writable  # collections.abc.Buffer is Python 3.12's

__all__ = [
    "STATEMENT",
    "InputFile",
    "StandardOutput",
    "add_options",
    "counter_of",
    "identity_of",
    "opened_key",
]

TPM: Final = "tpm"
MEASURED: Final = "executable"
SIGNED: Final = "signer-key"
STATEMENT: Final = (
    "Who the program is, is your word here: whoever may use the platform key can say the same, and unseal."
)


class ClosableKey(PlatformKey, Protocol):
    """A platform key that is closed after use."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *exception: object) -> None: ...


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options that both commands have."""
    add = parser.add_argument
    add("file", metavar="FILE", nargs="?", default="-", help="what to read; standard input if it is - or missing")
    add("-o", "--output", metavar="FILE", type=Path, help="a new file, mode 0600; standard output without it")
    add("--program", metavar="FILE", type=Path, help="the program: SHA-256 of this file is its measurement")
    add("--signer", metavar="FILE", type=Path, help="public key of the program's signer: PEM, DER or JWK")
    add("--security-version", metavar="N", type=int, default=0, help="the program's security version; 0 if not given")
    add("--debug", action="store_true", help="the program runs in debug mode: such data is kept apart")
    add("--label", metavar="TEXT", default="", help="what the data is; unsealing must say the same")
    add("--platform-key", metavar="FILE|tpm", default=str(default_key_path()),
        help="the platform key: a file, or `tpm` for one that never leaves the TPM (default: %(default)s)")  # fmt: skip
    add("--tpm", metavar="TCTI", default=DEFAULT_TCTI, help="which TPM, as tpm2-tss calls it (default: %(default)s)")
    add("--counter", metavar="FILE|tpm:INDEX",
        help="monotonic counter of this data: an older seal is refused; a file, or an NV index of the TPM")  # fmt: skip


def identity_of(args: argparse.Namespace) -> SealingIdentity:
    """The program that the command line describes. UsageError, NotFound."""
    if args.program is None:
        raise UsageError("--program FILE says which program the data is for; it is missing")
    try:
        with args.program.open("rb") as file:
            digest = Digest("sha256", hashlib.file_digest(file, "sha256").digest())
    except OSError as error:
        raise NotFound(f"{args.program}: {error.strerror}") from error
    try:
        return SealingIdentity(
            tee=Tee.SOFTWARE,
            measurement=Measurement(MEASURED, MeasurementKind.LAUNCH, digest),
            signer=None if args.signer is None else _signer(args.signer),
            security_version=args.security_version,
            debug=args.debug,
        )
    except ValueError as error:
        raise UsageError(f"--security-version: {error}") from error


def _signer(path: Path) -> Measurement:
    keys = read_verification_keys(path)
    if len(keys) != 1:
        raise UsageError(f"--signer {path} has {len(keys)} keys; give the one that signed the program")
    digest = Digest("sha256", hashlib.sha256(keys[0].spki).digest())
    return Measurement(SIGNED, MeasurementKind.SIGNER, digest)


def opened_key(args: argparse.Namespace, *, make: bool) -> ClosableKey:
    """The platform key; `make` says whether a missing file is made. UsageError."""
    if args.platform_key == TPM:
        silence_tss()
        return TpmPlatformKey(args.tpm)
    return FilePlatformKey(Path(args.platform_key), make=make)


def silence_tss() -> None:
    """Have tpm2-tss not write its own log to the terminal, unless asked to: what is wrong is said in our message."""
    os.environ.setdefault("TSS2_LOG", "all+none")


def counter_of(args: argparse.Namespace) -> MonotonicCounter | None:
    """The counter that --counter names. UsageError."""
    if args.counter is None:
        return None
    kind, _, index = args.counter.partition(":")
    if kind != TPM:
        return FileCounter(Path(args.counter))
    silence_tss()
    try:
        number = int(index, 0)
    except ValueError as error:
        raise UsageError(f"--counter {args.counter}: an NV index is a number like 0x01800010") from error
    return TpmCounter(number, args.tpm)


class InputFile(io.FileIO):
    """A file, or standard input for `-`, without a buffer that would keep what went through it."""

    def __init__(self, name: str) -> None:
        try:
            super().__init__(0 if name == "-" else name, "rb", closefd=name != "-")
        except (OSError, ValueError) as error:
            raise UsageError(f"cannot read {name}: {error}") from error

    def readinto(self, buffer: "Writable", /) -> int | None:
        """As files do; UsageError if it cannot be read."""
        try:
            return super().readinto(buffer)
        except OSError as error:
            raise UsageError(f"cannot read {self.name}: {error.strerror}") from error


class StandardOutput(io.FileIO):
    """Standard output, without a buffer."""

    def __init__(self) -> None:
        sys.stdout.flush()
        super().__init__(1, "wb", closefd=False)

    def write(self, data: "Readable", /) -> int:
        """As files do; UsageError if the disk is full, or the like."""
        try:
            return super().write(data)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise UsageError(f"cannot write standard output: {error.strerror}") from error
