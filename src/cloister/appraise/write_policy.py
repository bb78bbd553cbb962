"""A policy file written from one piece of evidence, or from measurements: the strictest that it passes, explained.

Whoever uses it should read it: it says what this sample is, not what would be right.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final, NamedTuple

from cloister.appraise.appraisal import Claim
from cloister.appraise.known_claims import PROGRAM, SIGNERS
from cloister.appraise.policy import NEVER_TOLERABLE
from cloister.endorse.anchors import AnchorKind
from cloister.model import Tee
from cloister.verification.recipe import Tcb

__all__ = ["policy_for_measurements", "policy_for_sample"]


class Line(NamedTuple):
    """How a claim is pinned, and why, in words for the comment above it."""

    claim: str
    how: str
    why: str


EQUAL, LEAST, EACH, FLAGS = "equal", "minimum", "each_in", "flags"
WRITTEN: Final[Mapping[Tee, tuple[Line, ...]]] = {
    Tee.SGX: (
        Line("mrenclave", EQUAL, "The program: the hash of all that was loaded into the enclave at its start."),
        Line("mrsigner", EQUAL, "Who signed it: the hash of the signer's public key."),
        Line("isvprodid", EQUAL, "Which of the signer's products it is."),
        Line("isvsvn", LEAST, "Its security version: the signer raises it when a flaw has been mended."),
        Line("attributes", FLAGS, "Flags of the enclave (debug, 64 bit, access to keys)."),
        Line("configid", EQUAL, "What the host configured at launch; zeros if nothing."),
    ),
    Tee.TDX: (
        Line("mrtd", EQUAL, "What the VM starts with: its firmware."),
        Line("rtmr0", EQUAL, "Firmware settings and the hardware that the VM was given."),
        Line("rtmr1", EQUAL, "What the firmware started: boot loader and kernel."),
        Line("rtmr2", EQUAL, "Kernel command line and initial file system."),
        Line("rtmr3", EQUAL, "What the guest itself measured while running; zeros if nothing."),
        Line("tdattributes", EQUAL, "Attributes of the VM: debug, migration, performance counters."),
        Line("xfam", EQUAL, "Processor features that the VM may use."),
        Line("mrconfigid", EQUAL, "What the host configured at launch; zeros if nothing."),
        Line("mrowner", EQUAL, "Who owns the VM, as the host says; zeros if nobody."),
        Line("mrownerconfig", EQUAL, "The owner's configuration, as the host says; zeros if none."),
        Line("mrsignerseam", EQUAL, "Who signed the TDX module; zeros mean Intel."),
        Line("mrservicetd", EQUAL, "The service VM that is bound to it, for migration; zeros if none."),
        Line("tee_tcb_svn", LEAST, "Security versions of the TDX module, component by component."),
    ),
    Tee.SNP: (
        Line("measurement", EQUAL, "What the VM starts with: firmware, kernel and command line if that covers them."),
        Line("host_data", EQUAL, "What the host configured at launch; zeros if nothing."),
        Line("id_key_digest", EQUAL, "The key that signed the ID block; zeros if there was none."),
        Line("author_key_digest", EQUAL, "The key that vouches for that key; zeros if there was none."),
        Line("family_id", EQUAL, "Which family of guests it is, by the ID block."),
        Line("image_id", EQUAL, "Which image it is, by the ID block."),
        Line("guest_svn", LEAST, "The guest's security version, by the ID block."),
        Line("vmpl", EQUAL, "At which privilege level the report was asked for; 0 is the highest."),
        Line("policy_migrate_ma", EQUAL, "Whether a migration agent may take the guest's memory elsewhere."),
        Line("policy_single_socket", EQUAL, "Whether the guest must stay on one socket."),
        Line("policy_smt", EQUAL, "Whether the guest may run with hyperthreading."),
        Line("reported_tcb_bootloader", LEAST, "Firmware of the security processor: its boot loader."),
        Line("reported_tcb_tee", LEAST, "Firmware of the security processor: its operating system."),
        Line("reported_tcb_snp", LEAST, "Firmware of the security processor: SNP."),
        Line("reported_tcb_microcode", LEAST, "Microcode of the processor."),
    ),
    Tee.SEV: (
        Line("launch_digest", EQUAL, "What the VM starts with: its firmware."),
        Line("policy", EQUAL, "What the guest's owner allows: debug, key sharing, migration."),
    ),
    Tee.CCA: (
        Line("rim", EQUAL, "What the realm starts with."),
        Line("rem0", EQUAL, "What the realm itself measured while running; zeros if nothing."),
        Line("rem1", EQUAL, "The second such register."),
        Line("rem2", EQUAL, "The third."),
        Line("rem3", EQUAL, "The fourth."),
        Line("rpv", EQUAL, "What the host configured at launch."),
        Line("implementation_id", EQUAL, "Which platform it is."),
        Line("config", EQUAL, "How the platform is configured."),
        Line("lifecycle", EQUAL, "Whether the platform is secured, or open to its maker."),
        Line("software_components", EACH, "The platform's firmware: nothing but these."),
    ),
    Tee.KEYSTONE: (
        Line("enclave_hash", EQUAL, "The program: the hash of all that was loaded into the enclave at its start."),
        Line("sm_hash", EQUAL, "The security monitor that isolates the enclave."),
    ),
    Tee.TPM: (
        Line("pcr_bank", EQUAL, "The hash function of the registers below."),
        *(Line(f"pcr{number}", EQUAL, f"PCR {number}: {what}.") for number, what in enumerate((
            "firmware", "firmware settings", "drivers and option ROMs", "their settings", "boot loader",
            "boot loader settings", "what the maker uses it for", "secure boot keys", "boot loader and command line",
            "kernel and initial file system", "files measured by the kernel (IMA)", "unified kernel image",
            "its command line", "its extensions", "shim's keys", "system identity", "debugging",
            "dynamic root of trust", "dynamic root of trust", "dynamic root of trust", "dynamic root of trust",
            "dynamic root of trust", "dynamic root of trust", "applications",
        ))),
    ),
    Tee.SOFTWARE: (
        Line("measurement", EQUAL, "The program with its libraries."),
        Line("runtime", EQUAL, "The enclave runtime that loaded it."),
        Line("loaded", EQUAL, "What was loaded later."),
        Line("guard", EQUAL, "Whether the guard that stops debuggers runs."),
        Line("admission", EQUAL, "Whether only measured executables may be loaded."),
        Line("secure_boot", EQUAL, "Whether the host booted with secure boot."),
    ),
}  # fmt: skip
"""What is pinned, in the order of the file. What a sample does not have is left out."""

HEAD: Final = """\
# Appraisal policy for evidence, written by `cloister policy init` {source}.
# It accepts what it was written from and refuses nearly everything else: read every line before you rely on it.
# docs/policy-file.md describes all keys; `cloister policy check` looks for mistakes.
"""
FLAG_BYTES: Final = 8
"""ATTRIBUTES is 8 bytes of flags and 8 bytes of XFRM, the processor's features."""


