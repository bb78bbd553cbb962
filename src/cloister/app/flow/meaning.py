"""What each message of a flow is, in the words of RFC 9334, and who could read what in it."""

from dataclasses import dataclass
from typing import Final

from cloister.app.flow.record import Message

__all__ = ["Meaning", "meaning_of"]


@dataclass(frozen=True, slots=True)
class Meaning:
    """`title`: a few words. `text`: a sentence or two for a person. `sealed`: only the enclave can read the content."""

    title: str
    text: str
    sealed: bool = False


ATTEST_REQUEST: Final = Meaning(
    "Evidence",
    "The host's attestation key signed which program and which list of files this is, under which runtime and guard, "
    "and the report data: so the evidence belongs to this challenge and this key.",
)  # fmt: skip
MEANINGS: Final[dict[str, Meaning]] = {
    "HELLO": Meaning(
        "Hello", "The runtime in the enclave says its version and that its guard holds. No line of the program has run."
    ),
    "MANIFEST": Meaning(
        "What may be code",
        "Every file that may be code beside the program, by its SHA-256. Nothing else will be let in.",
    ),
    "STATEMENT": Meaning(
        "Claims and key",
        "What the runtime measured: SHA-256 of the program and of the list; and the public half of a key that it has "
        "just made in secret memory, for this one conversation.",
    ),
    "NONCE": Meaning("Challenge", "A number that was never used: old evidence cannot answer it."),
    "QUOTE": Meaning("Report data", "SHA-384 of the challenge and the key. The evidence must say it."),
    "SEALED": Meaning(
        "Secrets, sealed",
        "Encrypted to the key in the enclave (HPKE). The carrier passes on what it cannot open.",
        sealed=True,
    ),
    "REFUSED": Meaning("Refused", "No secret was released; the text says why."),
    "REFRESH": Meaning("Asked again", "The running program opened a secret file again: a new key, a new conversation."),
    "EVIDENCE_WANTED": Meaning("Evidence wanted", "The program asks for evidence over report data of its own."),
    "EVIDENCE": Meaning("Evidence", "Signed by the host's attestation key."),
    "POST /kbs/v0/auth": Meaning("Asks for a challenge", "Who wants to attest, of which kind of TEE."),
    "POST /kbs/v0/attest": ATTEST_REQUEST,
    "GET /cloister/v1/provision": Meaning(
        "Asks for the secrets", "By the attestation result: the session's rules decide whether it is enough."
    ),
}
ANSWERS: Final[dict[str, Meaning]] = {
    "POST /kbs/v0/auth": Meaning("Challenge", "A number that was never used, and the cookie that stands for it."),
    "POST /kbs/v0/attest": Meaning(
        "Attestation result",
        "The verifier found the evidence authentic and fresh, appraised it, and signs what it found (EAR).",
    ),
    "GET /cloister/v1/provision": Meaning(
        "Secrets, sealed",
        "The release is in the audit log, on the disk. The secrets are encrypted to the attested key alone.",
        sealed=True,
    ),
}
UNKNOWN: Final = Meaning("", "A message that this version of Cloister does not know.")
REFUSED: Final = Meaning("Refused", "The server says no; nothing was released.")


def meaning_of(message: Message) -> Meaning:
    """What it is; for a server's answer by its status too."""
    kind = next((one for one in MEANINGS if message.kind == one or message.kind.startswith(f"{one}/")), "")
    if message.status >= 400:
        return REFUSED
    found = ANSWERS if message.status else MEANINGS
    return found.get(kind, UNKNOWN)
