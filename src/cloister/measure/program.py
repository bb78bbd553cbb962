"""What a program must measure in each kind of machine, as `cloister run --tee` launches it."""

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from cloister.errors import UsageError
from cloister.measure import cca, enclave, keystone, sev, snp, tdx
from cloister.measure.guest import GuestLayout
from cloister.measure.image import Image
from cloister.model import Digest, Tee

__all__ = ["MEASURED", "ProgramMeasurement", "program_measurement"]


class ProgramMeasurement(NamedTuple):
    """`claim` is what policies and results call it, as in `sgx:mrenclave`."""

    tee: Tee
    claim: str
    digest: Digest


Measure = Callable[[Image], Digest]

MEASURED: Final[Mapping[str, tuple[Tee, str, Measure]]] = {
    "sgx": (Tee.SGX, "mrenclave", enclave.mrenclave),
    "sgx-scalable": (Tee.SGX, "mrenclave", enclave.mrenclave),
    "sev": (Tee.SEV, "launch_digest", lambda image: sev.guest_digest(GuestLayout.of(image), encrypted_state=False)),
    "sev-es": (Tee.SEV, "launch_digest", lambda image: sev.guest_digest(GuestLayout.of(image), encrypted_state=True)),
    "sev-snp": (Tee.SNP, "measurement", lambda image: snp.guest_digest(GuestLayout.of(image))),
    "tdx": (Tee.TDX, "mrtd", lambda image: tdx.guest_digest(GuestLayout.of(image))),
    "cca": (Tee.CCA, "rim", lambda image: cca.guest_digest(GuestLayout.of(image))),
    "keystone": (Tee.KEYSTONE, "enclave_hash", lambda image: keystone.guest_digest(GuestLayout.of(image))),
}
"""machine -> whose evidence, the claim's name, and the formula."""

NOT_MEASURED: Final = {
    "native": "without a TEE nothing is measured",
    "sme": "SME encrypts memory and measures nothing",
    "trustzone": "TrustZone's trusted boot checks a signature; there is no measurement that others could be shown",
}


def program_measurement(machine: str, image: Image) -> ProgramMeasurement:
    """The launch measurement. UsageError for a machine that measures nothing, CannotEnclave for a wrong program."""
    if machine not in MEASURED:
        why = NOT_MEASURED.get(machine, f"there is no such machine; there are {', '.join(MEASURED)}")
        raise UsageError(f"{machine}: {why}")
    tee, claim, formula = MEASURED[machine]
    return ProgramMeasurement(tee, claim, formula(image))
