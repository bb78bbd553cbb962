"""SCONE's session, language 0.3: YAML that SCONE's configuration and attestation service applies.

Keys: sconedocs, "CAS session language 0.3". A session may have several services; one of them is read at a time. What
is not of the program (volumes of others, exports) is kept.
"""

import re
from typing import Final

from cloister.frameworks.draft import Draft, Values
from cloister.frameworks.forms import PLAIN, Form, mapped
from cloister.frameworks.model import Backing, Configuration, Identity, Mount, Secret, Variable
from cloister.frameworks.services import (
    add_identity,
    begin_secret,
    begin_service,
    chosen_service,
    command_words,
    session_keys,
    texts,
)
from cloister.frameworks.source import read_yaml_file
from cloister.frameworks.table import Key, Kind, Sheet
from cloister.frameworks.writing import write_yaml

__all__ = ["CANNOT", "NAME", "TABLE", "read", "write"]

NAME: Final = "scone"
PAGE: Final = "sconedocs, CAS session language 0.3"
TEXT, WHOLE, TRUTH, ANY = Kind.TEXT, Kind.WHOLE, Kind.TRUTH, Kind.ANY
MODES: Final = mapped({"hardware": "dcap", "none": "none", "maa": "maa"})
HOST: Final = re.compile(r"@@([A-Za-z_][A-Za-z0-9_]*)")
VOLUME: Final = "volume"
"""The image that this module writes, where a session of another format had none."""


def _key(path: str, kind: Kind, concept: str = "", form: Form = PLAIN, choices: tuple[object, ...] = ()) -> Key:
    return Key(path, kind, concept, PAGE, choices, form)


def _words(path: str, concept: str = "") -> tuple[Key, Key]:
    """A key that is one text, or a list of texts."""
    return _key(path, TEXT, concept), _key(f"{path}[]", TEXT, concept)


TABLE: Final[tuple[Key, ...]] = (
    *session_keys(PAGE),
    _key("namespace_hash", TEXT),
    _key("services[].image_name", TEXT),
    _key("services[].environment.*", ANY, "environment"),
    *_words("services[].attestation[].mrenclave", "identities"),
    *_words("services[].mrenclaves", "identities"),
    _key("services[].attestation[].signer.mrsigner", TEXT, "identities"),
    _key("services[].attestation[].signer.isvprodid", WHOLE, "identities"),
    _key("services[].attestation[].signer.isvsvn", WHOLE, "identities"),
    _key("services[].attestation[].signer.isvsvn_min", WHOLE, "identities"),
    *(_key(f"services[].fspf_{one}", TEXT) for one in ("path", "key", "tag", "update_policy")),
    _key("services[].platforms[]", TEXT),
    _key("secrets[].size", WHOLE, "secrets"),
    _key("secrets[].key_type", TEXT, "secrets"),
    *(_key(f"secrets[].{one}", ANY) for one in ("migrate", "import", "export", "dns", "common_name", "valid_for")),
    *(_key(f"secrets[].{one}", TEXT) for one in ("private_key", "issuer", "endpoint")),
    _key("volumes[].name", TEXT, "mounts"),
    _key("volumes[].import", ANY),
    _key("volumes[].export", ANY),
    *(_key(f"volumes[].fspf_{one}", TEXT) for one in ("key", "tag", "update_policy")),
    _key("images[].name", TEXT),
    _key("images[].volumes[].name", TEXT, "mounts"),
    _key("images[].volumes[].path", TEXT, "mounts"),
    _key("images[].injection_files[]", TEXT, "injected_files"),
    _key("images[].injection_files[].path", TEXT, "injected_files"),
    _key("images[].injection_files[].content", TEXT, "injected_files"),
    *(_key(f"access_policy.{one}", ANY) for one in ("update", "create_sessions")),
    _key("security.attestation.mode", TEXT, "attestation", MODES),
    _key("security.attestation.url", TEXT),
    _key("security.attestation.tolerate[]", TEXT, "tolerated"),
    _key("security.attestation.ignore_advisories[]", TEXT, "tolerated"),
    _key("security.attestation.ignore_advisories", TEXT),
    _key("security.attestation.must_be_sgx_local", TRUTH),
    _key("security.attestation.trusted_scone_qe_pubkeys[]", TEXT),
    _key("security.attestation.one_time_password_shared_secret", TEXT),
    _key("security.service_access_token", TEXT),
    _key("security.singleton_enclaves", TRUTH),
)
STATUSES: Final = {"software-hardening-needed": "SWHardeningNeeded", "outdated-tcb": "OutOfDate"}
"""SCONE's words for Intel's TCB statuses, where one means the other."""
DEBUG: Final = "debug-mode"
ADVISORY: Final = "INTEL-SA-"
IN_SIGNATURE: Final = "it is set when the program is signed (scone-signer sign), or in its environment: --to scone-env"
CANNOT: Final = {
    "memory": IN_SIGNATURE,
    "stack": IN_SIGNATURE,
    "threads": "it is set when the program is signed: scone-signer sign --tcs",
    "debug": "it is set when the program is signed: scone-signer sign --production",
    "product_id": "it is set when the program is signed: scone-signer sign --isvprodid",
    "security_version": "it is set when the program is signed: scone-signer sign --isvsvn",
    "log_level": IN_SIGNATURE,
    "simulation": IN_SIGNATURE,
    "subprocesses": IN_SIGNATURE,
    "measured_files": "what is measured besides the program is in its file-system protection file: scone fspf",
    "host_files": "a region of the file-system protection file, --not-protected: scone fspf addr",
    "host_environment": "variables are named one by one, as @@NAME",
    "host_arguments": "arguments of the host are named one by one in the command, as @@1",
    "argument_zero": "the command's first word is both",
}


