"""`cloister measure --firmware` and `--realm`: guests as a hypervisor launches them."""

import argparse
import sys
from collections.abc import Callable
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Final, TypeVar

from cloister.cli._arguments import read_input
from cloister.cli._measure_options import SEPARATORS, given
from cloister.errors import UsageError
from cloister.evidence import eventlog_dstack
from cloister.evidence.eventlog import parse as parse_log
from cloister.measure.boot_events import (
    DirectBoot,
    InitrdWord,
    events_of,
    explained_events,
    foretold_rtmr1,
    foretold_rtmr2,
)
from cloister.measure.components import Measured, content, hexadecimal
from cloister.measure.init_data import init_data_field
from cloister.measure.realm import read_realm
from cloister.measure.sev import Kernel, sev_digest, sev_es_digest
from cloister.measure.snp import DEFAULT_FEATURES, launch_digest, svsm_launch_digest
from cloister.measure.tdvf import PageOrder, parse_tdvf
from cloister.measure.vmsa import CPU_MODELS, Vmm, cpu_signature
from cloister.model import Digest, Tee
from cloister.verification.eventlog import CC_REGISTERS, replay
from cloister.verification.eventlog_dstack import replay as replay_dstack

__all__ = ["measure_guest"]

Named = TypeVar("Named", bound=StrEnum)
LARGEST: Final = 1 << 30
VARIABLES: Final = 0x84000
"""Bytes of variables below a 4 MB OVMF, where Coconut-SVSM's firmware has them."""

BOOT: Final = ("--firmware", "--kernel", "--initrd", "--append")
PROCESSORS: Final = ("--vcpus", "--vcpu-type", "--vmm")
ALLOWED: Final = {
    "sev": BOOT,
    "sev-es": (*BOOT, *PROCESSORS),
    "sev-snp": (
        *BOOT, *PROCESSORS, "--guest-features", "--firmware-digest", "--svsm", "--variables-size", "--init-data",
    ),
    "tdx": (*BOOT, "--page-order", "--event-log", "--initrd-word", "--separator", "--init-data"),
    "cca": ("--realm",),
}  # fmt: skip


def measure_guest(args: argparse.Namespace) -> Measured:
    """What a guest of this machine measures. UsageError for options that have no effect on it."""
    if args.program is not None:
        raise UsageError(f"{args.program}: a guest with firmware runs no program by itself; leave it out")
    if extra := [option for option in given(args) if option not in ALLOWED.get(args.tee, ())]:
        raise UsageError(f"{extra[0]} has no effect on what --tee {args.tee} measures")
    if args.kernel is None and args.tee != "tdx" and (args.initrd is not None or args.append is not None):
        raise UsageError("--initrd and --append go with --kernel")
    return MACHINES[args.tee](args)


# ---------------------------------------------------------------- AMD


def _sev(args: argparse.Namespace) -> Measured:
    firmware, kernel, components = _firmware(args)
    digest = sev_digest(firmware, kernel=kernel)
    return Measured(machine="sev", tee=Tee.SEV, claims={"launch_digest": digest}, components=components)


def _sev_es(args: argparse.Namespace) -> Measured:
    firmware, kernel, components = _firmware(args)
    vcpus, cpu, vmm = _processors(args)
    digest = sev_es_digest(firmware, processors=vcpus, cpu=cpu, vmm=vmm, kernel=kernel)
    components |= _shown_processors(vcpus, cpu, vmm)
    return Measured(machine="sev-es", tee=Tee.SEV, claims={"launch_digest": digest}, components=components)


def _snp(args: argparse.Namespace) -> Measured:
    firmware, kernel, components = _firmware(args)
    vcpus, cpu, vmm = _processors(args)
    components |= _shown_processors(vcpus, cpu, vmm)
    if args.svsm is not None:
        digest = _with_svsm(args, firmware, (vcpus, cpu), components)
    else:
        features = DEFAULT_FEATURES if args.guest_features is None else _hex(args.guest_features, "--guest-features")
        start = None if args.firmware_digest is None else _digest(args.firmware_digest)
        components["guest features"] = hexadecimal(features)
        if start is not None:
            components["firmware"] = f"launch digest {start.hex()}"
        digest = launch_digest(
            firmware, processors=vcpus, cpu=cpu, features=features, vmm=vmm, kernel=kernel, start=start
        )
    claims = {"measurement": digest}
    if args.init_data is not None:
        data = read_input(args.init_data, LARGEST)
        claims["host_data"] = Digest("sha256", init_data_field(data, "snp"))
        components["init data"] = content(data)
    return Measured(machine="sev-snp", tee=Tee.SNP, claims=claims, components=components)


