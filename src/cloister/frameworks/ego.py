"""EGo's enclave.json, which `ego sign` puts into the executable and measures.

Keys and types: EGo, docs/docs/reference/config.md and ego/config/config.go. EGo passes the command line of `ego run` on
to the program, always; it attests by calls of the program.
"""

from typing import Final

from cloister.frameworks.draft import Draft, Values
from cloister.frameworks.forms import MEGABYTES, PLAIN, Form
from cloister.frameworks.model import Backing, Configuration, MeasuredFile, Mount, Variable, refers
from cloister.frameworks.source import read_json
from cloister.frameworks.table import Key, Kind, Sheet
from cloister.frameworks.writing import write_json

__all__ = ["CANNOT", "NAME", "TABLE", "read", "write"]

NAME: Final = "ego"
REFERENCE: Final = "docs/docs/reference/config.md"
SOURCE: Final = "ego/config/config.go"
TEXT, WHOLE, TRUTH = Kind.TEXT, Kind.WHOLE, Kind.TRUTH


def _key(
    path: str, kind: Kind, concept: str = "", choices: tuple[object, ...] = (), form: Form = PLAIN,
    source: str = REFERENCE,
) -> Key:  # fmt: skip
    return Key(path, kind, concept, source, choices, form)


TABLE: Final[tuple[Key, ...]] = (
    _key("exe", TEXT, "program"),
    _key("key", TEXT),
    _key("debug", TRUTH, "debug"),
    _key("heapSize", WHOLE, "memory", form=MEGABYTES),
    _key("executableHeap", TRUTH, "executable_heap"),
    _key("productID", WHOLE, "product_id"),
    _key("securityVersion", WHOLE, "security_version"),
    _key("mounts[].source", TEXT, "mounts"),
    _key("mounts[].target", TEXT, "mounts"),
    _key("mounts[].type", TEXT, "mounts", ("hostfs", "memfs")),
    _key("mounts[].readOnly", TRUTH, "mounts"),
    _key("env[].name", TEXT, "environment"),
    _key("env[].value", TEXT, "environment"),
    _key("env[].fromHost", TRUTH, "environment"),
    _key("files[].source", TEXT, "measured_files"),
    _key("files[].target", TEXT, "measured_files"),
    _key("files[].content", TEXT, source=SOURCE),
)
NEEDED: Final = {"key": "private.pem", "debug": False, "heapSize": 512}
"""What `ego sign` refuses to work without; 512 is its own default, and debug must be said to be off."""

CANNOT: Final = {
    "arguments": "the command line of `ego run` is the program's: whoever starts it chooses; let the program check it",
    "argument_zero": "see the arguments",
    "host_arguments": "it is always so with EGo",
    "host_environment": "variables are named one by one, with fromHost",
    "host_files": "a directory is mounted, with type hostfs: list it under mounts",
    "measured_files": "files are embedded one by one, as they are when it signs: no directories, no digests",
    "stack": "EGo has 4 MiB for each thread",
    "threads": "EGo has 32 thread control structures",
    "dynamic_memory": "EGo's memory is fixed when it is signed",
    "attestation": "it is built in: the program calls enclave.GetRemoteReport, or uses attested TLS",
    "cpu_features": "EGo demands none",
    "log_level": "it is set by the host: OE_LOG_LEVEL, EDG_...",
    "secrets": "EGo has none of its own; MarbleRun or `cloister serve` release them",
    "injected_files": "put the content into a file and embed it under files",
    "identities": "who may be it stands in a policy",
    "subprocesses": "EGo's programs have no children",
    "tolerated": "which platforms are good enough is decided by whoever verifies",
    "accept_debug": "whether debug enclaves get secrets is decided by whoever verifies",
}
KINDS: Final = {"hostfs": Backing.HOST, "memfs": Backing.MEMORY}


def read(text: str, name: str) -> Configuration:
    """An enclave.json; PolicyError with file and line if it is none."""
    sheet = Sheet(read_json(text, name), TABLE)
    draft = Draft(NAME, sheet)
    draft.read_single(TABLE)
    for number in range(sheet.count("env")):
        _read_variable(draft, number)
    for number in range(sheet.count("mounts")):
        _read_mount(draft, number)
    for number in range(sheet.count("files")):
        source, target = sheet.text("files", number, "source"), sheet.text("files", number, "target")
        if source is None:
            raise sheet.error(("files", number), "has no source")
        draft.element("files", number)
        draft.add_file(source, MeasuredFile((target or source,)), "files", number)
    return draft.finish()


def _read_variable(draft: Draft, number: int) -> None:
    sheet, at = draft.sheet, ("env", number)
    name, value = sheet.text(*at, "name"), sheet.text(*at, "value")
    from_host = bool(sheet.truth(*at, "fromHost"))
    if not name or "=" in name:
        raise sheet.error(at, "has no name, or one with =")
    draft.element(*at)
    if name == "PWD" and not from_host and value is not None:
        draft.set("working_directory", value, *at)
    else:
        draft.add("environment", name, Variable(value, from_host), *at)


def _read_mount(draft: Draft, number: int) -> None:
    sheet, at = draft.sheet, ("mounts", number)
    target, kind = sheet.text(*at, "target"), sheet.text(*at, "type")
    source, read_only = sheet.text(*at, "source"), bool(sheet.truth(*at, "readOnly"))
    if not target or kind is None or (kind == "hostfs" and not source):
        raise sheet.error(at, "needs a target, a type and, for hostfs, a source")
    backing = KINDS[kind]
    draft.element(*at)
    draft.add("mounts", target, Mount(backing, source if backing is Backing.HOST else None, None, read_only), *at)


def write(configuration: Configuration) -> str:
    """An enclave.json of what can be said in one."""
    made = Values()
    made.put_single(TABLE, configuration)
    made.put_needed(NEEDED)
    for target, mount in configuration.mounts.items():
        kind = next((name for name, backing in KINDS.items() if backing is mount.backing), None)
        if kind is not None:
            source = {} if mount.source is None else {"source": mount.source}
            read_only = {"readOnly": True} if mount.read_only else {}
            made.append(("mounts",), {**source, "target": target, "type": kind, **read_only})
    for name, variable in configuration.environment.items():
        if not refers(variable.value):
            value = {} if variable.value is None else {"value": variable.value}
            made.append(("env",), {"name": name, **value, **({"fromHost": True} if variable.from_host else {})})
    if configuration.working_directory is not None:
        made.append(("env",), {"name": "PWD", "value": configuration.working_directory})
    for path, file in configuration.measured_files.items():
        if not path.endswith("/"):
            for target in file.targets or (path,):
                made.append(("files",), {"source": path, "target": target})
    made.put_kept(configuration, NAME)
    return write_json(made.values, indent=1)