def read(text: str, name: str, service: str | None = None) -> Configuration:
    """One service of a session; PolicyError with file and line if it is none, or has several and none was chosen."""
    sheet = Sheet(read_yaml_file(text, name), TABLE)
    version = sheet.text("version")
    if version is not None and not version.startswith("0.3"):
        raise sheet.error(("version",), "is of another session language; 0.3 is understood")
    draft = Draft(NAME, sheet)
    draft.read_single(TABLE)
    number = chosen_service(sheet, service)
    if number is not None:
        _read_service(draft, number)
    for index in range(sheet.count("secrets")):
        _read_secret(draft, index)
    _read_images(draft, number)
    for member, field in (("read", "readers"), ("update", "updaters")):
        if sheet.count("access_policy", member) == len(words := sheet.texts("access_policy", member)) and words:
            draft.set(field, words, "access_policy", member)
            sheet.take("access_policy", member)
    _read_tolerated(draft)
    return draft.finish()


def _read_service(draft: Draft, number: int) -> None:
    sheet, at = draft.sheet, ("services", number)
    begin_service(draft, *at)
    _read_command(draft, *at, "command")
    for name in sheet.names(*at, "environment"):
        value = sheet.take(*at, "environment", name)
        if isinstance(value, dict | list):
            raise sheet.error((*at, "environment", name), "is a text")
        text = str(value).lower() if isinstance(value, bool) else str(value)
        found = HOST.fullmatch(text)
        own = found is not None and found[1] == name
        draft.add("environment", name, Variable(from_host=True) if own else Variable(text), *at, "environment", name)
    for index in range(sheet.count(*at, "attestation")):
        _read_identity(draft, *at, "attestation", index)
    for digest in texts(sheet, *at, "mrenclaves"):
        add_identity(draft, Identity(digest), *at, "mrenclaves")


def _read_command(draft: Draft, *at: str | int) -> None:
    """Program and arguments; with arguments of the host, only the program."""
    words = command_words(draft.sheet, *at)
    if not words:
        return
    draft.set("program", words[0], *at)
    if any("@@" in word for word in words):
        draft.set("host_arguments", bool(words), *at)
        for path in (at, *((*at, number) for number in range(len(words)))):
            draft.sheet.release(*path)
    else:
        draft.set("arguments", tuple(words[1:]), *at)


def _read_identity(draft: Draft, *at: str | int) -> None:
    sheet = draft.sheet
    signer = sheet.text(*at, "signer", "mrsigner")
    product = sheet.whole(*at, "signer", "isvprodid")
    version = sheet.whole(*at, "signer", "isvsvn_min")
    draft.element(*at)
    for digest in texts(sheet, *at, "mrenclave") or (None,):
        if digest is None and signer is None:
            raise sheet.error(at, "names neither mrenclave nor mrsigner")
        add_identity(draft, Identity(digest, signer, product, version), *at)


def _read_secret(draft: Draft, number: int) -> None:
    """A secret; one that another session makes may leave its kind to that, and is kept as it stands then."""
    sheet, at = draft.sheet, ("secrets", number)
    if sheet.text(*at, "kind") is None and "import" in sheet.names(*at):
        sheet.release(*at, "name")
        return
    name, kind = begin_secret(draft, *at)
    secret = Secret(kind, sheet.whole(*at, "size"), sheet.text(*at, "value"), sheet.text(*at, "key_type"))
    draft.add("secrets", name, secret, *at)


