"""Targets of what frameworks and hypervisors launch: enclave images, firmware, realms, and measurements of them."""

from collections.abc import Callable
from functools import cache
from typing import Any, Final
from unittest.mock import patch

from tests.forge.enclave_elf import LOADER, oe_image, oe_properties
from tests.fuzz.law import Broken, Reader

from cloister.errors import ParseError, PolicyError, UsageError
from cloister.measure import elf as measure_elf
from cloister.measure.authenticode import authenticode
from cloister.measure.boot_events import as_qemu_loads
from cloister.measure.components import Measured, read_measured
from cloister.measure.elf import ElfFile, parse_elf
from cloister.measure.gramine import gramine_enclave, read_gramine_manifest
from cloister.measure.open_enclave import ego_enclave, oe_enclave
from cloister.measure.realm import read_realm
from cloister.measure.sgx_sdk import sdk_enclave
from cloister.measure.sgxs import SgxsStream, looks_like, parse_sgxs
from cloister.measure.sigstruct import parse_unsigned
from cloister.measure.tdvf import PageOrder, TdvfFirmware, parse_tdvf
from cloister.model import Digest

__all__ = ["IMAGES"]

LITTLE: Final = 1 << 20
"""Bytes that an image may span: time goes with them."""
FEW: Final = 512
"""Pages that are measured."""


def little(read: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    """For images that say themselves how much memory they take."""

    def reading(data: bytes) -> Any:
        with patch.object(measure_elf, "LARGEST_MEMORY", LITTLE):
            return read(data)

    return reading


@cache
def runtime() -> bytes:
    """EGo's runtime, for any program."""
    return oe_image(oe_properties(), wants_module=True).build()


@cache
def loader() -> bytes:
    """Gramine's loader, for any manifest."""
    return LOADER.build()


def elf(data: bytes) -> ElfFile:
    """A file, and all that can be asked of it."""
    found = parse_elf(data)
    _ = [*found.segments[0].pages()], found.span, found.symbols
    return found


def sgxs(data: bytes) -> SgxsStream:
    """A stream, in any order; if it is canonical, the strict reader agrees."""
    found = parse_sgxs(data, canonical=False)
    if found.canonical and parse_sgxs(data) != found:
        raise Broken("parse_sgxs: two readings of a canonical stream differ")
    return found


def gramine(data: bytes) -> Digest:
    """A manifest with the loader; large enclaves are refused for their pages."""
    return gramine_enclave(read_gramine_manifest(data, "x"), loader(), most_pages=FEW).mrenclave


def realm(data: bytes) -> Digest | None:
    """A description, with files of one page; long ones are only read."""
    found = read_realm(data.decode("utf-8", "replace"), "x")
    return found.rim(lambda _: bytes(4096)) if len(found.components(lambda _: b"")) < FEW else None


def tdvf(data: bytes) -> TdvfFirmware:
    """An image; MRTD of small ones."""
    found = parse_tdvf(data)
    if sum(one.size for one in found.sections) <= LITTLE:
        _ = found.mrtd(), found.mrtd(PageOrder.SECTION), found.components(PageOrder.EACH)
    return found


def measured(data: bytes) -> Measured:
    """A document, written again as the same."""
    found = read_measured(data.decode("utf-8", "replace"), "x")
    if not found.references():
        raise Broken("read_measured: a measurement of nothing")
    return found


IMAGES: Final[dict[str, tuple[Reader, ...]]] = {
    "enclaves": (
        Reader(covers=("measure.sgxs.parse_sgxs",), read=sgxs, recognise=looks_like),
        Reader(covers=("measure.elf.parse_elf",), read=little(elf)),
        Reader(covers=("measure.sgx_sdk",), read=little(lambda data: sdk_enclave(data, most_pages=FEW))),
        Reader(
            covers=("measure.oe_image.LoadedImage.of", "measure.open_enclave.properties_of"),
            read=little(lambda data: oe_enclave(data, most_pages=FEW)),
        ),
        Reader(
            covers=("measure.open_enclave.ego_enclave",),
            read=little(lambda data: ego_enclave(runtime(), data, most_pages=FEW)),
        ),
        Reader(
            covers=("measure.sigstruct.parse_unsigned",), read=parse_unsigned, write=lambda found: found.signed
        ),
    ),
    "gramine": (
        Reader(
            covers=("measure.gramine.read_gramine_manifest",), read=gramine,
            refusals=(UsageError, PolicyError, ParseError),
        ),
    ),
    "guests": (
        Reader(covers=("measure.tdvf.parse_tdvf",), read=tdvf),
        Reader(covers=("measure.authenticode.authenticode",), read=authenticode),
        Reader(covers=("measure.boot_events.as_qemu_loads",), read=lambda data: as_qemu_loads(data, len(data))),
    ),
    "realm": (Reader(covers=("measure.realm.read_realm",), read=realm, refusals=(UsageError,)),),
    "measurement": (Reader(covers=("measure.components.read_measured",), read=measured, refusals=(UsageError,)),),
}  # fmt: skip
"""Name of a target to its readers."""
