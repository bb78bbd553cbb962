"""The exception tree, and the exit code that each branch becomes.

    CloisterError                   1
    ├── UsageError                  2    the command line or an input file is wrong
    ├── ParseError                  2    bytes are not what they claim to be: record, field and offset are named
    ├── PolicyError                 2    a policy, session or file of reference values is wrong
    ├── ObservationError            3    a process or dump could not be looked at
    ├── Denied                      4    nothing is released: the session does not allow it
    ├── VerificationError           5    evidence is not authentic: the format is right, the proof is not
    │   ├── SignatureInvalid        5    a signature does not verify
    │   ├── ChainInvalid            5    a certificate chain does not lead to a trust anchor
    │   ├── Revoked                 5    a certificate is on its issuer's revocation list
    │   ├── BindingInvalid          5    two parts that must belong together do not
    │   ├── NotFresh                5    the evidence does not answer the challenge
    │   └── NotAttested             5    nothing is released: there is no valid attestation result for this key
    ├── EndorsementUnavailable      6    could not decide: something that vouches is missing or outside its window
    │   └── Undecided               6    nothing is released, and nothing denied: it could not be decided
    └── LaunchError               125    the enclave could not be started, for a reason in Cloister itself
        ├── CannotProtect         120    this machine does not offer what protection needs
        ├── CannotEnclave         121    this program cannot be enclaved (32-bit, not ELF)
        ├── NotExecutable         126    the program was found but may not be executed
        └── NotFound              127    the program was not found

Every message says what happened, to which input, and what to do about it.
"""

__all__ = [
    "BindingInvalid",
    "CannotEnclave",
    "CannotProtect",
    "ChainInvalid",
    "CloisterError",
    "Denied",
    "EndorsementUnavailable",
    "LaunchError",
    "NotAttested",
    "NotExecutable",
    "NotFound",
    "NotFresh",
    "ObservationError",
    "ParseError",
    "PolicyError",
    "Revoked",
    "SignatureInvalid",
    "Undecided",
    "UsageError",
    "VerificationError",
]


class CloisterError(Exception):
    """Root of everything Cloister raises on purpose."""

    exit_code = 1


class UsageError(CloisterError):
    """The command line or an input file is wrong."""

    exit_code = 2


class ParseError(CloisterError):
    """Bytes are not the format they claim to be.

    `record` is the structure being read, `field` its part, `offset` the byte in the input at which it stands.
    Nothing is returned with it: a partly read record does not exist.
    """

    exit_code = 2

    def __init__(self, record: str, field: str, offset: int, reason: str) -> None:
        super().__init__(f"{record}: {field} at byte {offset}: {reason}")
        self.record, self.field, self.offset, self.reason = record, field, offset, reason

    def __reduce__(self) -> tuple[type["ParseError"], tuple[str, str, int, str]]:
        """Travels between processes: `verify_many` raises in one and reports in another."""
        return type(self), (self.record, self.field, self.offset, self.reason)


class PolicyError(CloisterError):
    """A policy, a session or a file of reference values is wrong: nothing was appraised or released by it."""

    exit_code = 2


class VerificationError(CloisterError):
    """Evidence is not authentic: the format is right, the proof is not.

    `expected` and `actual` are what the failed check compared, `set_by` who demanded `expected`. The recipe that was
    being followed adds its `checks` (cloister.verification.recipe.Check), the failed one among them.
    """

    exit_code = 5

    def __init__(self, reason: str, *, expected: object = "", actual: object = "", set_by: str = "") -> None:
        super().__init__(reason)
        self.reason, self.expected, self.actual, self.set_by = reason, expected, actual, set_by
        self.checks: tuple[object, ...] = ()


class SignatureInvalid(VerificationError):
    """A signature does not verify under the key that should have made it."""


class ChainInvalid(VerificationError):
    """A certificate chain does not lead to a trust anchor, or not by certificates that may issue."""


class Revoked(VerificationError):
    """A certificate is on the revocation list of its issuer."""


class BindingInvalid(VerificationError):
    """Two parts that must belong together do not: a key and the report that names it, a log and its registers."""


class NotFresh(VerificationError):
    """The evidence does not answer the challenge."""


class NotAttested(VerificationError):
    """Nothing is released: whoever asks has no result that is valid now, from a trusted verifier, about a key.

    A new attestation may help. `status` is the HTTP status that says so.
    """

    status = 401


class EndorsementUnavailable(CloisterError):
    """Could not decide: a certificate, revocation list or TCB statement is missing, or outside its validity window.

    Never the same as refused: fetching what is missing and trying again is sensible.
    """

    exit_code = 6

    def __init__(self, reason: str, *, expected: object = "", actual: object = "", set_by: str = "") -> None:
        super().__init__(reason)
        self.reason, self.expected, self.actual, self.set_by = reason, expected, actual, set_by
        self.checks: tuple[object, ...] = ()


class Undecided(EndorsementUnavailable):
    """Nothing is released because it could not be decided. Never a denial: asking again later is sensible."""

    status = 503


class Denied(CloisterError):
    """Nothing is released, and that is decided: the session does not allow it for what was attested.

    `checks` are the checks that decided (cloister.broker.release.ReleaseCheck), the failed ones among them.
    """

    exit_code = 4
    status = 403

    def __init__(self, reason: str, *, expected: object = "", actual: object = "", set_by: str = "") -> None:
        super().__init__(reason)
        self.reason, self.expected, self.actual, self.set_by = reason, expected, actual, set_by
        self.checks: tuple[object, ...] = ()


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
