"""MRENCLAVE of Gramine, Open Enclave and EGo images, against second implementations and against what signers made."""

import struct
from collections.abc import Callable
from dataclasses import replace

import pytest
from tests.forge import second_enclaves as second
from tests.forge.enclave_elf import LOADER, RW, Image, Part, oe_image, oe_properties, pattern, payload
from tests.forge.sigstruct import sigstruct

from cloister.errors import ParseError, PolicyError, UsageError
from cloister.measure.gramine import gramine_enclave, read_gramine_manifest
from cloister.measure.oe_image import Properties
from cloister.measure.open_enclave import ego_enclave, oe_enclave, oe_product
from cloister.measure.sgxs import parse_sgxs

MANIFEST = b"""\
loader.entrypoint.uri = "file:libsysdb.so"
[sgx]
enclave_size = "8M"
max_threads = 3
isvprodid = 7
isvsvn = 2
debug = true
trusted_files = [ { uri = "file:/usr/bin/app", sha256 = "00" } ]
[sgx.cpu_features]
avx = "required"
amx = "disabled"
"""
LOADER_FILE = LOADER.build()

# ---------------------------------------------------------------- Gramine


def test_gramine_by_the_original() -> None:
    """The digest that the measuring code of gramine-sgx-sign (sgx_sign.py) gives for these two files."""
    found = gramine_enclave(read_gramine_manifest(MANIFEST, "m"), LOADER_FILE)
    assert found.mrenclave.value.hex() == "68300e91579373ed172951b847965104f6c0352116445934cb6037614f04cb9e"
    assert found.size == 8 << 20


@pytest.mark.parametrize(("size", "threads", "edmm"), [("8M", 1, False), ("16M", 4, True), ("32M", 17, False)])
def test_gramine_by_a_second_implementation(size: str, threads: int, edmm: bool) -> None:  # noqa: FBT001 - a table
    text = MANIFEST.replace(b'"8M"', f'"{size}"'.encode()).replace(b"max_threads = 3", b"max_threads = %d" % threads)
    text = text.replace(b"debug = true", b"debug = true\nedmm_enable = true") if edmm else text
    manifest = read_gramine_manifest(text, "m")
    assert (manifest.threads, manifest.edmm) == (threads, edmm)
    expected = second.gramine(text, LOADER_FILE, int(size[:-1]) << 20, threads, edmm=edmm)
    assert gramine_enclave(manifest, LOADER_FILE).mrenclave.value.hex() == expected


def test_gramine_writes_the_stream_that_it_measures() -> None:
    written: list[bytes] = []
    found = gramine_enclave(read_gramine_manifest(MANIFEST, "m"), LOADER_FILE, write=written.append)
    stream = parse_sgxs(b"".join(written), canonical=False)
    assert (stream.mrenclave, stream.pages, stream.threads) == (found.mrenclave, found.pages, 3)
    assert not stream.canonical, "Gramine adds from the top downwards"


def test_a_space_in_the_manifest_is_another_enclave() -> None:
    one, other = (
        gramine_enclave(read_gramine_manifest(text, "m"), LOADER_FILE) for text in (MANIFEST, MANIFEST + b" \n")
    )
    assert one.mrenclave != other.mrenclave
    assert {name for name in one.components if one.components[name] != other.components[name]} == {"manifest"}
    assert one.components["file /usr/bin/app"] == "sha256:00"


