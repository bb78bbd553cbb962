"""MRENCLAVE of a program under Gramine: its manifest, byte for byte, and Gramine's loader, laid out as Gramine signs.

gramineproject/gramine 1.9, python/graminelibos/sgx_sign.py (areas, their order, what the pages of a thread contain) and
pal/src/host/linux-sgx/pal_tcb.h (the thread's record). The manifest is the expanded one that the signer writes
(app.manifest.sgx): it names every trusted file with its SHA-256, so any changed file is another MRENCLAVE. From the top
of the enclave downwards, each area directly below the one before:

    the manifest with a NUL   REG R
    SSA frames                REG R W, for each thread 2 frames of 4 pages
    TCS pages                 TCS
    thread records            REG R W, a page for each thread
    stacks, signal stacks     REG R W, for each thread 64 pages and then for each 16
    the loader (libpal.so)    its segments, each with its own permissions
    free memory               REG R W X, down to 0x10000, not measured; none where memory is added dynamically (EDMM)
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from cloister._wire import Record, reserved, u64
from cloister.errors import ParseError, UsageError
from cloister.frameworks import gramine
from cloister.frameworks.model import Configuration
from cloister.measure.components import content
from cloister.measure.elf import ElfFile, parse_elf
from cloister.measure.enclave import Tcs
from cloister.measure.enclave_build import DATA, MOST_PAGES, PAGE, EnclaveBuild, MeasuredEnclave
from cloister.measure.sgx import SecinfoFlags
from cloister.measure.sigstruct import MODE64, XFRM_LEGACY, Product

__all__ = ["GramineManifest", "gramine_enclave", "read_gramine_manifest"]

RECORD: Final = "Gramine enclave"
HEAP_START: Final = 0x10000
FRAME_PAGES: Final = 4
FRAMES: Final = 2
STACK_PAGES: Final = 64
SIGNAL_STACK_PAGES: Final = 16
GPR_SIZE: Final = 184
"""Bytes of the general registers at the end of an SSA frame."""

CANARY: Final = 0xBADBADBADBAD
SEGMENT_LIMIT: Final = 0xFFF
MOST_THREADS: Final = 4096
LARGEST_MANIFEST: Final = 64 << 20
FREE: Final = SecinfoFlags.REG | SecinfoFlags.READ | SecinfoFlags.WRITE | SecinfoFlags.EXECUTE

DEBUG: Final = 2
EXINFO: Final = 1
XFRM_MASK: Final = 0xFFFF_FFFF_FFF9_FF1B
"""Features that are compared whatever the manifest says: all but AVX, AVX-512 and AMX."""
FEATURES: Final = {"avx": 0x4, "avx512": 0xE4, "amx": 0x6_0000, "mpx": 0x18, "pkru": 0x200}


class _Thread(Record, size=PAGE):
    """struct pal_enclave_tcb as it is measured; the rest of the page is zero."""

    own_address: int = u64()
    canary: int = u64()
    reserved_16: bytes = reserved(256)
    enclave_size: int = u64()
    tcs: int = u64()
    stack_top: int = u64()
    reserved_296: bytes = reserved(8)
    signal_stack_low: int = u64()
    signal_stack_high: int = u64()
    reserved_320: bytes = reserved(8)
    ssa: int = u64()
    gpr: int = u64()
    reserved_344: bytes = reserved(72)
    manifest_size: int = u64()
    heap_min: int = u64()
    heap_max: int = u64()
    reserved_440: bytes = reserved(PAGE - 440)


@dataclass(frozen=True, kw_only=True)
class GramineManifest:
    """What of an expanded manifest its own text cannot show to the measurement, and what the SIGSTRUCT says."""

    data: bytes
    enclave_size: int
    threads: int
    edmm: bool
    product: Product
    files: Mapping[str, str]
    """Trusted files with their SHA-256, by the host's path."""


def read_gramine_manifest(data: bytes, name: str) -> GramineManifest:
    """Read an expanded manifest; `name` is the file in messages. UsageError, PolicyError."""
    if len(data) > LARGEST_MANIFEST:
        raise UsageError(f"{name}: {len(data):,} bytes; a manifest has at most {LARGEST_MANIFEST:,}")
    try:
        text = data.decode()
    except ValueError as error:
        raise UsageError(f"{name}: is not UTF-8, so no manifest") from error
    said = gramine.read(text, name)
    if said.threads is None or not 1 <= said.threads <= MOST_THREADS:
        raise _missing(name, f"sgx.max_threads, a number from 1 to {MOST_THREADS},")
    if said.memory is None or said.memory < 1 or said.memory & (said.memory - 1):
        raise _missing(name, "sgx.enclave_size, a power of two such as 256M,")
    if not all(0 <= (one or 0) < 1 << 16 for one in (said.product_id, said.security_version)):
        raise UsageError(f"{name}: sgx.isvprodid and sgx.isvsvn are numbers from 0 to 65535")
    files = {path: one.sha256 for path, one in said.measured_files.items() if one.sha256 is not None}
    return GramineManifest(
        data=data, enclave_size=said.memory, threads=said.threads, edmm=said.dynamic_memory is True,
        product=_product(said), files=files,
    )  # fmt: skip


def _missing(name: str, what: str) -> UsageError:
    return UsageError(f"{name}: {what} is missing or wrong; give what gramine-sgx-sign wrote, app.manifest.sgx")


