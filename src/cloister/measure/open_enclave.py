"""MRENCLAVE of an Open Enclave or EGo image, computed from the files as the host library builds the enclave.

openenclave/openenclave 9497d36, host/sgx/create.c and loadelf.c; edgelesssys/edgelessrt, ert.patch. In this order:

    the image        its segments, every page measured
    the module       the segments of a second file, behind it: a library, or what EGo calls the payload
    relocations      of both, R
    payload data     EGo's configuration with its files, from the end of the payload, R
    heap             R W, not measured
    each thread      gap, stack filled with 0xCC, gap, TCS, two SSA pages, gap, thread-local pages, thread data

EGo's payload brings the properties (heap, threads, product); its runtime (ego-enclave) is part of the measurement.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from cloister.errors import ParseError
from cloister.evidence.sigstruct import Sigstruct
from cloister.evidence.sigstruct import parse as parse_sigstruct
from cloister.measure.components import content
from cloister.measure.elf import parse_elf
from cloister.measure.enclave import Tcs
from cloister.measure.enclave_build import DATA, MOST_PAGES, PAGE, EnclaveBuild, MeasuredEnclave
from cloister.measure.oe_image import PROPERTIES, RECORD, LoadedImage, Properties, merged_relocations
from cloister.measure.sgx import SecinfoFlags
from cloister.measure.sigstruct import XFRM_LEGACY, Product

__all__ = ["ego_enclave", "oe_enclave", "oe_product", "properties_of", "signed_in"]

CONTROL_PAGES: Final = 4
"""TCS, two SSA frames, a gap."""
GUARD: Final = 1
SEGMENT_LIMIT: Final = 0xFFFF_FFFF
STACK_PAGE: Final = b"\xcc" * PAGE
MOST_THREADS: Final = 64
MOST_PAGES_EACH: Final = 1 << 40
READ_ONLY: Final = SecinfoFlags.REG | SecinfoFlags.READ

CAPTURE_FAULTS, ZERO_BASE, EXECUTABLE_HEAP = 1, 2, 4
"""Bits of the properties' flags; the last one is EGo's."""

DEBUG: Final = 2
KSS: Final = 0x80
FLAGS_MASK: Final = 0xFFFF_FFFF_FFFF_FFFB
"""OE compares all flags but MODE64, and no features (SGX_SIGSTRUCT_ATTRIBUTEMASK_*, internal/sgxtypes.h)."""

PAYLOAD_DATA: Final = 0x800
"""Where EGo's properties say, in two words, where in the payload's file its data begin and how long they are."""


@dataclass(frozen=True, kw_only=True)
class _Sizes:
    """Everything that decides where the heap and the threads are."""

    image: int
    relocations: int
    payload: int
    properties: Properties
    thread_pages: int

    @property
    def heap(self) -> int:
        """Where the heap begins."""
        return self.image + self.relocations + -(-self.payload // PAGE) * PAGE

    @property
    def enclave(self) -> int:
        """The enclave's size: the next power of two."""
        one = self.properties
        per_thread = 2 * GUARD + one.stack_pages + self.thread_pages + CONTROL_PAGES + 1
        end = self.heap + (one.heap_pages + one.threads * per_thread) * PAGE
        return 1 << (end - 1).bit_length()


def oe_enclave(
    image: bytes,
    *,
    module: bytes | None = None,
    write: Callable[[bytes], object] | None = None,
    most_pages: int = MOST_PAGES,
) -> MeasuredEnclave:
    """Measure an Open Enclave image, with the library that it is linked with, if it is. ParseError."""
    main = LoadedImage.of(image)
    if main.needed and module is None:
        raise ParseError(RECORD, ".dynamic", 0, f"is linked with {main.needed}, which is measured too: give --module")
    if module is not None and not main.needed:
        raise ParseError(RECORD, ".dynamic", 0, "is linked with no library: leave --module out")
    second = None if module is None else LoadedImage.of(module, base=main.size)
    return _measured(main, second, b"", main.properties, ego=False, write=write, most_pages=most_pages)


def ego_enclave(
    runtime: bytes,
    payload: bytes,
    *,
    write: Callable[[bytes], object] | None = None,
    most_pages: int = MOST_PAGES,
) -> MeasuredEnclave:
    """Measure a program that `ego sign` signed, with EGo's runtime (the file ego-enclave). ParseError."""
    main = LoadedImage.of(runtime)
    second = LoadedImage.of(payload, base=main.size)
    properties = second.properties
    main.put(main.info, properties.serialize())
    second.put(second.info, properties.changed(sigstruct=bytes(Sigstruct.SIZE)).serialize())
    return _measured(
        main, second, _payload_data(second, payload), properties, ego=True, write=write, most_pages=most_pages
    )


