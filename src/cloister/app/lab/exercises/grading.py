"""What each exercise demands, found in the machines' records. Nothing is done that did not happen."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

from cloister.app.lab.exercises.record import AT_FIRST, PRICE, Record

__all__ = ["GRADERS", "Demand", "Records"]

RICH: Final = 1_000_000
LONGEST_LINE: Final = 4095
"""Bytes that the victim asks for with its letter `i`."""


class Demand(NamedTuple):
    """One thing that must have happened, whether it did, and what was seen instead if that is known."""

    text: str
    met: bool
    remark: str = ""


Records = Mapping[str, Record]
Grader = Callable[[Records], Sequence[Demand]]


def cold_boot(records: Records) -> list[Demand]:
    """The secret out of a TrustZone machine's DRAM; ciphertext in a SEV machine's."""
    plain, sealed = records["trustzone"], records["sev"]
    looked = sealed.looked_in_vain("dram", "secret") or sealed.looked_in_vain("search")
    return [
        Demand("attack, trustzone: the PIN is found (`check --answer PIN-...`)", plain.answered),
        Demand(
            "defence, sev: you looked for it in DRAM (`dram secret` or `search PIN-`), and it was not there", looked
        ),
    ]


def reading(records: Records) -> list[Demand]:
    """Reading works without a TEE, as CPU and as device; SGX answers with the abort page."""
    bare, enclave = records["native"], records["sgx"]
    return [
        Demand("attack, native: you read the PIN as the host (`read`)", bare.saw_secret("read")),
        Demand("attack, native: you read the PIN by DMA (`dma-read`)", bare.saw_secret("dma-read")),
        Demand("attack, native: the PIN is found (`check --answer PIN-...`)", bare.answered),
        Demand("defence, sgx: you tried `read secret`, and did not see it", enclave.looked_in_vain("read", "secret")),
        Demand("defence, sgx: you tried `dma-read secret`, in vain", enclave.looked_in_vain("dma-read", "secret")),
    ]


def replay(records: Records) -> list[Demand]:
    """The victim pays, and believes that it has not: under SEV. SGX's counter tree notices."""
    guest, enclave = records["sev"], records["sgx"]
    fooled = any((one.printed, one.true) == (AT_FIRST, AT_FIRST - PRICE) for one in guest.beliefs())
    kept = enclave.did("keep", "balance")
    paid = None if kept is None else enclave.typed("w", kept)
    put = None if paid is None else enclave.did("put", "balance", after=paid)
    return [
        Demand("attack, sev: its owner paid (`say sev w`)", guest.typed("w") is not None),
        Demand("attack, sev: it then printed 1000, though 100 are left", fooled, last_balance(guest)),
        Demand("defence, sgx: you kept the balance's DRAM, the owner paid, you put it back", put is not None),
        Demand(
            "defence, sgx: the machine stopped the program because of it",
            put is not None and "integrity" in enclave.stopped and not misled(enclave),
            enclave.ended,
        ),
    ]


def remapping(records: Records) -> list[Demand]:
    """SEVered under SEV; the RMP of SEV-SNP notices."""
    guest, protected = records["sev"], records["sev-snp"]
    rich = guest.did("remap", "balance", "riches", refused=False) is not None and any(
        (one.printed, one.true != RICH) == (RICH, True) for one in guest.beliefs()
    )
    tried = protected.did("remap", "balance")
    return [
        Demand("attack, sev: after your `remap` it printed 1000000", rich, last_balance(guest)),
        Demand("defence, sev-snp: you tried the same `remap`", tried is not None),
        Demand(
            "defence, sev-snp: it never printed a false balance, and the machine stopped it",
            tried is not None and bool(protected.stopped) and not misled(protected),
            protected.ended,
        ),
    ]


def page_faults(records: Records) -> list[Demand]:
    """A secret from page faults; and a program that gives nothing away."""
    enclave = records["sgx"]
    traced = enclave.did("trace")
    branching = None if traced is None else enclave.typed("c", traced)
    leaked = branching is not None and {"bit_set", "bit_clear"} & set(enclave.faults(branching))
    again = None if branching is None else enclave.did("trace", after=branching)
    silent = None if again is None else enclave.typed("o", again)
    shown = None if silent is None else enclave.did("faults", after=silent)
    quiet = silent is not None and not {"bit_set", "bit_clear"} & set(enclave.faults(silent))
    traced_words = set() if again is None else set(enclave.events[again]["places"])
    return [
        Demand("attack: you took pages away (`trace`) and saw faults while the owner said `c`", bool(leaked)),
        Demand("attack: the 32 bits are found (`check --answer BITS`)", enclave.answered),
        Demand(
            "defence: `trace` once more with bit_set and bit_clear, the owner says `o`, and `faults` shows neither",
            shown is not None and quiet and {"bit_set", "bit_clear"} <= traced_words,
        ),
    ]


def registers(records: Records) -> list[Demand]:
    """Registers at an interrupt: SEV shows them, SEV-ES does not."""
    guest, protected = records["sev"], records["sev-es"]
    interrupted = protected.did("interrupt")
    computed = None if interrupted is None else protected.typed("r", interrupted)
    looked = None if computed is None else protected.did("registers", after=computed)
    return [
        Demand("attack, sev: `registers` showed you the key", guest.saw_secret("registers")),
        Demand("attack, sev: the key is found (`check --answer KEY`)", guest.answered),
        Demand(
            "defence, sev-es: `interrupt`, the owner says `r`, `registers`: nothing to see",
            looked is not None and not protected.saw_secret("registers"),
        ),
    ]


def lying_host(records: Records) -> list[Demand]:
    """A forged count is believed without a TEE, and stopped by the trusted part of one."""
    bare, enclave = records["native"], records["sgx"]
    forged = enclave.did("forge")
    told = [int(answer) for line, answer in bare.replies() if line == "i" and answer.lstrip("-").isdecimal()]
    fooled = bare.did("forge") is not None and any(not 0 <= number <= LONGEST_LINE for number in told)
    return [
        Demand("attack, native: after your `forge` it printed a count that no read of 4095 bytes can have", fooled),
        Demand("defence, sgx: you tried `forge` with a count that is too large", forged is not None),
        Demand(
            "defence, sgx: the shield stopped the program before it saw the lie",
            forged is not None and "untrusted host" in enclave.stopped,
            enclave.ended,
        ),
    ]


def misled(record: Record) -> bool:
    """Whether the program ever printed a balance that is not its own."""
    return any(one.printed != one.true for one in record.beliefs())


def last_balance(record: Record) -> str:
    """What was printed last, for people."""
    beliefs = record.beliefs()
    if record.ended:
        return record.ended
    return f"it printed {beliefs[-1].printed}; {beliefs[-1].true} is true" if beliefs else "it has not been asked (`b`)"


GRADERS: Final[Mapping[int, Grader]] = {
    1: cold_boot, 2: reading, 3: replay, 4: remapping, 5: page_faults, 6: registers, 7: lying_host,
}  # fmt: skip
