"""Cloister's own two files: sessions (docs/formats/session.md), and manifests that `cloister measure` writes.

They are read here as configurations only. Whether a session holds together says `cloister session check`.
"""

import re
from collections.abc import Mapping
from typing import Final

from cloister.frameworks import cloister_shield
from cloister.frameworks.draft import Draft, Values
from cloister.frameworks.model import Configuration, Identity, MeasuredFile, Secret, Variable
from cloister.frameworks.services import (
    add_identity,
    begin_secret,
    begin_service,
    chosen_service,
    command_words,
    session_keys,
    texts,
)
from cloister.frameworks.source import read_toml_file, read_yaml_file
from cloister.frameworks.table import Key, Kind, Sheet
from cloister.frameworks.writing import write_toml, write_yaml

__all__ = [
    "MANIFEST",
    "MANIFEST_CANNOT",
    "MANIFEST_ELSE",
    "MANIFEST_TABLE",
    "SESSION",
    "SESSION_CANNOT",
    "SESSION_TABLE",
    "read_manifest",
    "read_session",
    "write_manifest",
    "write_session",
]

SESSION: Final = "cloister-session"
MANIFEST: Final = "cloister-manifest"
PAGE: Final = "docs/formats/session.md"
TEXT, WHOLE, TRUTH, ANY = Kind.TEXT, Kind.WHOLE, Kind.TRUTH, Kind.ANY


def _key(path: str, kind: Kind, concept: str = "", source: str = PAGE) -> Key:
    return Key(path, kind, concept, source)


ENTRY: Final = "services[].attestation[]"
SESSION_TABLE: Final[tuple[Key, ...]] = (
    *session_keys(PAGE),
    _key("services[].arguments[]", TEXT, "arguments"),
    _key("services[].environment.*", TEXT, "environment"),
    _key("services[].injection_files[].path", TEXT, "injected_files"),
    _key("services[].injection_files[].content", TEXT, "injected_files"),
    _key("services[].secrets[]", TEXT),
    *cloister_shield.table("services[].shield", elsewhere=frozenset({"unsafe_key_file"})),
    _key(f"{ENTRY}.tee", TEXT, "identities"),
    _key(f"{ENTRY}.measurement", TEXT, "identities"),
    _key(f"{ENTRY}.measurement[]", TEXT, "identities"),
    _key(f"{ENTRY}.signer", TEXT, "identities"),
    _key(f"{ENTRY}.product", WHOLE, "identities"),
    _key(f"{ENTRY}.minimum_security_version", WHOLE, "identities"),
    _key(f"{ENTRY}.tolerate[]", TEXT, "tolerated"),
    _key(f"{ENTRY}.ignore_advisories[]", TEXT, "tolerated"),
    _key(f"{ENTRY}.unsafe_allow_debug", TRUTH, "accept_debug"),
    *(_key(f"{ENTRY}.{one}", ANY) for one in ("claims", "anchors", "unsafe_accept_testing")),
    _key("secrets[].generate", ANY, "secrets"),
    *(_key(f"secrets[].{one}", ANY) for one in ("import", "export")),
    *(_key(one, ANY) for one in ("approvals", "verifiers")),
)
ON_SGX: Final = "it is in the measurement already, by the framework's own file"
SESSION_CANNOT: Final = {
    "memory": ON_SGX, "stack": ON_SGX, "threads": ON_SGX, "dynamic_memory": ON_SGX, "cpu_features": ON_SGX,
    "executable_heap": ON_SGX, "measured_files": ON_SGX, "subprocesses": ON_SGX,
    "debug": "a session says whether debug is accepted: unsafe_allow_debug",
    "product_id": "a session says which product is accepted, under attestation",
    "security_version": "a session says which versions are accepted, under attestation",
    "mounts": cloister_shield.CANNOT["mounts"],
    "host_files": "the host's files are no matter of the broker",
    "host_arguments": "arguments of the host are not let in",
    "host_environment": "variables of the host are not let in",
    "argument_zero": "the command's first word is both",
    "secrets": "it has no such kind, or makes no such key; or a value is given in another notation: add it by hand",
    "environment": "variables of the host are not let in",
    "injected_files": "its content must be given",
    "attestation": "a session always demands it",
    "log_level": "the host sets it", "simulation": "a session demands hardware, unless unsafe_accept_testing is set",
}  # fmt: skip
MANIFEST_TABLE: Final[tuple[Key, ...]] = (
    _key("program", TEXT, "program", "cloister.measure.software"),
    _key("sha256", TEXT, "measured_files", "cloister.measure.software"),
    _key("closed[]", TEXT, "", "cloister.measure.software"),
    _key("broker", TEXT, "", "cloister.measure.software"),
    _key("files.*", TEXT, "measured_files", "cloister.measure.software"),
)
MANIFEST_CANNOT: Final = {
    "measured_files": "it needs the SHA-256 of each file, and names it by the path that the program opens: "
    "`cloister measure` and `cloister manifest learn` write it",
}
MANIFEST_ELSE: Final = "a manifest names the program and its files; the rest is the command line's or the session's"
KINDS: Final[Mapping[str, str]] = {"jwt": "jwt-key"}
"""SCONE's words for kinds of secrets, where the session has another."""
SHA256: Final = re.compile("[0-9a-f]{64}")
MADE: Final[Mapping[str, tuple[str, ...]]] = {
    "ascii": (),
    "binary": (),
    "aes-key": ("AES-128", "AES-192", "AES-256"),
    "private-key": ("P-256", "P-384", "Ed25519"),
    "x509": ("P-256", "P-384", "Ed25519"),
    "jwt-key": ("ES256", "ES384", "EdDSA"),
}
"""Kinds of secrets of a session, and what the broker makes of each (docs/formats/session.md)."""
SIZED: Final = frozenset({"ascii", "binary"})


