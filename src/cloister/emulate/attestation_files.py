"""Files by which an unmodified program attests itself, seals, and reads its secrets: /dev/attestation, /run/secrets.

    provide_attestation(machine)                 # after the launch, before or after `start`
    provide_secret(machine.shim, "key", secret)  # /run/secrets/key

The names and their meaning are Gramine's (its documentation, "Attestation and secret provisioning"), so a program that
attests itself under Gramine does so here. A machine without attestation has none of these files.
"""

from collections.abc import Callable
from typing import Final

from cloister.emulate.linux.outcome import Failed
from cloister.emulate.linux.provided import Read, Save
from cloister.emulate.linux.shim import Shim
from cloister.emulate.machine import Machine
from cloister.errors import CloisterError, UsageError
from cloister.model import Tee

__all__ = ["ATTESTATION", "SECRETS", "provide_attestation", "provide_secret"]

ATTESTATION: Final = "/dev/attestation"
SECRETS: Final = "/run/secrets"
REPORT_DATA: Final = 64
SEV_NONCE: Final = 16
"""All that evidence of SEV before SNP has room for."""

KINDS: Final = {Tee.SGX: "dcap"}
"""What `attestation_type` says where Gramine has a word; elsewhere it is the TEE's name."""

CALLED_REPORTS: Final = frozenset({Tee.SEV, Tee.SNP, Tee.KEYSTONE})
"""Whose evidence its vendor calls a report: it is in `report` too. Elsewhere that would be for this machine only."""

EIO, EINVAL = 5, 22


class _ReportData:
    """What the program wants in its evidence: at most `limit` bytes, zeros up to 64 behind them."""

    def __init__(self, limit: int) -> None:
        self.limit, self.value = limit, bytes(REPORT_DATA)

    def save(self, data: bytes) -> None:
        """As written. Failed with EINVAL if the evidence has no room for it; then the old data stay."""
        if len(data) > REPORT_DATA or any(data[self.limit :]):
            raise Failed(EINVAL)
        self.value = data.ljust(REPORT_DATA, b"\0")


def provide_attestation(machine: Machine) -> None:
    """Give the program in a launched machine its attestation files and sealing keys.

    On SEV before SNP, `user_report_data` takes 16 bytes that are not zero: they are the nonce of a report that the host
    asks for, not the guest. It says what was launched, and cannot speak of a key that the program made.
    """
    if machine.tee is None:
        return
    asked = _ReportData(SEV_NONCE if machine.tee is Tee.SEV else REPORT_DATA)
    files: dict[str, tuple[bytes | Read, Save | None]] = {
        "attestation_type": (KINDS.get(machine.tee, str(machine.tee)).encode(), None),
        "user_report_data": (lambda: asked.value, asked.save),
        "quote": (_answer(lambda: machine.evidence(asked.value)), None),
    }
    if machine.tee in CALLED_REPORTS:
        files["report"] = files["quote"]
    files |= {f"keys/{name}": (_answer(key), None) for name, key in sealing_keys(machine).items()}
    for name, (content, save) in files.items():
        machine.shim.provide(f"{ATTESTATION}/{name}", content, save=save, mount=ATTESTATION)


def sealing_keys(machine: Machine) -> dict[str, Read]:
    """The keys that this kind of machine derives for the program that was measured; by file name."""
    if machine.tee is Tee.SGX:
        from cloister.emulate.sgx.machine import SgxMachine  # noqa: PLC0415 - imported when asked for
        from cloister.emulate.sgx.structures import KeyPolicy  # noqa: PLC0415

        if isinstance(machine, SgxMachine):
            return {
                "_sgx_mrenclave": lambda: machine.sealing_key(KeyPolicy.MRENCLAVE),
                "_sgx_mrsigner": lambda: machine.sealing_key(KeyPolicy.MRSIGNER),
            }
    if machine.tee is Tee.SNP:
        from cloister.emulate.snp.machine import SnpMachine  # noqa: PLC0415

        if isinstance(machine, SnpMachine):
            return {"_snp_measurement": machine.derived_key}
    if machine.tee is Tee.KEYSTONE:
        from cloister.emulate.keystone.machine import KeystoneMachine  # noqa: PLC0415

        if isinstance(machine, KeystoneMachine):
            return {"_keystone_enclave": lambda: machine.runtime.sealing_key(b"")}
    return {}


def provide_secret(shim: Shim, name: str, secret: bytes) -> None:
    """A secret that the owner sent, as a file of that name. ValueError if it is no file name."""
    if not name or "/" in name or name in {".", ".."}:
        raise ValueError(f"{name!r} is no file name")
    shim.provide(f"{SECRETS}/{name}", secret)


def _answer(make: Callable[[], bytes]) -> Read:
    """EINVAL where the machine cannot do it so, EIO where the host kept it from it."""

    def read() -> bytes:
        try:
            return make()
        except UsageError as error:
            raise Failed(EINVAL) from error
        except CloisterError as error:
            raise Failed(EIO) from error

    return read
