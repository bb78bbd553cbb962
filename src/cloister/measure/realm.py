"""A realm's description: the host's calls in their order, from which its RIM follows.

A RIM depends on what the host adds, where, and in which order; there is no image format that says so, and every
hypervisor has an order of its own. So the description is a file of the steps, in TOML:

    hash_algorithm = "sha256"        # or sha512; also s2sz, sve_vl, num_bps, num_wps, pmu_num_ctrs, flags
    s2sz = 40

    [[step]]
    data = "Image"                   # a file, in granules of 4,096 bytes, the last one filled with zeros
    address = 0x80200000
    measured = true                  # false: the granules are added, their contents are not measured

    [[step]]
    ram = [0x80000000, 0xC0000000]   # RIPAS; as the monitor processes it, one entry of its tables after the other
    whole = false                    # true: one call for the whole range

    [[step]]
    pc = 0x80200000                  # a virtual processor
    gprs = [0x83000000]              # its first registers, up to 8
    runnable = true

Numbers may also be texts with a unit: "1G".
"""

import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from cloister.errors import UsageError
from cloister.measure.cca import BLOCK, GRANULE, RealmInitialMeasurement, RealmParameters, table_entries
from cloister.measure.components import content, hexadecimal
from cloister.model import Digest

__all__ = ["Data", "Processor", "Ram", "RealmDescription", "read_realm"]

MOST_STEPS: Final = 4096
MOST_MEMORY: Final = 1 << 40
MOST_ENTRIES: Final = 1 << 20
"""Table entries of all ranges together."""

WORD: Final = 1 << 64
PARAMETERS: Final = ("flags", "s2sz", "sve_vl", "num_bps", "num_wps", "pmu_num_ctrs")
UNITS: Final = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


@dataclass(frozen=True, slots=True)
class Data:
    """A file at an address."""

    file: str
    address: int
    measured: bool