def _read_images(draft: Draft, service: int | None) -> None:
    """Volumes and injected files of the service's image."""
    sheet = draft.sheet
    wanted = None if service is None else sheet.text("services", service, "image_name")
    for number in range(sheet.count("images")):
        at = ("images", number)
        if wanted is None or sheet.text(*at, "name") != wanted:
            sheet.release(*at, "name")
            continue
        draft.element(*at)
        for index in range(sheet.count(*at, "volumes")):
            where = (*at, "volumes", index)
            name, path = sheet.text(*where, "name"), sheet.text(*where, "path")
            if name is None or path is None:
                raise sheet.error(where, "needs a name and a path")
            draft.element(*where)
            draft.add("mounts", path, Mount(Backing.ENCRYPTED, None, name), *where)
        for index in range(sheet.count(*at, "injection_files")):
            where = (*at, "injection_files", index)
            path, content = sheet.text(*where) or sheet.text(*where, "path"), sheet.text(*where, "content")
            if path is None:
                raise sheet.error(where, "needs a path")
            draft.element(*where)
            draft.add("injected_files", path, content, *where)
    used = {one.key for one in draft.get("mounts").values()}
    for number in range(sheet.count("volumes")):
        if sheet.text("volumes", number, "name") in used:
            draft.element("volumes", number)
        else:
            sheet.release("volumes", number, "name")


def _read_tolerated(draft: Draft) -> None:
    sheet, at = draft.sheet, ("security", "attestation")
    for number in range(sheet.count(*at, "tolerate")):
        where = (*at, "tolerate", number)
        word = sheet.text(*where) or ""
        if word == DEBUG:
            draft.set("accept_debug", word == DEBUG, *where)
        elif word in STATUSES:
            draft.add("tolerated", STATUSES[word], "", *where)
        else:
            sheet.release(*where)
    for number in range(sheet.count(*at, "ignore_advisories")):
        where = (*at, "ignore_advisories", number)
        draft.add("tolerated", sheet.text(*where) or "", "", *where)


def write(configuration: Configuration) -> str:
    """A session of what can be said in one."""
    made = Values()
    made.put(("name",), configuration.name or configuration.service or "program")
    made.put(("version",), "0.3")
    made.put_single(TABLE, configuration)
    _write_service(made, configuration)
    for name, secret in configuration.secrets.items():
        members = {"name": name, "kind": secret.kind, "size": secret.size, "value": secret.value}
        members["key_type"] = secret.algorithm
        made.append(("secrets",), {key: value for key, value in members.items() if value is not None})
    _write_image(made, configuration)
    for member, names in (("read", configuration.readers), ("update", configuration.updaters)):
        if names is not None:
            made.put(("access_policy", member), list(names))
    _write_tolerated(made, configuration)
    made.put_kept(configuration, NAME)
    return write_yaml(made.values, made.comments)


def _write_service(made: Values, configuration: Configuration) -> None:
    notes, at = configuration.notes, ("services", 0)
    made.put((*at, "name"), configuration.service or "program")
    if _has_image(configuration):
        made.put((*at, "image_name"), VOLUME)
    if configuration.program is not None and not configuration.host_arguments:
        words = [configuration.program, *(configuration.arguments or ())]
        made.put((*at, "command"), words, notes.get(("program", "")))
    for name, variable in configuration.environment.items():
        value = f"@@{name}" if variable.from_host else variable.value
        made.put((*at, "environment", name), value, notes.get(("environment", name)))
    made.put((*at, "pwd"), configuration.working_directory)
    for one in configuration.identities.values():
        signer = {"mrsigner": one.signer, "isvprodid": one.product, "isvsvn_min": one.security_version}
        entry: dict[str, object] = {} if one.measurement is None else {"mrenclave": [one.measurement]}
        if one.signer is not None:
            entry["signer"] = {key: value for key, value in signer.items() if value is not None}
        made.append((*at, "attestation"), entry)


def _has_image(configuration: Configuration) -> bool:
    encrypted = any(one.backing is Backing.ENCRYPTED for one in configuration.mounts.values())
    return encrypted or bool(configuration.injected_files)


def _write_image(made: Values, configuration: Configuration) -> None:
    if not _has_image(configuration):
        return
    at = ("images", 0)
    made.put((*at, "name"), VOLUME)
    for path, mount in configuration.mounts.items():
        if mount.backing is Backing.ENCRYPTED:
            name = mount.key or path.strip("/").replace("/", "-") or "root"
            if not any(one == {"name": name} for one in made.items(("volumes",))):
                made.append(("volumes",), {"name": name})
            made.append((*at, "volumes"), {"name": name, "path": path})
    for path, content in configuration.injected_files.items():
        made.append((*at, "injection_files"), path if content is None else {"path": path, "content": content})


def _write_tolerated(made: Values, configuration: Configuration) -> None:
    words = {status: word for word, status in STATUSES.items()}
    at = ("security", "attestation")
    if configuration.accept_debug:
        made.append((*at, "tolerate"), DEBUG)
    for one in configuration.tolerated:
        if one in words:
            made.append((*at, "tolerate"), words[one])
        elif one.startswith(ADVISORY):
            made.append((*at, "ignore_advisories"), one)
