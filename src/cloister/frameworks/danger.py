"""What is dangerous in a configuration, and why: settings that let the host read, change or choose.

These are the rules for what all formats have; danger_keys.py has those for what only one has. A file without a remark
is not proven secure: what the program itself does with its input is not seen here.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from cloister.frameworks import cloister_files, ego, gramine, occlum, scone, scone_environment, sgx_sdk
from cloister.frameworks.danger_keys import findings_of_keys
from cloister.frameworks.danger_paths import findings_of_paths
from cloister.frameworks.findings import Finding, Severity
from cloister.frameworks.formats import FORMATS
from cloister.frameworks.model import Backing, Configuration, Item, refers

__all__ = ["called_like_a_secret", "findings"]

DANGEROUS, RISKY, NOTE = Severity.DANGEROUS, Severity.RISKY, Severity.NOTE
LOADS_CODE: Final = frozenset({
    "BASH_ENV", "CLASSPATH", "ENV", "GCONV_PATH", "JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "LD_AUDIT",
    "LD_LIBRARY_PATH", "LD_PRELOAD", "NODE_OPTIONS", "NODE_PATH", "PATH", "PERL5LIB", "PERL5OPT", "PYTHONHOME",
    "PYTHONPATH", "PYTHONSTARTUP", "RUBYLIB", "RUBYOPT", "_JAVA_OPTIONS",
})  # fmt: skip
"""Variables by which loaders and interpreters find code."""
TRUSTS: Final = frozenset({
    "OPENSSL_CONF", "REQUESTS_CA_BUNDLE", "SECRET_PROVISION_CA_CHAIN_PATH", "SSLKEYLOGFILE", "SSL_CERT_DIR",
    "SSL_CERT_FILE",
})  # fmt: skip
"""Variables that say whom TLS believes, or write its keys to a file."""
SECRET_NAME: Final = re.compile(r"PASSWORD|PASSWD|SECRET|TOKEN|PRIVATE|API_?KEY|CREDENTIAL", re.IGNORECASE)
NO_SECRET: Final = re.compile(r"SECRET_PROVISION_(CONSTRUCTOR|SET_KEY|SERVERS)|.*_(FILE|PATH|DIR)", re.IGNORECASE)
"""What Gramine's client of secret provisioning is told (its attestation.rst), and names that say where a secret is."""
CODE: Final = (".so", ".py", ".pyc", ".sh", ".js", ".jar", ".class", ".pl", ".rb", ".lua", ".php", ".wasm")
SYSTEM: Final = ("/bin", "/boot", "/etc", "/lib", "/lib64", "/opt", "/sbin", "/usr")
WHOLE: Final = frozenset({"", ".", "/", "./"})
MANY: Final = 2000
INTERPRETER: Final = re.compile(
    r"(ba|da|z)?sh|python[0-9.]*|perl[0-9.]*|ruby[0-9.]*|node(js)?|php[0-9.]*|lua[0-9.]*|java"
)
LEAST_THREADS: Final = 4
SHORT_SECRET: Final = 16
SIGNED: Final = frozenset({gramine.NAME, ego.NAME, occlum.NAME, sgx_sdk.NAME})
"""Formats that are part of the measurement, or say the signer's numbers."""


def findings(configuration: Configuration) -> list[Finding]:
    """All remarks, the worst first, then in the order of the file."""
    found = [*findings_of_keys(configuration), *findings_of_paths(configuration)]
    for rule in RULES:
        found += rule(configuration)
    order = list(Severity)
    return sorted(found, key=lambda one: (order.index(one.severity), line_of(one.place), one.key))


def called_like_a_secret(name: str) -> bool:
    """Whether a variable of that name holds a secret, by its name."""
    return SECRET_NAME.search(name) is not None and NO_SECRET.fullmatch(name) is None


def line_of(place: str) -> int:
    """The line of `file:line`; 0 for a whole file."""
    line = place.rpartition(":")[2]
    return int(line) if line.isdecimal() else 0


def _about(configuration: Configuration, item: Item, severity: Severity, reason: str, advice: str) -> Finding:
    """A remark about one item."""
    key = _called(configuration.format, item)
    return Finding(severity=severity, key=key, place=configuration.place(item), reason=reason, advice=advice)


def _called(form: str, item: Item) -> str:
    """An item as the file calls it: `sgx.debug`, `loader.env.PATH`."""
    named = OTHER_NAMES.get((form, item[0]))
    table = FORMATS[form].table if form in FORMATS else ()
    path = named or next((key.path for key in table if key.concept == item[0]), item[0])
    if not item[1]:
        return path.removesuffix("[]")
    if "*" in path:
        return path.split("*")[0] + item[1]
    return f"{path.removesuffix('[]').rpartition('[]')[0] or path.removesuffix('[]')}: {item[1]}"


OTHER_NAMES: Final[Mapping[tuple[str, str], str]] = {
    (scone.NAME, "accept_debug"): "security.attestation.tolerate: debug-mode",
    (gramine.NAME, "measured_files"): "sgx.trusted_files",
}


