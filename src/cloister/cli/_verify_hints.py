"""Which option of `cloister verify` may help after a failure, and what somebody handed over instead of evidence."""

from cloister.endorse.anchors import AnchorKind
from cloister.endorse.importing import import_files
from cloister.errors import ChainInvalid, CloisterError, EndorsementUnavailable, ParseError
from cloister.model import Tee
from cloister.verification.recipe import Check, CheckState
from cloister.verifier.trust_files import LONGEST_KEY, anchors_in

__all__ = ["hint_for"]

OWNED = frozenset({"CCA", "KEYSTONE", "TPM"})
VENDORS = frozenset({"SGX", "TDX", "SNP", "SEV"})
STARTS = {
    b"\xffTCG": "this is a TPM quote alone: hand it over with its signature, key and PCR values (JSON with `ak_public` "
    "and `tpm_quote`)",
    b"\xd9\x01\xf5": "this is a CoRIM: reference values, which a policy names under [reference_values]",
    b"eyJ": "this is a token: if it is an attestation result, `cloister result verify` reads it",
}


def hint_for(error: CloisterError, data: bytes) -> str:
    """One sentence, or nothing."""
    if isinstance(error, ParseError):
        return _mistaken(data)
    checks: tuple[Check, ...] = getattr(error, "checks", ())
    failed = [one for one in checks if one.state in {CheckState.FAILED, CheckState.UNDECIDED}]
    return _option(error, failed[0]) if failed else ""


def _option(error: CloisterError, failed: Check) -> str:
    tee = failed.number.partition("-")[0]
    if isinstance(error, ChainInvalid) and failed.set_by == "trust anchors":
        if tee in OWNED:
            return "--trust-key FILE believes a key or CA that you have from the owner"
        if tee == "SOFTWARE":
            return "--trust-host-key FILE believes the key of a host that you trust"
        return "--unsafe-trust-root FILE believes another root: for emulators and tests" if tee in VENDORS else ""
    if failed.title.startswith("Production"):
        return "--unsafe-allow-debug, while developing: whatever is inside is no secret"
    if isinstance(error, EndorsementUnavailable) and tee in VENDORS:
        return "--endorsement FILE, if you have it; --at TIME, if the evidence is an old one"
    return ""


def _mistaken(data: bytes) -> str:
    """What it is, if it is something that belongs beside evidence."""
    for start, what in STARTS.items():
        if data.startswith(start):
            return what
    if _is_collateral(data):
        return "this is collateral: give it with --endorsement FILE, beside the evidence that it is about"
    if len(data) <= LONGEST_KEY and _is_key(data):
        return "this is a public key: --trust-key FILE or --trust-host-key FILE believes it, beside the evidence"
    return ""


def _is_collateral(data: bytes) -> bool:
    try:
        return bool(import_files([("", data)]))
    except CloisterError:
        return False


def _is_key(data: bytes) -> bool:
    try:
        anchors_in(data, "", kind=AnchorKind.TESTING, tees=frozenset(Tee))
    except CloisterError:
        return False
    return True
