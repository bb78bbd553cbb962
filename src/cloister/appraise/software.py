"""What verified evidence of a software enclave claims, in the words of docs/formats/software-evidence.md."""

from cloister.appraise.appraisal import Claim
from cloister.evidence.software import MODE, Guard, SoftwareEvidence
from cloister.model import Digest, Measurement, MeasurementKind
from cloister.verification.recipe import VerifiedEvidence

__all__ = ["claims", "measurements"]


def claims(verified: VerifiedEvidence[SoftwareEvidence]) -> dict[str, Claim]:
    """What the host said about the enclave; what it did not say is left out. `debug`: it ran without its guard."""
    evidence = verified.evidence
    said: dict[str, Claim] = {
        "mode": MODE,
        "measurement": evidence.measurement.hex(),
        "executable": evidence.executable.hex(),
        "libraries": evidence.libraries.hex(),
        "runtime": evidence.runtime.hex(),
        "loaded": evidence.loaded.hex(),
        "guard": evidence.guard.value,
        "admission": evidence.admission.value,
        "report_data": evidence.report_data.hex(),
        "key_id": evidence.key_id.hex(),
        "debug": evidence.guard is Guard.OFF,
    }
    if evidence.kernel:
        said["kernel"] = evidence.kernel
    if evidence.boot_id:
        said["boot_id"] = evidence.boot_id.hex()
    if evidence.secure_boot is not None:
        said["secure_boot"] = evidence.secure_boot
    return said


def measurements(evidence: SoftwareEvidence) -> tuple[Measurement, ...]:
    """The program with its libraries, then what came in later."""
    return (
        Measurement("measurement", MeasurementKind.LAUNCH, Digest("sha256", evidence.measurement)),
        Measurement("loaded", MeasurementKind.RUNTIME, Digest("sha256", evidence.loaded)),
    )