def _switches(c: Configuration) -> Iterator[Finding]:
    """Single settings that undo the protection."""
    if c.debug:
        yield _about(
            c, ("debug", ""), DANGEROUS, "the host reads and changes the memory of a debug enclave (EDBGRD, EDBGWR)",
            "turn it off, and sign again; whoever verifies must refuse debug enclaves",
        )  # fmt: skip
    if c.format == sgx_sdk.NAME and c.debug is None:
        yield _about(c, ("debug", ""), RISKY, "the host may start it as a debug enclave", "set DisableDebug to 1")
    if c.host_arguments and c.format == gramine.NAME:
        yield _about(
            c, ("host_arguments", ""), DANGEROUS, "whoever starts the enclave chooses the arguments, which may be code",
            "write loader.argv, or trust a file by loader.argv_src_file",
        )  # fmt: skip
    if c.host_environment:
        yield _about(
            c, ("host_environment", ""), DANGEROUS, "the host chooses every variable: LD_PRELOAD loads its code",
            "name the variables that the program needs, one by one",
        )  # fmt: skip
    if c.simulation:
        yield _about(c, ("simulation", ""), DANGEROUS, "it simulates: there is no enclave", "use it for tests only")
    if c.executable_heap:
        yield _about(
            c, ("executable_heap", ""), RISKY, "memory that can be written can be executed: a flaw becomes code",
            "turn it off, unless the program compiles while it runs",
        )  # fmt: skip
    if c.log_level not in {None, "none", "error"}:
        yield _about(c, ("log_level", ""), RISKY, "the log tells the host what happens inside", 'set it to "error"')


def _attestation(c: Configuration) -> Iterator[Finding]:
    if c.format == gramine.NAME and c.attestation in {None, "none"}:
        yield _about(
            c, ("attestation", ""), RISKY, "nobody can verify what runs, so nobody should give it a secret",
            'set sgx.remote_attestation = "dcap"',
        )  # fmt: skip
    if c.format == scone.NAME and c.attestation == "none":
        yield _about(c, ("attestation", ""), DANGEROUS, "secrets go to whoever asks", "set the mode to hardware")
    if c.attestation == "epid":
        yield _about(c, ("attestation", ""), RISKY, "EPID attestation has come to its end of life", 'use "dcap"')
    if c.format in SIGNED and not c.security_version:
        yield _about(
            c, ("security_version", ""), NOTE, "old versions with known flaws cannot be told from this one",
            "count it up with each version that mends one, and demand the least that is good",
        )  # fmt: skip


def _environment(c: Configuration) -> Iterator[Finding]:
    for name, variable in c.environment.items():
        item = ("environment", name)
        if variable.from_host:
            yield _from_host(c, item, name, default=variable.value is not None)
        elif called_like_a_secret(name) and variable.value and not refers(variable.value):
            yield _about(
                c, item, DANGEROUS if c.format in SIGNED else RISKY,
                "it is called like a secret, and stands in a file that others read",
                "take it out, and release it by attestation (cloister serve), or refer to a secret of the session",
            )  # fmt: skip


def _from_host(c: Configuration, item: Item, name: str, *, default: bool) -> Finding:
    if called_like_a_secret(name):
        return _about(
            c, item, DANGEROUS, "it is called like a secret, and the host sets it: the host has the secret",
            "release it by attestation (cloister serve)",
        )  # fmt: skip
    if name in LOADS_CODE:
        return _about(c, item, DANGEROUS, "the host chooses where code is loaded from", "give it a value here")
    if name in TRUSTS:
        return _about(
            c, item, DANGEROUS, "the host chooses whom TLS believes, or where keys go", "give it a value here"
        )
    also = ", and its value comes before the one here" if default else ""
    return _about(c, item, RISKY, f"the host chooses its value{also}", "have the program check it, or give it a value")


def _files(c: Configuration) -> Iterator[Finding]:
    for path in c.host_files:
        severe = path in WHOLE or path.endswith(CODE) or _is_system(path)
        yield _about(
            c, ("host_files", path), DANGEROUS if severe else RISKY,
            "the host changes what the program executes or is configured by" if severe else
            "the host reads and changes it, and the program does not notice",
            "measure it (trusted), or encrypt it; if neither works, have the program authenticate what it reads",
        )  # fmt: skip
    wide = [path for path in c.measured_files if path.rstrip("/") in {"", ".", "/usr", "/lib", "/opt"}]
    for path in wide:
        yield _about(
            c, ("measured_files", path), NOTE, "a whole tree is trusted: more code than the program needs",
            "list what it opens; `cloister manifest learn` finds out",
        )  # fmt: skip
    if len(c.measured_files) > MANY:
        yield _about(
            c, ("measured_files", ""), NOTE, f"{len(c.measured_files):,} files are trusted: a large attack surface",
            "leave out what the program does not open; `cloister manifest learn` finds out",
        )  # fmt: skip


def _is_system(path: str) -> bool:
    return any(path.rstrip("/") == one or path.startswith(f"{one}/") for one in SYSTEM)


