"""Why sealed data does not open: it is for another, and this names for whom; or it is not authentic."""

from enum import StrEnum

from cloister.errors import Denied, VerificationError

__all__ = ["Mismatch", "SealBroken", "SealedForAnother"]


class Mismatch(StrEnum):
    """What is not as it was when the data was sealed."""

    PLATFORM = "platform"
    MEASUREMENT = "measurement"
    SIGNER = "signer"
    SECURITY_VERSION = "security version"
    DEBUG = "debug mode"
    LABEL = "label"
    COUNTER = "counter"


class SealedForAnother(Denied):
    """The data is sealed for another platform, program, version, mode, label or moment: `mismatches` says which.

    `authenticated`: the header that says so was checked. It cannot be checked without the platform's key, so that
    "another platform" may as well be damage.
    """

    def __init__(
        self, reason: str, *, mismatches: tuple[Mismatch, ...], authenticated: bool,
        expected: object = "", actual: object = "",
    ) -> None:  # fmt: skip
        super().__init__(reason, expected=expected, actual=actual, set_by="the sealed data's header")
        self.mismatches, self.authenticated = mismatches, authenticated


class SealBroken(VerificationError):
    """The data was changed, cut, put together or forged since it was sealed. Which, nobody can tell."""