def _with_svsm(
    args: argparse.Namespace, firmware: bytes, processors: tuple[int, int], components: dict[str, str]
) -> Digest:
    for option in ("kernel", "guest_features", "firmware_digest"):
        if getattr(args, option) is not None:
            raise UsageError(f"--{option.replace('_', '-')} is not for --svsm: the module starts the guest")
    svsm = read_input(args.svsm, LARGEST)
    variables = VARIABLES if args.variables_size is None else args.variables_size
    components |= {"svsm": content(svsm), "variables size": str(variables)}
    vcpus, cpu = processors
    return svsm_launch_digest(firmware, svsm, processors=vcpus, cpu=cpu, variables=variables)


def _firmware(args: argparse.Namespace) -> tuple[bytes, Kernel | None, dict[str, str]]:
    if args.firmware is None:
        raise UsageError(f"no firmware given: cloister measure --tee {args.tee} --firmware OVMF.fd")
    firmware = read_input(args.firmware, LARGEST)
    components = {"firmware": content(firmware)}
    if args.kernel is None:
        return firmware, None, components
    image, initrd = read_input(args.kernel, LARGEST), read_input(args.initrd, LARGEST) if args.initrd else b""
    kernel = Kernel(image=image, initrd=initrd, command_line=args.append or "")
    components |= {"kernel": content(image), "initrd": content(initrd), "command line": _shown(kernel.command_line)}
    return firmware, kernel, components


def _shown(text: str) -> str:
    """A command line as it is, unless its bytes are no text."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return content(text.encode("utf-8", "surrogateescape"))
    return text


def _processors(args: argparse.Namespace) -> tuple[int, int, Vmm]:
    vmm = Vmm.QEMU if args.vmm is None else _one_of(Vmm, args.vmm, "--vmm")
    if args.vcpu_type is None and vmm is Vmm.QEMU:
        raise UsageError(f"under QEMU the processor's model is measured: --vcpu-type {', '.join(CPU_MODELS)}")
    cpu = 0 if args.vcpu_type is None else _cpu(args.vcpu_type)
    return 1 if args.vcpus is None else args.vcpus, cpu, vmm


def _cpu(text: str) -> int:
    """The CPUID signature of a model's name, with or without version, or of family/model/stepping."""
    numbers = text.split("/")
    if len(numbers) == 3 and all(one.isascii() and one.isdecimal() and len(one) < 4 for one in numbers):
        family, model, stepping = map(int, numbers)
        if family < 270 and model < 256 and stepping < 16:
            return cpu_signature(family, model, stepping)
    name, version = text.rpartition("-v")[::2]
    model_name = name if name and version.isdecimal() else text
    if model_name not in CPU_MODELS:
        raise UsageError(
            f"--vcpu-type {text}: is not known; there are {', '.join(CPU_MODELS)}; or give family/model/stepping, as "
            "25/1/1"
        )
    return CPU_MODELS[model_name]


def _shown_processors(vcpus: int, cpu: int, vmm: Vmm) -> dict[str, str]:
    return {"processors": str(vcpus), "processor signature": hexadecimal(cpu), "hypervisor": str(vmm)}


# ---------------------------------------------------------------- Intel


def _tdx(args: argparse.Namespace) -> Measured:
    claims, components = dict[str, Digest](), dict[str, str]()
    if args.firmware is not None:
        order = PageOrder.EACH if args.page_order is None else _one_of(PageOrder, args.page_order, "--page-order")
        firmware = parse_tdvf(read_input(args.firmware, LARGEST))
        claims["mrtd"] = firmware.mrtd(order)
        components |= firmware.components(order)
    boot = _direct_boot(args, components)
    if args.event_log is not None:
        claims |= _registers(args, boot, components)
    else:
        claims |= _foretold(args, boot, components)
    if not claims:
        raise UsageError("nothing to measure: give --firmware, or --event-log, or --kernel with --initrd and --append")
    if args.init_data is not None:
        data = read_input(args.init_data, LARGEST)
        claims["mrconfigid"] = Digest("sha384", init_data_field(data, "tdx"))
        components["init data"] = content(data)
    return Measured(machine="tdx", tee=Tee.TDX, claims=claims, components=components)


