"""The boot ROM: it measures the security monitor, derives the monitor's key, signs, and leaves both in DRAM.

Keystone, bootrom/bootloader.c. DRAM from its beginning, 2 MiB that belong to the monitor:

    0x80000000   the monitor's image; 0x1FF000 bytes are measured
    0x801FD000   the monitor's records of its 16 enclaves, 512 bytes each: the registers of whoever does not run
    0x801FF000   what the boot ROM leaves: public key of the device, its private key (which is to be wiped), hash,
                 public key, private key and signature of the monitor

The monitor's keys are in DRAM, as on the real thing without on-chip memory: PMP keeps software away from them, and
nothing else does.
"""

from typing import Final

from cloister._wire import Record, raw
from cloister.emulate.keystone.bus import BASE, Bus
from cloister.emulate.vendors.keystone import MONITOR_SIZE, BootedMonitor, KeystoneManufacturer, private_key_of
from cloister.errors import UsageError

__all__ = ["CONTEXTS", "HEADER", "MONITOR_PAGES", "BootHeader", "measured_boot"]

MONITOR_PAGES: Final = 512
CONTEXTS: Final = BASE + 0x1FD000
HEADER: Final = BASE + 0x1FF000
LARGEST: Final = CONTEXTS - BASE


class BootHeader(Record, size=0x160):
    """What the boot ROM leaves at 0x801FF000."""

    manufacturer_key: bytes = raw(32)
    device_key: bytes = raw(32)
    device_secret: bytes = raw(64)
    monitor_hash: bytes = raw(64)
    monitor_key: bytes = raw(32)
    monitor_secret: bytes = raw(64)
    monitor_signature: bytes = raw(64)


def measured_boot(bus: Bus, device: KeystoneManufacturer, image: bytes) -> BootedMonitor:
    """Load an image, measure what stands in DRAM, leave the header. UsageError if the image is too long."""
    if len(image) > LARGEST:
        raise UsageError(f"the security monitor has {len(image):,} bytes; {LARGEST:,} are in front of its own memory")
    bus.write(BASE, image)
    booted = device.boot(bus.read(BASE, MONITOR_SIZE))
    report = booted.report_of_monitor
    header = BootHeader(
        manufacturer_key=bytes(32),
        device_key=booted.device_key,
        device_secret=booted.left_behind,
        monitor_hash=report.hash,
        monitor_key=report.public_key,
        monitor_secret=private_key_of(booted.seed),
        monitor_signature=report.signature,
    )
    bus.write(HEADER, header.serialize())
    return booted