def _payload_data(second: LoadedImage, file: bytes) -> bytes:
    place = second.info + PAYLOAD_DATA
    if place + 16 > second.size:
        raise ParseError(
            RECORD, ".oeinfo", second.info, "has no place for EGo's configuration; is it from ego-go build?"
        )
    offset, size = (int.from_bytes(second.memory[at : at + 8], "little") for at in (place, place + 8))
    if offset + size > len(file):
        raise ParseError(RECORD, ".oeinfo", place, f"EGo's configuration, {size} bytes at {offset}, is not in the file")
    if size and not offset:
        raise ParseError(RECORD, ".oeinfo", place, "EGo's configuration has a size and no place")
    return file[offset : offset + size]


def _measured(
    main: LoadedImage,
    second: LoadedImage | None,
    data: bytes,
    properties: Properties,
    *,
    ego: bool,
    write: Callable[[bytes], object] | None,
    most_pages: int,
) -> MeasuredEnclave:
    _check(properties)
    components = _components(main, second, data, properties)
    if second is not None:
        main.link(second)
        second.link(main)
    relocations = merged_relocations(main, *([] if second is None else [second]))
    sizes = _Sizes(
        image=main.size + (0 if second is None else second.size), relocations=len(relocations), payload=len(data),
        properties=properties, thread_pages=-(-main.thread_bytes // PAGE),
    )  # fmt: skip
    _patch(main, sizes)
    if second is not None:
        _tell_module(main, second, len(data) if ego else None)
    build = EnclaveBuild(RECORD, size=sizes.enclave, write=write, most_pages=most_pages)
    for image in (main,) if second is None else (main, second):
        for address, permissions, page in image.pages():
            build.add(address, SecinfoFlags.REG | permissions, page)
    build.add_all(sizes.image, READ_ONLY, relocations)
    build.add_all(sizes.image + len(relocations), READ_ONLY, data)
    executable = SecinfoFlags.EXECUTE if ego and properties.flags & EXECUTABLE_HEAP else 0
    build.reserve(sizes.heap, DATA | executable, properties.heap_pages)
    _add_threads(build, sizes, main.file.header.entry)
    return MeasuredEnclave(
        mrenclave=build.digest(), size=sizes.enclave, pages=build.pages, signed=_signed(properties),
        components=components,
    )  # fmt: skip


def _check(one: Properties) -> None:
    if one.flags & ZERO_BASE:
        raise ParseError(RECORD, ".oeinfo", 36, "asks for an enclave at address 0, which is not measured here")
    if not 1 <= one.threads <= MOST_THREADS or max(one.heap_pages, one.stack_pages) > MOST_PAGES_EACH:
        raise ParseError(
            RECORD, ".oeinfo", 8, f"{one.threads} threads, {one.heap_pages} heap and {one.stack_pages} stack pages: "
            f"an enclave has 1 to {MOST_THREADS} threads",
        )  # fmt: skip


def _patch(main: LoadedImage, sizes: _Sizes) -> None:
    """What the loader writes into the image before it is measured."""
    symbol = main.file.symbols.get("_enclave_rva")
    main.patch("_enclave_rva", 0 if symbol is None else symbol.value)
    main.patch("_reloc_rva", sizes.image)
    main.patch("_reloc_size", sizes.relocations)
    data = main.file.sections.get(".tdata")
    if data is not None and data.size:
        for name, value in (("rva", data.addr), ("size", data.size), ("align", data.addralign)):
            main.patch(f"_tdata_{name}", value, optional=True)
    size, align = main.thread_size(".tbss")
    if size:
        main.patch("_tbss_size", size, optional=True)
        main.patch("_tbss_align", align, optional=True)
    main.patch("_td_from_tcs_offset", (sizes.thread_pages + CONTROL_PAGES) * PAGE, optional=True)
    told = main.properties.changed(
        oeinfo_rva=main.info, oeinfo_size=Properties.SIZE, reloc_rva=sizes.image, reloc_size=sizes.relocations,
        heap_rva=sizes.heap, enclave_size=sizes.enclave, sigstruct=bytes(Sigstruct.SIZE),
    )  # fmt: skip
    main.put(main.info, told.serialize())


def _tell_module(main: LoadedImage, second: LoadedImage, payload: int | None) -> None:
    """The structure _module_info; with four more words for EGo."""
    symbol = main.file.symbols.get("_module_info")
    if symbol is None:
        raise ParseError(RECORD, "symbols", 0, "_module_info is missing: this image takes no second file")
    words = [second.base]
    for name in (".init_array", ".fini_array"):
        found = second.file.sections.get(name)
        words += [0, 0] if found is None else [second.base + found.addr, found.size]
    if payload is not None:
        data = second.file.sections.get(".tdata")
        has_data = data is not None and data.size
        words += [payload, *((data.addr, data.size, second.thread_bytes) if has_data and data else (0, 0, 0))]
        reserved = main.file.symbols.get("ert_reserved_tls")
        if (0 if reserved is None else reserved.size) < second.thread_bytes:
            raise ParseError(RECORD, "symbols", 0, "the runtime reserves too little for the program's thread variables")
    main.put(symbol.value, b"".join(word.to_bytes(8, "little") for word in words))


def _add_threads(build: EnclaveBuild, sizes: _Sizes, entry: int) -> None:
    at, one = sizes.heap + sizes.properties.heap_pages * PAGE, sizes.properties
    for _ in range(one.threads):
        at += GUARD * PAGE
        build.fill(at, DATA, one.stack_pages, STACK_PAGE)
        at += (one.stack_pages + GUARD) * PAGE
        segment = at + (sizes.thread_pages + CONTROL_PAGES) * PAGE
        tcs = Tcs(
            state=0, flags=0, ossa=at + PAGE, cssa=0, nssa=2, oentry=entry, aep=0, ofsbase=segment, ogsbase=segment,
            fslimit=SEGMENT_LIMIT, gslimit=SEGMENT_LIMIT,
        )  # fmt: skip
        build.add(at, SecinfoFlags.TCS, tcs.serialize())
        build.fill(at + PAGE, DATA, 2)
        at += CONTROL_PAGES * PAGE
        build.fill(at, DATA, sizes.thread_pages + 1)
        at += (sizes.thread_pages + 1) * PAGE


def _signed(properties: Properties) -> Sigstruct | None:
    return parse_sigstruct(properties.sigstruct) if any(properties.sigstruct) else None


def properties_of(image: bytes) -> Properties:
    """What the author set, of an image or a payload. ParseError."""
    return LoadedImage.of(image).properties


def signed_in(image: bytes) -> Sigstruct | None:
    """The SIGSTRUCT in an Open Enclave image or an EGo payload; None if it is neither, or not signed. ParseError."""
    try:
        file = parse_elf(image)
    except ParseError:
        return None  # whoever asks knows other kinds of files
    return _signed(LoadedImage.of(image).properties) if PROPERTIES in file.sections else None


def oe_product(properties: Properties) -> Product:
    """What `oesign` puts into the SIGSTRUCT besides the measurement (host/sgx/sgxsign.c)."""
    kss = bool(properties.attributes & KSS)
    mask = FLAGS_MASK & ~DEBUG if properties.attributes & DEBUG else FLAGS_MASK
    return Product(
        attributes=properties.attributes.to_bytes(8, "little") + XFRM_LEGACY.to_bytes(8, "little"),
        attribute_mask=mask.to_bytes(8, "little") + bytes(8),
        miscmask=0xFFFF_FFFE if properties.flags & CAPTURE_FAULTS else 0xFFFF_FFFF,
        isvprodid=properties.product_id, isvsvn=properties.security_version,
        isvfamilyid=properties.family_id if kss else bytes(16),
        isvextprodid=properties.ext_product_id if kss else bytes(16),
    )  # fmt: skip


def _components(main: LoadedImage, second: LoadedImage | None, data: bytes, properties: Properties) -> dict[str, str]:
    """Files without the signature, which is not measured, and the author's settings."""
    unsigned = properties.changed(sigstruct=bytes(Sigstruct.SIZE))
    made = {"runtime" if data else "image": _without_properties(main)}
    if second is not None:
        made["program" if data else "module"] = _without_properties(second)
    if data:
        made["configuration"] = content(data)
    for name in ("heap_pages", "stack_pages", "threads", "flags"):
        made[name.replace("_", " ")] = str(getattr(unsigned, name))
    made["properties"] = content(unsigned.serialize())
    return made


def _without_properties(image: LoadedImage) -> str:
    found = image.file.sections.get(".oeinfo")
    start = image.size if found is None else found.addr
    return content(bytes(image.memory[:start]) + bytes(image.memory[start + Properties.SIZE :]))
