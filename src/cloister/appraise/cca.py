"""What a verified Arm CCA token claims, in the words of draft-ffm-rats-cca-token."""

from cloister.appraise.appraisal import Claim
from cloister.appraise.claims import as_claim
from cloister.evidence.cca import CcaToken
from cloister.evidence.cca_claims import HASHES, SoftwareComponent
from cloister.model import Digest, Measurement, MeasurementKind
from cloister.verification.recipe import VerifiedEvidence

__all__ = ["claims", "measurements"]


def claims(verified: VerifiedEvidence[CcaToken]) -> dict[str, Claim]:
    """Realm and platform claims; optional ones only where the token has them. `debug`: the platform is not secured.

    `software_components` are lines of `type=…, version=…, measurement=…, signer_id=…` in the token's order.
    """
    platform, realm = verified.evidence.platform_claims, verified.evidence.realm_claims
    said: dict[str, object] = {
        "rim": realm.initial_measurement,
        **{f"rem{number}": value for number, value in enumerate(realm.extensible_measurements)},
        "rpv": realm.personalization_value,
        "hash_algorithm": realm.hash_algorithm,
        "challenge": realm.challenge,
        "realm_profile": realm.profile,
        "realm_instance_id": realm.instance_id,
        "mec_policy": realm.mec_policy,
        "platform_profile": platform.profile,
        "implementation_id": platform.implementation_id,
        "instance_id": platform.instance_id,
        "config": platform.config,
        "lifecycle": platform.lifecycle_state,
        "platform_hash_algorithm": platform.hash_algorithm,
        "software_components": [_line(one) for one in platform.software_components],
        "verification_service": platform.verification_service,
        "debug": platform.lifecycle_state != "secured",
    }
    return {name: as_claim(value) for name, value in said.items() if value or isinstance(value, int)}


def _line(component: SoftwareComponent) -> str:
    """One software component as a claim that a policy can compare as a whole."""
    parts = {
        "type": component.kind, "version": component.version, "measurement": component.measurement.hex(),
        "signer_id": component.signer_id.hex(), "hash_algorithm": component.hash_algorithm,
    }  # fmt: skip
    return ", ".join(f"{name}={value}" for name, value in parts.items() if value)


def measurements(evidence: CcaToken) -> tuple[Measurement, ...]:
    """RIM, then the four REMs."""
    realm = evidence.realm_claims
    algorithm = HASHES[realm.hash_algorithm]
    registers = (
        Measurement(f"rem{number}", MeasurementKind.RUNTIME, Digest(algorithm, value))
        for number, value in enumerate(realm.extensible_measurements)
    )
    return Measurement("rim", MeasurementKind.LAUNCH, Digest(algorithm, realm.initial_measurement)), *registers