def policy_for_sample(tee: Tee, claims: Mapping[str, Claim], tcb: Tcb, kind: AnchorKind, *, source: str) -> str:
    """The text of a policy that evidence with these claims passes. `source` names the sample in the first line."""
    lines = [HEAD.format(source=f"from {plain_name(source)}"), *_anchors(kind), *_tcb(tcb), f"[{tee}]"]
    if claims.get("debug") is True:
        lines += [
            "# DANGER: the sample is debug: its host can read and change everything in it. Fit for tests only.",
            "unsafe_allow_debug = true",
        ]
    else:
        lines += ["# The host cannot look inside by design.", "debug = false"]
    for line in WRITTEN[tee]:
        if line.claim in claims:
            lines += ["", f"# {line.why}", f"{line.claim} = {HOW[line.how](claims[line.claim])}"]
    if not any(name in claims for name in PROGRAM[tee]):
        lines += [
            "",
            "# DANGER: the sample does not say what runs; this accepts any program.",
            "unsafe_any_measurement = true",
        ]
    return "\n".join(lines) + "\n"


def policy_for_measurements(measurements: Iterable[tuple[Tee, str, str]]) -> str:
    """The text of a policy that accepts these (TEE, claim, digits); several for one claim are alternatives."""
    wanted: dict[Tee, dict[str, list[str]]] = {}
    for tee, claim, digits in measurements:
        wanted.setdefault(tee, {}).setdefault(claim, []).append(digits.lower())
    lines = [HEAD.format(source="from measurements given to it"), *_anchors(default_kind(wanted)), *_tcb(Tcb())]
    for tee, claims in wanted.items():
        lines += [f"[{tee}]", "# The host cannot look inside by design.", "debug = false"]
        why = {line.claim: line.why for line in WRITTEN[tee]}
        for claim, values in claims.items():
            value = quoted(values[0]) if len(values) == 1 else f"{{ in = {listed(values)} }}"
            if claim in SIGNERS and not PROGRAM[tee] & claims.keys():
                value = _signer(values)
                lines += ["", "# Any program that this key signed may run: nothing else here says which."]
            else:
                lines += ["", f"# {why.get(claim, 'As given.')}"]
            lines.append(f"{claim} = {value}")
        lines.append("")
    return "\n".join(lines)


