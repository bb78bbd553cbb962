"""A guest as a domain of libvirt (libvirt docs/formatdomain.rst, "Launch Security")."""

from pathlib import Path
from xml.etree import ElementTree as ET

from cloister.errors import UsageError
from cloister.launch.guest import Confidential, Guest

__all__ = ["domain"]


def domain(guest: Guest, confidential: Confidential) -> str:
    """The XML for `virsh define`. UsageError for what libvirt has no words for."""
    if confidential.element is None:
        raise UsageError(f"libvirt has no words for {confidential.object}; take --show qemu")
    if guest.more:
        raise UsageError("words for QEMU after -- have no place in libvirt's XML")
    root = ET.Element("domain", type="kvm")
    _child(root, "name", guest.name)
    _child(root, "memory", str(guest.memory), unit="MiB")
    _child(root, "vcpu", str(guest.processors))
    if confidential.shared_memory:
        backing = ET.SubElement(root, "memoryBacking")
        ET.SubElement(backing, "source", type="memfd")
        ET.SubElement(backing, "access", mode="shared")
    _boot(root, guest, confidential)
    _processor(root, confidential)
    _devices(root, guest)
    attributes, children = confidential.element
    security = ET.SubElement(root, "launchSecurity", dict(attributes))
    for name, value in children.items():
        _child(security, name, value)
    ET.indent(root)
    return ET.tostring(root, encoding="unicode") + "\n"


def _boot(root: ET.Element, guest: Guest, confidential: Confidential) -> None:
    system = ET.SubElement(root, "os")
    _child(system, "type", "hvm", arch="x86_64", machine=confidential.machine)
    kind = "pflash" if confidential.firmware_in_flash else "rom"
    _child(system, "loader", _absolute(guest.firmware), readonly="yes", type=kind)
    for name, path in (("kernel", guest.kernel), ("initrd", guest.initrd)):
        if path is not None:
            _child(system, name, _absolute(path))
    if guest.command_line is not None:
        _child(system, "cmdline", guest.command_line)
    features = ET.SubElement(root, "features")
    ET.SubElement(features, "acpi")
    if "kernel-irqchip" in confidential.machine_options:
        ET.SubElement(features, "ioapic", driver="qemu")


def _processor(root: ET.Element, confidential: Confidential) -> None:
    if confidential.cpu == "host":
        ET.SubElement(root, "cpu", mode="host-passthrough")
    else:
        cpu = ET.SubElement(root, "cpu", mode="custom", match="exact")
        _child(cpu, "model", confidential.cpu, fallback="forbid")


def _devices(root: ET.Element, guest: Guest) -> None:
    devices = ET.SubElement(root, "devices")
    for number, disk in enumerate(guest.disks):
        element = ET.SubElement(devices, "disk", type="file", device="disk")
        ET.SubElement(element, "driver", name="qemu", type="qcow2" if disk.suffix == ".qcow2" else "raw", iommu="on")
        ET.SubElement(element, "source", file=_absolute(disk))
        ET.SubElement(element, "target", dev=f"vd{chr(ord('a') + number)}", bus="virtio")
    interface = ET.SubElement(devices, "interface", type="user")
    ET.SubElement(interface, "model", type="virtio")
    ET.SubElement(interface, "driver", iommu="on")
    ET.SubElement(interface, "rom", enabled="no")
    ET.SubElement(devices, "console", type="pty")


def _absolute(path: Path) -> str:
    """Libvirt's daemon has another working directory."""
    return str(path.absolute())


def _child(parent: ET.Element, name: str, text: str, **attributes: str) -> None:
    ET.SubElement(parent, name, attributes).text = text