def read_session(text: str, name: str, service: str | None = None) -> Configuration:
    """One service of a session; PolicyError with file and line if it has several and none was chosen."""
    sheet = Sheet(read_yaml_file(text, name), SESSION_TABLE)
    draft = Draft(SESSION, sheet)
    draft.read_single(SESSION_TABLE)
    number = chosen_service(sheet, service)
    if number is not None:
        _read_service(draft, number)
    for index in range(sheet.count("secrets")):
        _read_secret(draft, index)
    for member, field in (("read", "readers"), ("update", "updaters")):
        if sheet.count("access_policy", member):
            draft.set(field, sheet.texts("access_policy", member), "access_policy", member)
    return draft.finish()


def _read_service(draft: Draft, number: int) -> None:
    sheet, at = draft.sheet, ("services", number)
    begin_service(draft, *at)
    command = command_words(sheet, *at, "command")
    words = (*command, *sheet.texts(*at, "arguments"))
    if words:
        draft.set("program", words[0], *at, "command")
        draft.set("arguments", tuple(words[1:]), *at, "command")
    for variable in sheet.names(*at, "environment"):
        value = Variable(sheet.text(*at, "environment", variable))
        draft.add("environment", variable, value, *at, "environment", variable)
    for index in range(sheet.count(*at, "injection_files")):
        where = (*at, "injection_files", index)
        draft.element(*where)
        draft.add("injected_files", sheet.text(*where, "path") or "", sheet.text(*where, "content"), *where)
    cloister_shield.read_regions(draft, *at, "shield")
    for index in range(sheet.count(*at, "attestation")):
        _read_entry(draft, *at, "attestation", index)


def _read_entry(draft: Draft, *at: str | int) -> None:
    """An alternative of an SGX program; those of other TEEs are kept."""
    sheet = draft.sheet
    if sheet.text(*at, "tee") != "sgx":
        sheet.release(*at, "tee")
        return
    draft.element(*at)
    signer, product = sheet.text(*at, "signer"), sheet.whole(*at, "product")
    version = sheet.whole(*at, "minimum_security_version")
    for digest in texts(sheet, *at, "measurement") or (None,):
        add_identity(draft, Identity(digest, signer, product, version), *at)
    for word in (*sheet.texts(*at, "tolerate"), *sheet.texts(*at, "ignore_advisories")):
        if word not in draft.get("tolerated"):
            draft.add("tolerated", word, "", *at)
    draft.set("accept_debug", sheet.truth(*at, "unsafe_allow_debug"), *at)


def _read_secret(draft: Draft, number: int) -> None:
    sheet, at = draft.sheet, ("secrets", number)
    name, kind = begin_secret(draft, *at)
    if not sheet.names(*at, "generate"):
        sheet.take(*at, "generate")
    size, algorithm = (sheet.take(*at, "generate", one) for one in ("size", "algorithm"))
    made = Secret(
        next((word for word, own in KINDS.items() if own == kind), kind),
        size if isinstance(size, int) else None,
        sheet.text(*at, "value"),
        algorithm if isinstance(algorithm, str) else None,
    )
    draft.add("secrets", name, made, *at)