def test_what_gramine_signs() -> None:
    product = read_gramine_manifest(MANIFEST, "m").product
    assert (product.isvprodid, product.isvsvn, product.miscselect, product.miscmask) == (7, 2, 0, 0xFFFFFFFF)
    assert struct.unpack("<QQ", product.attributes) == (0x6, 0x7)
    assert struct.unpack("<QQ", product.attribute_mask) == ((1 << 64) - 1, 0xFFFFFFFFFFFFFF1F)
    plain = MANIFEST.replace(b"debug = true", b"use_exinfo = true").partition(b"[sgx.cpu")[0]
    assert read_gramine_manifest(plain, "m").product.miscselect == 1
    assert struct.unpack("<QQ", read_gramine_manifest(plain, "m").product.attribute_mask)[1] == 0xFFFFFFFFFFF9FF1B


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"\xff", "not UTF-8"),
        (b"{{ app }}", "a template, not a manifest"),
        (b"a = 1", "max_threads"),
        (MANIFEST.replace(b"max_threads = 3\n", b""), "max_threads"),
        (MANIFEST.replace(b"max_threads = 3", b"max_threads = true"), "max_threads"),
        (MANIFEST.replace(b'"8M"', b'"3M"'), "power of two"),
        (MANIFEST.replace(b'"8M"', b'"M"'), "a size such as"),
        (MANIFEST.replace(b'"8M"', b"8"), "enclave_size"),
        (MANIFEST.replace(b"debug = true", b"debug = 1"), "true or false"),
        (MANIFEST.replace(b"isvsvn = 2", b"isvsvn = 65536"), "65535"),
        (MANIFEST.replace(b'"disabled"', b'"maybe"'), "one of unspecified"),
    ],
)
def test_a_manifest_that_cannot_be_measured(text: bytes, reason: str) -> None:
    with pytest.raises((UsageError, PolicyError), match=reason) as refusal:
        read_gramine_manifest(text, "app.manifest.sgx")
    assert str(refusal.value).startswith("app.manifest.sgx")


def test_an_enclave_too_small_for_its_threads() -> None:
    manifest = replace(read_gramine_manifest(MANIFEST, "m"), threads=200)
    with pytest.raises(UsageError, match="no room"):
        gramine_enclave(manifest, LOADER_FILE)


def test_a_loader_that_does_not_begin_at_zero() -> None:
    with pytest.raises(ParseError, match="begins at 0x1000"):
        gramine_enclave(
            read_gramine_manifest(MANIFEST, "m"), Image(parts=[Part(address=0x1000, flags=5, content=b"x")]).build()
        )


# ---------------------------------------------------------------- Open Enclave and EGo

CONFIGURATION = b'{"exe":"app","heapSize":512}' * 300


@pytest.mark.parametrize("properties", [
    oe_properties(), oe_properties(heap=900, stack=31, threads=7), oe_properties(heap=0, stack=1, threads=1, flags=1),
], ids=["small", "large", "smallest"])  # fmt: skip
def test_open_enclave_by_a_second_implementation(properties: bytes) -> None:
    image = oe_image(properties).build()
    assert oe_enclave(image).mrenclave.value.hex() == second.open_enclave(image)


def test_open_enclave_with_a_library() -> None:
    image = oe_image(oe_properties(), wants_module=True, needed=b"offered").build()
    library = payload(oe_properties(), b"")
    found = oe_enclave(image, module=library)
    assert found.mrenclave.value.hex() == second.open_enclave(image, library)
    assert found.components.keys() >= {"image", "module", "properties"}
    with pytest.raises(ParseError, match="linked with offered, which is measured too"):
        oe_enclave(image)
    with pytest.raises(ParseError, match="leave --module out"):
        oe_enclave(oe_image(oe_properties()).build(), module=library)


@pytest.mark.parametrize("flags", [0, 4], ids=["heap", "executable heap"])
def test_ego_by_a_second_implementation(flags: int) -> None:
    runtime = oe_image(oe_properties(heap=1), wants_module=True).build()
    program = payload(oe_properties(heap=64, threads=3, flags=flags), CONFIGURATION)
    found = ego_enclave(runtime, program)
    assert found.mrenclave.value.hex() == second.open_enclave(runtime, program, ego=True)
    assert found.components.keys() >= {"runtime", "program", "configuration"}


