"""Small files of every kind that `cloister measure` takes, for pages that need some: forged, no real images."""

from pathlib import Path

from tests.forge.enclave_elf import LOADER, oe_image, oe_properties, payload
from tests.forge.tdvf import kernel, tdvf
from tests.forge.tpm import event_log
from tests.unit.test_measure_enclaves import MANIFEST
from tests.unit.test_measure_realm import DESCRIPTION
from tests.unit.test_snp_measure import SECTIONS, image

__all__ = ["write_launch_files"]


def write_launch_files(directory: Path) -> None:
    """Write them under the names that the pages use."""
    made = {
        "app.manifest.sgx": MANIFEST, "libpal.so": LOADER.build(), "app": payload(oe_properties(), b'{"exe":"app"}'),
        "ego-enclave": oe_image(oe_properties(), wants_module=True).build(), "OVMF.fd": image(*SECTIONS),
        "TDVF.fd": tdvf(), "bzImage": kernel(), "initrd": b"an initial file system", "page": bytes(4096),
        "enclave": oe_image(oe_properties()).build(),
        "realm.toml": DESCRIPTION.encode(), "CCEL": event_log(banks=("sha384",)),
    }  # fmt: skip
    for name, data in made.items():
        (directory / name).write_bytes(data)
