"""Dangerous settings that one framework has, as a table: key, values, severity, reason, advice.

Reasons are those of the frameworks' own documentation, named in the table of each format, and of the CVEs named here.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Final

from cloister.frameworks import cloister_files, gramine, occlum, scone, scone_environment, sgx_sdk
from cloister.frameworks.findings import Finding, Severity
from cloister.frameworks.formats import FORMATS
from cloister.frameworks.model import Configuration, Kept
from cloister.frameworks.table import Key, Kind, dotted

__all__ = ["RULES", "Rule", "findings_of_keys"]

DANGEROUS, RISKY, NOTE = Severity.DANGEROUS, Severity.RISKY, Severity.NOTE
Test = Callable[[object], bool]


@dataclass(frozen=True, slots=True)
class Rule:
    """A key of a format, and the values of it that are worth a remark."""

    format: str
    path: str
    severity: Severity
    reason: str
    advice: str
    test: Test = bool

    def fits(self, kept: Kept) -> bool:
        """Whether the rule is about this setting."""
        return self.format == kept.format and Key(self.path, Kind.ANY).fits(kept.path) and self.test(kept.value)


def _always(_value: object) -> bool:
    return True


def _not(*harmless: object) -> Test:
    return lambda value: value not in harmless


def _among(*harmful: object) -> Test:
    return lambda value: value in harmful


def _off(value: object) -> bool:
    return value is False


def _without_debug(value: object) -> bool:
    """Whether a mask of attributes leaves bit 1, DEBUG, out."""
    try:
        return not int(str(value), 0) & 2
    except ValueError:
        return True


GR, SC, EV, OC, XM = gramine.NAME, scone.NAME, scone_environment.NAME, occlum.NAME, sgx_sdk.NAME
NEEDS_DEBUG: Final = "it works in debug enclaves only, which protect nothing, and tells the host what happens inside"
RETIRED: Final = "Gramine has dropped it: it has no effect, or stops the start"
RULES: Final[tuple[Rule, ...]] = (
    Rule(GR, "fs.insecure__keys.*", DANGEROUS, "the key stands in the manifest, which everybody can read",
         'remove it; provision the key by attestation (cloister serve), or use key_name = "_sgx_mrenclave"', _always),
    Rule(GR, "sgx.file_check_policy", DANGEROUS, "every file of the host can be opened, whatever it contains",
         "set it to strict; `cloister manifest learn` finds which files the program opens", _not("strict")),
    Rule(GR, "loader.insecure__disable_aslr", RISKY, "addresses are the same at each start, which helps exploits",
         "remove it"),
    Rule(GR, "sgx.insecure__rpc_thread_num", RISKY,
         "system calls go through memory that the host shares (INTEL-SA-00615, INTEL-SA-00657)", "remove it"),
    Rule(GR, "sgx.insecure__allow_memfaults_without_exinfo", RISKY, "the host can invent memory faults", "remove it"),
    Rule(GR, "sys.insecure__allow_eventfd", RISKY, "eventfd is the host's: it can wake and count as it likes",
         "remove it, unless the program bears wrong wake-ups"),
    Rule(GR, "libos.check_invalid_pointers", NOTE, "wrong pointers in system calls end the program instead of EFAULT",
         "leave it on unless the speed is needed", _off),
    Rule(GR, "sgx.enable_stats", RISKY, NEEDS_DEBUG, "remove it before production"),
    Rule(GR, "sgx.profile.enable", RISKY, NEEDS_DEBUG, "remove it before production", _not("none")),
    Rule(GR, "sgx.vtune_profile", RISKY, NEEDS_DEBUG, "remove it before production"),
    Rule(GR, "sys.debug__mock_syscalls[].name", RISKY, "this system call is answered without being done", "remove it",
         _always),
    Rule(GR, "sys.allowed_ioctls[].request_code", RISKY,
         "its arguments go to the host, and answers come back, unchecked",
         "allow only calls whose data the program encrypts or checks", _always),
    Rule(GR, "sys.enable_sigterm_injection", NOTE, "the host may send SIGTERM once, at any moment",
         "look at what the program's handler does"),
    Rule(GR, "sys.enable_extra_runtime_domain_names_conf", RISKY, "names are resolved by servers that the host chooses",
         "believe no name: use TLS, and verify certificates against roots that are measured"),
    Rule(GR, "sys.experimental__enable_flock", NOTE, "it is experimental", "test it under load"),
    Rule(GR, "loader.log_file", NOTE, "messages go to a plain file of the host", "leave it out in production", _always),
    Rule(GR, "fs.mounts[].type", RISKY, "this memory is shared with the host, which reads and changes it",
         "encrypt and authenticate what goes through it", _among("untrusted_shm")),
    Rule(GR, "sgx.ra_client_spid", RISKY, "EPID attestation has come to its end of life", 'use "dcap"', _always),
    Rule(GR, "sgx.seal_key.flags_mask", DANGEROUS, "a debug enclave of the same program gets the same sealing key",
         "keep bit 1 (0x2, DEBUG) in the mask", _without_debug),
    Rule(GR, "sgx.thread_num", NOTE, RETIRED, "write sgx.max_threads", _always),
    Rule(GR, "sgx.remote_attestation", NOTE, RETIRED, 'write "dcap" or "none"', _always),
    Rule(GR, "sgx.nonpie_binary", NOTE, RETIRED, "remove it", _always),
    Rule(GR, "loader.pal_internal_mem_size", NOTE, RETIRED, "remove it", _always),
    Rule(GR, "fs.experimental__enable_sysfs_topology", NOTE, RETIRED, "remove it", _always),
    *(
        Rule(GR, f"sgx.require_{name}", NOTE, RETIRED, f'write sgx.cpu_features.{name} = "required"')
        for name in ("avx", "avx512", "mpx", "pkru", "amx")
    ),
    Rule(OC, "metadata.disable_log", RISKY, "the log goes to the host", "set it to true", _off),
    Rule(OC, "entry_points[]", DANGEROUS, "the host may start every program in the image", "name the one program",
         _among("/")),
    Rule(OC, "entry_points[]", RISKY, "the host may start every program below it, with arguments of its choice",
         "name the one program; and have no shell or interpreter in the image",
         _among("/bin", "/usr/bin", "/usr", "/opt")),
    Rule(OC, "feature.io_uring", RISKY, "requests go through memory that the host shares", "leave it off", _not(0)),
    Rule(XM, "HeapExecutable", RISKY, "memory that can be written can be executed", "set it to 0", _among("1")),
    Rule(XM, "ReservedMemExecutable", RISKY, "memory that can be written can be executed", "set it to 0", _among("1")),
    Rule(SC, "security.attestation.tolerate[]", RISKY,
         "a platform counts as good that its vendor calls open to attacks (SCONE's word for it)",
         "mend the platform, and remove it", _always),
    Rule(SC, "security.attestation.ignore_advisories", DANGEROUS,
         "advisories count for nothing that nobody has read yet",
         "name those that do not matter here", _among("*")),
    Rule(SC, "services[].fspf_key", RISKY, "the key of the files stands in the session",
         "let SCONE make it: $$SCONE::NAME$$", lambda value: "$$" not in str(value)),
    *(
        Rule(SC, f"{part}[].fspf_update_policy", RISKY, "an older version of the files can be put in their place",
             "use rollback_protected", _among("no_rollback_protection", "ephemeral"))
        for part in ("services", "volumes")
    ),
    Rule(SC, "security.attestation.must_be_sgx_local", NOTE, "only enclaves on its own machine are attested",
         "leave it out where the program runs elsewhere"),
    Rule(EV, "SCONE_MODE", DANGEROUS, "it simulates: there is no enclave", "use it for tests only", _among("sim")),
    Rule(EV, "SCONE_MODE", DANGEROUS, "where there is no SGX, it runs in simulation and says nothing", "set it to hw",
         _among("auto")),
    Rule(EV, "SCONE_ALLOW_DLOPEN", DANGEROUS, "libraries are loaded that nobody authenticated", "set it to 0",
         _among("2")),
    Rule(EV, "SCONE_ALLOW_DLOPEN", RISKY, "the program loads libraries while it runs",
         "have them in the protected file system", _among("1")),
    Rule(EV, "SCONE_MPROTECT", RISKY, "memory can be made executable while it runs", "set it to 0", _among("1")),
    Rule(EV, "SCONE_FSPF_KEY", DANGEROUS, "the host sets this variable, so it has the key of the files",
         "give the key in the session", _always),
    Rule(EV, "SCONE_SERVICE_ACCESS_TOKEN", RISKY, "the host sets this variable, so it has the token",
         "use it for what the host may do", _always),
    Rule(EV, "SCONE_HASH", NOTE, "the program prints its MRENCLAVE and ends", "remove it in production", _among("1")),
    Rule(EV, "SCONE_LD_DEBUG", NOTE, "the loader tells the host what it loads", "remove it in production", _not("0")),
    Rule(cloister_files.SESSION, "services[].attestation[].unsafe_accept_testing", DANGEROUS,
         "emulated machines and test roots, which protect nothing, get the secrets", "remove it in production"),
)  # fmt: skip
INSECURE: Final = ("insecure__", "unsafe_", "debug__")


def findings_of_keys(configuration: Configuration) -> Iterator[Finding]:
    """What the table says, and keys that are in no documentation."""
    for number, kept in enumerate([*configuration.kept, *_variables(configuration)]):
        place, key = configuration.place(("kept", str(number))), dotted(kept.path)
        if number >= len(configuration.kept):
            place = configuration.place(("environment", key))
        rules = [rule for rule in RULES if rule.fits(kept)]
        for rule in rules[:1]:
            yield Finding(severity=rule.severity, key=key, place=place, reason=rule.reason, advice=rule.advice)
        if not kept.known:
            yield _unknown(kept, key, place)


def _variables(configuration: Configuration) -> Iterator[Kept]:
    """Variables of SCONE's runtime that a session sets."""
    if configuration.format == scone.NAME:
        for name, variable in configuration.environment.items():
            if any(key.path == name for key in scone_environment.TABLE) and variable.value is not None:
                yield Kept(scone_environment.NAME, (name,), variable.value, known=True)


def _unknown(kept: Kept, key: str, place: str) -> Finding:
    title = FORMATS[kept.format].title
    near = get_close_matches(key, [one.path for one in FORMATS[kept.format].table], 1, 0.75)
    if any(mark in key for mark in INSECURE) and kept.value not in (False, 0):
        return Finding(
            severity=RISKY, key=key, place=place,
            reason=f"its name says that it is insecure, and {title} does not document it",
            advice="find out what it does, or remove it",
        )  # fmt: skip
    advice = f"did you mean {near[0]}?" if near else "find out whether your version knows it, or remove it"
    return Finding(severity=NOTE, key=key, place=place, reason=f"{title} does not document it", advice=advice)