def _mounts(c: Configuration) -> Iterator[Finding]:
    for target, mount in c.mounts.items():
        item = ("mounts", target)
        whole = c.format == gramine.NAME and (mount.source or "") in WHOLE
        if mount.backing is Backing.HOST and (target == "/" or _is_system(target) or whole):
            yield _about(
                c, item, DANGEROUS, "the host changes what the program executes or is configured by",
                "mount only the directory that data go through, elsewhere",
            )  # fmt: skip
        elif mount.backing is Backing.HOST and not mount.read_only:
            yield _about(
                c, item, RISKY, "what is written there is in the clear; what is read there the host may have changed",
                "encrypt it (an encrypted mount, or the program), or mount it read-only",
            )  # fmt: skip
        elif mount.backing is Backing.HOST:
            yield _about(
                c, item, RISKY, "what is read there the host may have changed", "have the program authenticate it"
            )
        elif mount.backing is Backing.ENCRYPTED and mount.key == "_sgx_mrsigner":
            yield _about(
                c, item, NOTE, "every enclave of this signer can read it, older versions too",
                'use key_name = "_sgx_mrenclave", or a key that is provisioned',
            )  # fmt: skip
        elif mount.backing is Backing.ENCRYPTED and c.format in {gramine.NAME, occlum.NAME}:
            yield _about(
                c, item, NOTE, "the host may put an older version of the files in their place",
                "keep a counter or digest where the host cannot reach it, such as at the broker",
            )  # fmt: skip


def _policy(c: Configuration) -> Iterator[Finding]:
    """Whom a session gives its secrets."""
    if c.accept_debug:
        yield _about(
            c, ("accept_debug", ""), DANGEROUS, "debug enclaves, which the host reads, get the secrets", "remove it"
        )
    if c.format == scone.NAME and c.service is not None and not c.identities:
        yield _about(
            c, ("service", ""), DANGEROUS, "nothing says which program this service is", "add attestation: mrenclave"
        )
    for number, one in c.identities.items():
        if one.measurement is None and (one.product is None or one.security_version is None):
            yield _about(
                c, ("identities", number), RISKY, "every program of this signer is accepted, with known flaws too",
                "add the product and the least security version, or the measurement",
            )  # fmt: skip
    for status in c.tolerated:
        yield _about(
            c, ("tolerated", status), RISKY, f"a platform counts as good of which {status} is known",
            "mend the platform, and remove it",
        )  # fmt: skip
    if "ANY" in (c.updaters or ()):
        yield _about(c, ("updaters", ""), DANGEROUS, "everybody may change who gets the secrets", "name the owners")
    if "ANY" in (c.readers or ()):
        yield _about(c, ("readers", ""), RISKY, "everybody may read the session", "name the readers")


def _secrets(c: Configuration) -> Iterator[Finding]:
    for name, secret in c.secrets.items():
        item = ("secrets", name)
        if secret.value is not None and not refers(secret.value):
            yield _about(
                c, item, RISKY, "its value stands in the file: whoever has the file has the secret",
                "let the service make it, and nobody else ever sees it",
            )  # fmt: skip
        if secret.size is not None and secret.size < SHORT_SECRET and secret.value is None:
            yield _about(c, item, RISKY, f"{secret.size} characters can be guessed", f"take {SHORT_SECRET} or more")


def _manifest(c: Configuration) -> Iterator[Finding]:
    """Manifests of the software enclave."""
    if c.format != cloister_files.MANIFEST:
        return
    closed = any(one.path[0] == "closed" for one in c.kept)
    name = (c.program or "").rpartition("/")[2]
    if INTERPRETER.fullmatch(name) and not closed:
        yield _about(
            c, ("program", ""), RISKY, f"{name} reads code as data: what is not listed it reads from the host",
            "close the directories of its code: cloister measure --closed DIR",
        )  # fmt: skip
    if not any(one.path == ("broker",) for one in c.kept):
        yield _about(
            c, ("program", ""), NOTE, "it takes secrets from any broker, as whoever starts it chooses",
            "name the broker: cloister measure --broker-key",
        )  # fmt: skip


def _sizes(c: Configuration) -> Iterator[Finding]:
    if c.format == gramine.NAME and c.threads is not None and c.threads < LEAST_THREADS:
        yield _about(
            c, ("threads", ""), NOTE, "Gramine itself needs three threads beside the program's",
            f"set sgx.max_threads to {LEAST_THREADS} or more",
        )  # fmt: skip
    if c.format == ego.NAME and c.arguments is None and c.program is not None:
        yield _about(
            c, ("program", ""), NOTE, "the arguments of `ego run` are the program's: whoever starts it chooses them",
            "have the program check them",
        )  # fmt: skip
    if c.format == scone_environment.NAME:
        yield _about(
            c, ("memory", ""), NOTE, "the host sets these variables, where they were not signed in",
            "sign them in: scone-signer sign --env, --heap, --stack",
        )  # fmt: skip


RULES: Final[tuple[Callable[[Configuration], Iterator[Finding]], ...]] = (
    _switches, _attestation, _environment, _files, _mounts, _policy, _secrets, _manifest, _sizes,
)  # fmt: skip
