"""A guest as a command line of QEMU (qemu(1); QEMU qapi/qom.json for the objects)."""

import json
from collections.abc import Iterator

from cloister.launch.guest import Confidential, Guest

__all__ = ["command"]

TEE_ID = "tee0"
MEMORY_ID = "memory0"


def command(guest: Guest, confidential: Confidential) -> list[str]:
    """The words. Nothing that QEMU adds by itself is in the machine: what boots is what is said here."""
    return [
        confidential.emulator,
        *_machine(guest, confidential),
        *_boot(guest, confidential),
        *_devices(guest),
        *guest.more,
    ]


def _machine(guest: Guest, confidential: Confidential) -> Iterator[str]:
    options = {"accel": "kvm", "confidential-guest-support": TEE_ID, **confidential.machine_options}
    if confidential.shared_memory:
        options["memory-backend"] = MEMORY_ID
        yield from ("-object", f"memory-backend-memfd,id={MEMORY_ID},size={guest.memory}M,share=on,prealloc=off")
    yield from ("-name", guest.name, "-nodefaults", "-no-user-config", "-nographic", "-serial", "mon:stdio")
    yield from ("-machine", ",".join([confidential.machine, *(f"{name}={value}" for name, value in options.items())]))
    yield from ("-object", _object(confidential))
    yield from ("-cpu", confidential.cpu, "-smp", str(guest.processors), "-m", f"{guest.memory}M")


def _object(confidential: Confidential) -> str:
    """QEMU takes objects as JSON too, which values with structure need."""
    if any(not isinstance(value, str | int) for value in confidential.properties.values()):
        return json.dumps({"qom-type": confidential.object, "id": TEE_ID, **confidential.properties})
    return ",".join(
        [
            confidential.object,
            f"id={TEE_ID}",
            *(f"{name}={_text(value)}" for name, value in confidential.properties.items()),
        ]
    )


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return escaped(str(value))


def escaped(text: str) -> str:
    """A value between commas: a comma in it is written twice."""
    return text.replace(",", ",,")


def _boot(guest: Guest, confidential: Confidential) -> Iterator[str]:
    firmware = escaped(str(guest.firmware))
    if confidential.firmware_in_flash:
        yield from ("-drive", f"if=pflash,unit=0,format=raw,readonly=on,file={firmware}")
    else:
        yield from ("-bios", str(guest.firmware))
    for option, value in (("-kernel", guest.kernel), ("-initrd", guest.initrd), ("-append", guest.command_line)):
        if value is not None:
            yield from (option, str(value))


def _devices(guest: Guest) -> Iterator[str]:
    """No option ROM of the host runs in the guest (romfile=); it shares buffers, not its memory (iommu_platform)."""
    yield from (
        "-netdev",
        "user,id=net0",
        "-device",
        "virtio-net-pci,netdev=net0,romfile=,disable-legacy=on,iommu_platform=on",
    )
    for number, disk in enumerate(guest.disks):
        form = "qcow2" if disk.suffix == ".qcow2" else "raw"
        yield from ("-drive", f"if=none,id=disk{number},format={form},file={escaped(str(disk))}")
        yield from ("-device", f"virtio-blk-pci,drive=disk{number},disable-legacy=on,iommu_platform=on")