def _foretold(args: argparse.Namespace, boot: DirectBoot, components: dict[str, str]) -> dict[str, Digest]:
    """The registers of a direct boot that follow from its files."""
    made = dict[str, Digest]()
    if boot.kernel is not None:
        place = SEPARATORS[0] if args.separator is None else args.separator
        if place not in SEPARATORS:
            raise UsageError(f"--separator {place}: there are {', '.join(SEPARATORS)}")
        components["separator"] = place
        made["rtmr1"] = foretold_rtmr1(boot.kernel, boot.initrd, separator=place == SEPARATORS[0])
    if boot.command_line is not None:
        word = InitrdWord.BEHIND if args.initrd_word is None else _one_of(InitrdWord, args.initrd_word, "--initrd-word")
        components["initrd word"] = str(word)
        made["rtmr2"] = foretold_rtmr2(boot.command_line, boot.initrd, word)
    return made


def _direct_boot(args: argparse.Namespace, components: dict[str, str]) -> DirectBoot:
    kernel, initrd = (None if name is None else read_input(name, LARGEST) for name in (args.kernel, args.initrd))
    for name, data in (("kernel", kernel), ("initrd", initrd)):
        components |= {} if data is None else {name: content(data)}
    components |= {} if args.append is None else {"command line": _shown(args.append)}
    return DirectBoot(kernel=kernel, initrd=initrd, command_line=args.append)


def _registers(args: argparse.Namespace, boot: DirectBoot, components: dict[str, str]) -> dict[str, Digest]:
    """The RTMRs that the log extends, after it; on standard error, which of its events the files explain.

    A register that the log does not mention is left out: nobody says here what it is.
    """
    data = read_input(args.event_log, LARGEST)
    components["event log"] = content(data)
    values, events = _dstack_log(data) if eventlog_dstack.looks_like(data) else _firmware_log(data)
    if not values:
        raise UsageError(f"{args.event_log}: has no SHA-384: it is a TPM's log, not that of a trust domain")
    if not args.quiet:
        for one in explained_events(events, boot.digests()):
            print(f"{one.register} event {one.number}: {one.what}", file=sys.stderr)
    return {name: Digest("sha384", value) for name, value in sorted(values.items())}


def _firmware_log(data: bytes) -> tuple[dict[str, bytes], list[tuple[str, bytes]]]:
    """Registers and events of a log as firmware and kernel write it."""
    log = parse_log(data)
    values = replay(log, "sha384")
    return {name: values[number] for number, name in CC_REGISTERS.items() if number in values}, events_of(log)


def _dstack_log(data: bytes) -> tuple[dict[str, bytes], list[tuple[str, bytes]]]:
    """The same of dstack's log, which is JSON."""
    log = eventlog_dstack.parse(data)
    values = replay_dstack(log)
    return (
        {f"rtmr{number}": value for number, value in values.items()},
        [(f"rtmr{one.register}", one.digest) for one in log.events],
    )


# ---------------------------------------------------------------- Arm


def _cca(args: argparse.Namespace) -> Measured:
    if args.realm is None:
        raise UsageError("no realm given: cloister measure --tee cca --realm realm.toml")
    try:
        text = read_input(args.realm, LARGEST).decode()
    except UnicodeDecodeError as error:
        raise UsageError(f"{args.realm}: is not UTF-8, so no description of a realm") from error
    realm = read_realm(text, args.realm)

    @cache
    def read(name: str) -> bytes:
        return read_input(str(Path(args.realm).parent / name), LARGEST)

    return Measured(machine="cca", tee=Tee.CCA, claims={"rim": realm.rim(read)}, components=realm.components(read))


MACHINES: Final[dict[str, Callable[[argparse.Namespace], Measured]]] = {
    "sev": _sev, "sev-es": _sev_es, "sev-snp": _snp, "tdx": _tdx, "cca": _cca,
}  # fmt: skip


def _hex(text: str, option: str) -> int:
    try:
        value = int(text, 16)
    except ValueError:
        value = -1
    if not 0 <= value < 1 << 64:
        raise UsageError(f"{option} {text}: is no number of 64 bits in hexadecimal, such as 0x21")
    return value


def _digest(text: str) -> bytes:
    try:
        value = bytes.fromhex(text)
    except ValueError:
        value = b""
    if len(value) != 48:
        raise UsageError(f"--firmware-digest has 96 hexadecimal digits: {text}")
    return value


def _one_of(kind: type[Named], text: str, option: str) -> Named:
    if text not in list(kind):
        raise UsageError(f"{option} {text}: there are {', '.join(kind)}")
    return kind(text)