@dataclass(frozen=True, slots=True)
class Ram:
    """A range that becomes memory."""

    base: int
    top: int
    whole: bool

    def entries(self) -> Iterable[tuple[int, int]]:
        """The ranges that are measured."""
        return [(self.base, self.top)] if self.whole else table_entries(self.base, self.top)

    @property
    def count(self) -> int:
        """How many ranges, without making them."""
        first, last = -(-self.base // BLOCK) * BLOCK, self.top // BLOCK * BLOCK
        if self.whole:
            return 1
        if first >= last:
            return (self.top - self.base) // GRANULE
        return (first - self.base + self.top - last) // GRANULE + (last - first) // BLOCK


@dataclass(frozen=True, slots=True)
class Processor:
    """A virtual processor."""

    pc: int
    gprs: tuple[int, ...]
    runnable: bool


Step = Data | Ram | Processor


@dataclass(frozen=True, kw_only=True)
class RealmDescription:
    """Parameters and steps."""

    parameters: RealmParameters
    steps: tuple[Step, ...]

    @property
    def files(self) -> list[str]:
        """The files that it names, in order, each once."""
        return list(dict.fromkeys(one.file for one in self.steps if isinstance(one, Data)))

    def rim(self, read: Callable[[str], bytes]) -> Digest:
        """The RIM; `read` gives the content of a file."""
        running = RealmInitialMeasurement.create(self.parameters)
        for step in self.steps:
            match step:
                case Data():
                    running = _add_data(running, step, read(step.file))
                case Ram():
                    for base, top in step.entries():
                        running = running.set_ram(base, top)
                case Processor():
                    running = running.add_rec(pc=step.pc, gprs=step.gprs, flags=int(step.runnable))
        return running.digest

    def components(self, read: Callable[[str], bytes]) -> dict[str, str]:
        """Parameters, and every step under its number."""
        made = {name: str(getattr(self.parameters, name)) for name in PARAMETERS}
        made["hash algorithm"] = self.parameters.hash_algorithm
        for number, step in enumerate(self.steps, 1):
            match step:
                case Data():
                    place = f"step {number} data {hexadecimal(step.address)}"
                    made[place] = content(read(step.file)) if step.measured else "not measured"
                case Ram():
                    made[f"step {number} ram"] = f"{hexadecimal(step.base)}-{hexadecimal(step.top)}"
                case Processor():
                    made[f"step {number} processor"] = ", ".join(map(hexadecimal, (step.pc, *step.gprs)))
        return made


def _add_data(running: RealmInitialMeasurement, step: Data, data: bytes) -> RealmInitialMeasurement:
    for at in range(0, len(data), GRANULE):
        granule = data[at : at + GRANULE].ljust(GRANULE, b"\0")
        running = running.add_data(step.address + at, granule if step.measured else None)
    return running


def read_realm(text: str, name: str) -> RealmDescription:
    """Read a description; `name` is the file in messages. UsageError."""
    try:
        values = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{name}: this is not TOML: {error}") from error
    try:
        return _description(values)
    except UsageError as error:
        raise UsageError(f"{name}: {error}") from error


def _description(values: Mapping[str, object]) -> RealmDescription:
    _known(values, {*PARAMETERS, "hash_algorithm", "step"}, "a realm's description")
    algorithm, steps = values.get("hash_algorithm", "sha256"), values.get("step", [])
    if not isinstance(algorithm, str) or algorithm not in {"sha256", "sha512"}:
        raise UsageError(f"hash_algorithm is {algorithm!r}; a realm's is sha256 or sha512")
    if not isinstance(steps, list) or not 1 <= len(steps) <= MOST_STEPS:
        raise UsageError(f"there are no steps, or more than {MOST_STEPS}: the host's calls, each under [[step]]")
    parameters = RealmParameters(
        **{key: _number(values.get(key, 0), key) for key in PARAMETERS},
        hash_algorithm="sha512" if algorithm == "sha512" else "sha256",
    )
    made = tuple(_step(one, number) for number, one in enumerate(steps, 1))
    left = MOST_ENTRIES
    for one in made:
        left -= one.count if isinstance(one, Ram) else 0
        if left < 0:
            raise UsageError(f"its ranges have more than {MOST_ENTRIES:,} table entries together")
    return RealmDescription(parameters=parameters, steps=made)


def _step(value: object, number: int) -> Step:
    kinds = {"data": _data, "ram": _ram, "pc": _processor}
    found = [kind for kind in kinds if kind in value] if isinstance(value, Mapping) else []
    if not isinstance(value, Mapping) or len(found) != 1:
        raise UsageError(f"step {number} is no table with one of data, ram and pc")
    try:
        return kinds[found[0]](value)
    except UsageError as error:
        raise UsageError(f"step {number}: {error}") from error


def _data(value: Mapping[str, object]) -> Step:
    _known(value, {"data", "address", "measured"}, "a step with data")
    file, address = value["data"], _number(value.get("address"), "address")
    if not isinstance(file, str) or not file:
        raise UsageError("data is the name of a file")
    if address % GRANULE or address >= MOST_MEMORY:
        raise UsageError(f"address {address:#x} is not a multiple of {GRANULE} below {MOST_MEMORY:#x}")
    return Data(file, address, _truth(value, "measured", default=True))


def _ram(value: Mapping[str, object]) -> Step:
    _known(value, {"ram", "whole"}, "a step with ram")
    found = value["ram"]
    if not isinstance(found, list) or len(found) != 2:
        raise UsageError("ram is a list of two addresses")
    base, top = (_number(one, "ram") for one in found)
    if base % GRANULE or top % GRANULE or not base < top <= MOST_MEMORY:
        raise UsageError(f"ram {base:#x} to {top:#x} is no range of granules of {GRANULE} bytes")
    return Ram(base, top, _truth(value, "whole", default=False))


def _processor(value: Mapping[str, object]) -> Step:
    _known(value, {"pc", "gprs", "runnable"}, "a step with a processor")
    registers = value.get("gprs", [])
    if not isinstance(registers, list) or len(registers) > 8:
        raise UsageError("gprs is a list of at most 8 numbers")
    return Processor(
        _number(value["pc"], "pc"), tuple(_number(one, "gprs") for one in registers),
        _truth(value, "runnable", default=True),
    )  # fmt: skip


def _known(value: Mapping[str, object], keys: set[str], what: str) -> None:
    if unknown := sorted(value.keys() - keys):
        raise UsageError(f"{unknown[0]!r} is not understood; {what} has {', '.join(sorted(keys))}")


def _truth(value: Mapping[str, object], key: str, *, default: bool) -> bool:
    found = value.get(key, default)
    if not isinstance(found, bool):
        raise UsageError(f"{key} is {found!r}, not true or false")
    return found


def _number(value: object, key: str) -> int:
    if isinstance(value, str) and value[-1:] in UNITS and value[:-1].isascii() and value[:-1].isdecimal():
        value = int(value[:-1]) * UNITS[value[-1]] if len(value) < 20 else None
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < WORD:
        raise UsageError(f"{key} is {value!r}, not a number of 64 bits")
    return value
