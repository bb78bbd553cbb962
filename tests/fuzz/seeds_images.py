"""What the targets of enclave images, firmware and realms begin with."""

import json
import struct
from collections.abc import Callable, Iterator
from typing import Final

from tests.forge.enclave_elf import LOADER, oe_image, oe_properties, payload
from tests.forge.sdk_enclave import sdk_image
from tests.forge.sigstruct import sigstruct
from tests.forge.tdvf import kernel, tdvf
from tests.unit.test_measure_components import MEASURED
from tests.unit.test_measure_enclaves import MANIFEST
from tests.unit.test_measure_realm import DESCRIPTION
from tests.unit.test_measure_sgxs import STREAM

__all__ = ["IMAGES"]


def enclaves() -> Iterator[bytes]:
    """A stream, images of each framework, and what a signer signs."""
    yield STREAM
    yield LOADER.build()
    yield sdk_image()
    yield oe_image(oe_properties()).build()
    yield oe_image(oe_properties(sigstruct=sigstruct().serialize()), needed=b"offered").build()
    yield payload(oe_properties(), b'{"exe":"app"}')
    yield sigstruct().signed


def gramine() -> Iterator[bytes]:
    """Manifests, one of them for an enclave that is small enough for the target."""
    yield MANIFEST
    yield MANIFEST.replace(b"max_threads = 3", b"max_threads = 1\nedmm_enable = true")


def guests() -> Iterator[bytes]:
    """Firmware of both kinds, kernels."""
    yield from (tdvf(), tdvf(table=False), kernel(), kernel(certificate=bytes(16)), kernel(protocol=0x1FF))


def realm() -> Iterator[bytes]:
    """Descriptions with every key."""
    yield DESCRIPTION.encode()
    yield b'hash_algorithm = "sha512"\nnum_bps = 2\n[[step]]\npc = 4\ngprs = [1]\nrunnable = false\n'
    yield b'[[step]]\ndata = "x"\naddress = "2G"\nmeasured = false\n[[step]]\nram = [0, 8192]\n'


def measurement() -> Iterator[bytes]:
    """A document, and one without components."""
    yield json.dumps(MEASURED.as_json()).encode()
    yield struct.pack("<I", 0)


IMAGES: Final[dict[str, Callable[[], Iterator[bytes]]]] = {
    "enclaves": enclaves, "gramine": gramine, "guests": guests, "realm": realm, "measurement": measurement,
}  # fmt: skip
"""Name of a target to what forges its inputs."""