def _product(said: Configuration) -> Product:
    """What gramine-sgx-sign puts into the SIGSTRUCT besides the measurement."""
    xfrm, mask = XFRM_LEGACY, XFRM_MASK
    for feature, bits in FEATURES.items():
        state = said.cpu_features.get(feature, "unspecified")
        if state != "unspecified":
            xfrm = xfrm | bits if state == "required" else xfrm & ~bits
            mask |= bits
    flags = MODE64 | (DEBUG if said.debug else 0)
    exinfo = any(one.path == ("sgx", "use_exinfo") and one.value is True for one in said.kept)
    return Product(
        attributes=flags.to_bytes(8, "little") + xfrm.to_bytes(8, "little"),
        attribute_mask=b"\xff" * 8 + mask.to_bytes(8, "little"),
        miscselect=EXINFO if exinfo else 0, isvprodid=said.product_id or 0, isvsvn=said.security_version or 0,
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class _Layout:
    """Where everything is, as offsets from the enclave's base, which Gramine takes as 0."""

    manifest: int
    ssa: int
    tcs: int
    records: int
    stacks: int
    signal_stacks: int
    loader: int

    @classmethod
    def of(cls, manifest: GramineManifest, loader: ElfFile) -> "_Layout":
        """Each area directly below the one before. UsageError if they do not fit."""
        threads, at, places = manifest.threads, manifest.enclave_size, list[int]()
        for pages in (
            -(-(len(manifest.data) + 1) // PAGE), threads * FRAMES * FRAME_PAGES, threads, threads,
            threads * STACK_PAGES, threads * SIGNAL_STACK_PAGES, loader.span // PAGE,
        ):  # fmt: skip
            at -= pages * PAGE
            places.append(at)
        if at < HEAP_START:
            raise UsageError(
                f"an enclave of {manifest.enclave_size:,} bytes has no room for its manifest, {threads} threads and the"
                " loader: raise sgx.enclave_size"
            )
        names = ("manifest", "ssa", "tcs", "records", "stacks", "signal_stacks", "loader")
        return cls(**dict(zip(names, places, strict=True)))


def gramine_enclave(
    manifest: GramineManifest,
    loader: bytes,
    *,
    write: Callable[[bytes], object] | None = None,
    most_pages: int = MOST_PAGES,
) -> MeasuredEnclave:
    """Measure a manifest with a loader, the file libpal.so of Gramine's SGX package. ParseError, UsageError."""
    file = parse_elf(loader)
    if file.segments[0].first:
        raise ParseError(RECORD, "loader", 0, f"begins at {file.segments[0].first:#x}: Gramine's loader begins at 0")
    place = _Layout.of(manifest, file)
    build = EnclaveBuild(
        RECORD, size=manifest.enclave_size, ssa_frame_pages=FRAME_PAGES, write=write, most_pages=most_pages
    )
    threads = range(manifest.threads)
    build.add_all(place.manifest, SecinfoFlags.REG | SecinfoFlags.READ, manifest.data + b"\0")
    build.fill(place.ssa, DATA, manifest.threads * FRAMES * FRAME_PAGES)
    for number in threads:
        build.add(place.tcs + number * PAGE, SecinfoFlags.TCS, _tcs(number, place, file).serialize())
    for number in threads:
        build.add(place.records + number * PAGE, DATA, _record(number, place, manifest).serialize())
    for first, pages in ((place.stacks, STACK_PAGES), (place.signal_stacks, SIGNAL_STACK_PAGES)):
        for number in threads:
            build.fill(first + (manifest.threads - 1 - number) * pages * PAGE, DATA, pages)
    for segment in file.segments:
        for address, page in segment.pages():
            build.add(place.loader + address, SecinfoFlags.REG | segment.permissions, page)
    if not manifest.edmm:
        build.reserve(HEAP_START, FREE, (place.loader - HEAP_START) // PAGE)
    return MeasuredEnclave(
        mrenclave=build.digest(), size=build.size, pages=build.pages, components=_components(manifest, loader)
    )


def _tcs(number: int, place: _Layout, loader: ElfFile) -> Tcs:
    return Tcs(
        state=0, flags=0, ossa=place.ssa + number * FRAMES * FRAME_PAGES * PAGE, cssa=0, nssa=FRAMES,
        oentry=place.loader + loader.header.entry, aep=0, ofsbase=0, ogsbase=place.records + number * PAGE,
        fslimit=SEGMENT_LIMIT, gslimit=SEGMENT_LIMIT,
    )  # fmt: skip


def _record(number: int, place: _Layout, manifest: GramineManifest) -> _Thread:
    """A thread's record. Stacks were laid out downwards: the first thread has the highest."""
    below = manifest.threads - 1 - number
    ssa = place.ssa + number * FRAMES * FRAME_PAGES * PAGE
    signal_stack = place.signal_stacks + below * SIGNAL_STACK_PAGES * PAGE
    return _Thread(
        own_address=place.records + number * PAGE, canary=CANARY, enclave_size=manifest.enclave_size,
        tcs=place.tcs + number * PAGE, stack_top=place.stacks + (below + 1) * STACK_PAGES * PAGE,
        signal_stack_low=signal_stack, signal_stack_high=signal_stack + SIGNAL_STACK_PAGES * PAGE,
        ssa=ssa, gpr=ssa + FRAME_PAGES * PAGE - GPR_SIZE, manifest_size=len(manifest.data) + 1,
        heap_min=HEAP_START, heap_max=place.loader,
    )  # fmt: skip


def _components(manifest: GramineManifest, loader: bytes) -> dict[str, str]:
    """The loader, the settings, and every trusted file that the manifest names; the rest of it as one."""
    return {
        "loader": content(loader), "enclave size": str(manifest.enclave_size), "threads": str(manifest.threads),
        "dynamic memory": str(manifest.edmm).lower(), "manifest": content(manifest.data),
        **{f"file {path}": f"sha256:{digest}" for path, digest in manifest.files.items()},
    }  # fmt: skip