def write_session(configuration: Configuration) -> str:
    """A session of what can be said in one."""
    made, notes = Values(), configuration.notes
    made.put(("name",), configuration.name or configuration.service or "program")
    made.put(("version",), "1")
    made.put(("salt",), configuration.salt)
    at = ("services", 0)
    made.put((*at, "name"), configuration.service or "program")
    _write_entries(made, configuration)
    words = [configuration.program, *(configuration.arguments or ())]
    if configuration.program is not None:
        made.put((*at, "command"), words, notes.get(("program", "")))
    for name, variable in configuration.environment.items():
        if not variable.from_host and not (variable.value or "").startswith("@@"):
            made.put((*at, "environment", name), variable.value, notes.get(("environment", name)))
    made.put((*at, "pwd"), configuration.working_directory)
    for path, content in configuration.injected_files.items():
        if content is not None:
            made.append((*at, "injection_files"), {"path": path, "content": content})
    for values, note in cloister_shield.regions(configuration, SESSION):
        made.append((*at, "shield", "files"), values, note)
    _write_secrets(made, configuration)
    for member, names in (("read", configuration.readers), ("update", configuration.updaters)):
        if names is not None:
            made.put(("access_policy", member), list(names))
    made.put_kept(configuration, SESSION)
    return write_yaml(made.values, made.comments)


def _write_secrets(made: Values, configuration: Configuration) -> None:
    for name, secret in (*configuration.secrets.items(), *cloister_shield.key_secrets(configuration)):
        if KINDS.get(secret.kind, secret.kind) in MADE and (secret.value is None or secret.kind == "ascii"):
            made.append(("secrets",), _secret(name, secret))


def _secret(name: str, secret: Secret) -> dict[str, object]:
    members: dict[str, object] = {"name": name, "kind": KINDS.get(secret.kind, secret.kind)}
    if secret.value is not None:
        return {**members, "value": secret.value}
    generate: dict[str, object] = {}
    if secret.size is not None and secret.kind in SIZED:
        generate["size"] = secret.size
    if secret.algorithm in MADE[str(members["kind"])]:
        generate["algorithm"] = secret.algorithm
    return {**members, "generate": generate}


def _write_entries(made: Values, configuration: Configuration) -> None:
    """Who may be the program, with what is tolerated of each platform."""
    advisories = [one for one in configuration.tolerated if one.startswith("INTEL-SA-")]
    statuses = [one for one in configuration.tolerated if not one.startswith("INTEL-SA-")]
    for one in configuration.identities.values():
        entry: dict[str, object] = {
            "tee": "sgx", "measurement": one.measurement, "signer": one.signer, "product": one.product,
            "minimum_security_version": one.security_version, "tolerate": statuses or None,
            "ignore_advisories": advisories or None, "unsafe_allow_debug": configuration.accept_debug,
        }  # fmt: skip
        made.append(("services", 0, "attestation"), {key: value for key, value in entry.items() if value is not None})


def read_manifest(text: str, name: str) -> Configuration:
    """A manifest of the software enclave."""
    sheet = Sheet(read_toml_file(text, name), MANIFEST_TABLE)
    draft = Draft(MANIFEST, sheet)
    program, digest = sheet.text("program"), sheet.text("sha256")
    draft.set("program", program, "program")
    if program is not None and digest is not None:
        _add_file(draft, program, digest, "sha256")
    for path in sheet.names("files"):
        _add_file(draft, path, sheet.text("files", path), "files", path)
    return draft.finish()


def _add_file(draft: Draft, path: str, digest: str | None, *at: str | int) -> None:
    if not path.startswith("/") or digest is None or not SHA256.fullmatch(digest):
        raise draft.sheet.error(at, "is no absolute path with 64 hexadecimal digits of a SHA-256")
    draft.add("measured_files", path, MeasuredFile((path,), digest), *at)


def write_manifest(configuration: Configuration) -> str:
    """A manifest of the files whose digests are known."""
    made = Values()
    listed = {
        path: file.sha256
        for path, file in configuration.measured_files.items()
        if path.startswith("/") and SHA256.fullmatch(file.sha256 or "") and file.targets in {(), (path,)}
    }
    made.put(("program",), configuration.program)
    made.put(("sha256",), listed.pop(configuration.program or "", None))
    for path, digest in listed.items():
        made.put(("files", path), digest, configuration.notes.get(("measured_files", path)))
    made.put_kept(configuration, MANIFEST)
    return write_toml(made.values, made.comments)