def test_the_signature_is_not_measured_and_is_handed_out() -> None:
    signed = sigstruct()
    plain, with_signature = (
        oe_enclave(oe_image(oe_properties(sigstruct=one)).build()) for one in (bytes(1808), signed.serialize())
    )
    assert plain.mrenclave == with_signature.mrenclave
    assert plain.components == with_signature.components
    assert plain.signed is None
    assert with_signature.signed == signed


def test_ego_s_configuration_is_measured() -> None:
    runtime = oe_image(oe_properties(), wants_module=True).build()
    one, other = (
        ego_enclave(runtime, payload(oe_properties(), text)) for text in (CONFIGURATION, b"x" + CONFIGURATION[1:])
    )
    assert one.mrenclave != other.mrenclave
    assert {name for name in one.components if one.components[name] != other.components[name]} == {"configuration"}


def test_the_stream_of_an_open_enclave_is_canonical() -> None:
    written: list[bytes] = []
    found = oe_enclave(oe_image(oe_properties()).build(), write=written.append)
    assert parse_sgxs(b"".join(written)).mrenclave == found.mrenclave


def test_what_open_enclave_signs() -> None:
    debug = Properties.parse(oe_properties(attributes=6))
    assert struct.unpack("<QQ", oe_product(debug).attributes) == (6, 3)
    assert struct.unpack("<QQ", oe_product(debug).attribute_mask) == (0xFFFFFFFFFFFFFFF9, 0)
    assert oe_product(Properties.parse(oe_properties(flags=1))).miscmask == 0xFFFFFFFE
    assert (oe_product(debug).isvprodid, oe_product(debug).isvsvn) == (5, 4)


def without(name: str) -> Callable[[Image], None]:
    def change(image: Image) -> None:
        image.symbols = [one if one[0] != name else (f"{name}_", *one[1:]) for one in image.symbols]

    return change


def relocated(kind: int, symbol: int = 0) -> Callable[[Image], None]:
    def change(image: Image) -> None:
        image.relocations = {".rela.dyn": [(RW, symbol, kind, 0)]}

    return change


def changed(**values: object) -> Callable[[Image], None]:
    def change(image: Image) -> None:
        for name, value in values.items():
            setattr(image, name, value)

    return change


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (without("_reloc_rva"), "_reloc_rva is missing"),
        (relocated(2), "type 2"),
        (relocated(18, 99), "no symbol 99"),
        (changed(type=2), "position-independent"),
        (changed(entries={".dynsym": 20, ".rela.dyn": 24, ".rela.plt": 24}), "no table of entries"),
        (changed(parts=[Part(address=0, flags=4, content=pattern(0x800))]), "no image of Open Enclave"),
    ],
)
def test_an_image_that_the_loader_refuses(change: Callable[[Image], None], reason: str) -> None:
    image = oe_image(oe_properties())
    change(image)
    with pytest.raises(ParseError, match=reason):
        oe_enclave(image.build())


@pytest.mark.parametrize(
    ("properties", "reason"),
    [
        (oe_properties(threads=0), "0 threads"),
        (oe_properties(threads=65), "65 threads"),
        (oe_properties(flags=2), "address 0"),
        (oe_properties(heap=1 << 30), "pages"),
        (oe_properties()[:-8] + bytes(8), "end_marker"),
        (b"\0" + oe_properties()[1:], "size"),
    ],
)
def test_properties_that_are_refused(properties: bytes, reason: str) -> None:
    with pytest.raises(ParseError, match=reason):
        oe_enclave(oe_image(properties).build())


def test_a_program_for_another_runtime() -> None:
    runtime = oe_image(oe_properties(), wants_module=True)
    without("offered")(runtime)
    with pytest.raises(ParseError, match="offered is defined in neither file"):
        ego_enclave(runtime.build(), payload(oe_properties(), CONFIGURATION))


def test_a_configuration_that_is_not_in_the_file() -> None:
    runtime = oe_image(oe_properties(), wants_module=True).build()
    with pytest.raises(ParseError, match="is not in the file"):
        ego_enclave(runtime, payload(oe_properties(), CONFIGURATION)[:-1])