def default_kind(tees: Iterable[Tee]) -> AnchorKind:
    """The kind of anchor that evidence of these TEEs ends at in practice."""
    kinds = {KINDS.get(tee, AnchorKind.HARDWARE) for tee in tees}
    return kinds.pop() if len(kinds) == 1 else AnchorKind.HARDWARE


KINDS: Final = {
    Tee.SOFTWARE: AnchorKind.SOFTWARE,
    Tee.CCA: AnchorKind.OWNER,
    Tee.KEYSTONE: AnchorKind.OWNER,
    Tee.TPM: AnchorKind.OWNER,
}


def _signer(values: list[str]) -> str:
    value = f"equal = {quoted(values[0])}" if len(values) == 1 else f"in = {listed(values)}"
    return f'{{ {value}, decides = "executables" }}'


ANCHORS: Final = {
    AnchorKind.HARDWARE: "Who vouches for the evidence: the root of a hardware vendor, nobody else.",
    AnchorKind.OWNER: "Who vouches for the evidence: a key from the device's owner. Worth what you know of that owner.",
    AnchorKind.SOFTWARE: "Who vouches for the evidence: a key of the host, so its kernel and root are trusted.",
    AnchorKind.TESTING: "DANGER: the sample ends at a testing root. Such evidence proves nothing: anybody can make it.",
}


def _anchors(kind: AnchorKind) -> Iterator[str]:
    yield f"# {ANCHORS[kind]}"
    yield f'accept_anchors = ["{kind}"]'
    yield ""


def _tcb(tcb: Tcb) -> Iterator[str]:
    yield "# How up to date the platform is, in its vendor's words. `UpToDate` needs no naming; every other status that"
    yield "# is to be accepted stands here by name, and so does every advisory that comes with it."
    yield "[tcb]"
    status = tcb.status if tcb.status not in {"", "UpToDate"} else ""
    if status in NEVER_TOLERABLE:
        yield f"# DANGER: the vendor no longer vouches for the sample's platform ({status})."
        yield f"unsafe_tolerated = {listed([status])}"
        yield "tolerated = []"
    else:
        yield f"tolerated = {listed([status] if status else [])}"
    yield f"tolerated_advisories = {listed(tcb.advisories if status else [])}"
    yield ""


def quoted(text: str) -> str:
    """Text as a TOML basic string."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def listed(values: Iterable[str]) -> str:
    """Texts as a TOML array."""
    return f"[{', '.join(quoted(one) for one in values)}]"


def literal(value: Claim) -> str:
    """A claim as a TOML value."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{', '.join(literal(one) for one in value)}]"
    return quoted(value) if isinstance(value, str) else str(value)


def flags(value: Claim) -> str:
    """The flags of ATTRIBUTES, whatever the processor's features are."""
    digits = str(value)
    if len(digits) != 4 * FLAG_BYTES:
        return literal(value)
    mask, bits = "ff" * FLAG_BYTES + "00" * FLAG_BYTES, digits[: 2 * FLAG_BYTES] + "00" * FLAG_BYTES
    return f'{{ masked_equal = {{ mask = "{mask}", value = "{bits}" }} }}'


def plain_name(text: str) -> str:
    """A name that cannot end the comment it stands in."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)[:200]


HOW: Final[Mapping[str, Callable[[Claim], str]]] = {
    EQUAL: literal,
    LEAST: lambda value: f"{{ minimum = {literal(value)} }}",
    EACH: lambda value: f"{{ each_in = {literal(value)} }}",
    FLAGS: flags,
}
