"""Occlum's Occlum.json, which `occlum build` compiles into the enclave.

Keys and types: Occlum, tools/gen_internal_conf/src/main.rs; what they mean:
docs/readthedocs/docs/source/occlum_configuration.md. The documentation shows comments; the reader of Occlum takes none,
and neither does this one. Which files are in the image says another file (bom.yaml); the program and its arguments are
those of `occlum run`.
"""

from typing import Final

from cloister.frameworks.draft import Draft, Values
from cloister.frameworks.forms import PLAIN, UNITS, Form
from cloister.frameworks.model import Backing, Configuration, Mount, Variable, refers
from cloister.frameworks.source import read_json, read_yaml_file
from cloister.frameworks.table import Key, Kind, Sheet
from cloister.frameworks.writing import write_json

__all__ = ["CANNOT", "NAME", "TABLE", "read", "write"]

NAME: Final = "occlum"
PAGE: Final = "docs/readthedocs/docs/source/occlum_configuration.md"
SOURCE: Final = "tools/gen_internal_conf/src/main.rs"
DEMO: Final = "demos/remote_attestation/azure_attestation/maa_json/config/Occlum.yaml"
TEXT, WHOLE, TRUTH, ANY = Kind.TEXT, Kind.WHOLE, Kind.TRUTH, Kind.ANY


def _key(path: str, kind: Kind, concept: str = "", form: Form = PLAIN, source: str = PAGE) -> Key:
    return Key(path, kind, concept, source, (), form)


TABLE: Final[tuple[Key, ...]] = (
    _key("resource_limits.user_space_size", TEXT, "memory", UNITS),
    _key("resource_limits.user_space_max_size", TEXT),
    _key("resource_limits.kernel_space_heap_size", TEXT),
    _key("resource_limits.kernel_space_heap_max_size", TEXT),
    _key("resource_limits.kernel_space_stack_size", TEXT),
    _key("resource_limits.max_num_of_threads", WHOLE, "threads"),
    _key("resource_limits.init_num_of_threads", WHOLE),
    _key("resource_limits.marshal_buffer_size", TEXT, source=SOURCE),
    _key("resource_limits.min_num_of_cpus", WHOLE, source=DEMO),
    _key("resource_limits.max_num_of_cpus", WHOLE, source=DEMO),
    _key("process.default_stack_size", TEXT, "stack", UNITS),
    _key("process.default_heap_size", TEXT),
    _key("process.default_mmap_size", TEXT),
    _key("entry_points[]", TEXT),
    _key("env.default[]", TEXT, "environment"),
    _key("env.untrusted[]", TEXT, "environment"),
    _key("metadata.product_id", WHOLE, "product_id"),
    _key("metadata.version_number", WHOLE, "security_version"),
    _key("metadata.debuggable", TRUTH, "debug"),
    _key("metadata.disable_log", TRUTH, source=SOURCE),
    _key("metadata.enable_kss", TRUTH, source=SOURCE),
    _key("metadata.pkru", WHOLE, "cpu_features"),
    *(_key(f"metadata.family_id.{half}", TEXT, "family_id", source=SOURCE) for half in ("high", "low")),
    *(_key(f"metadata.ext_prod_id.{half}", TEXT, "extended_product_id", source=SOURCE) for half in ("high", "low")),
    *(_key(f"feature.{name}", WHOLE, "cpu_features", source=SOURCE) for name in ("amx", "pkru")),
    _key("feature.io_uring", WHOLE, source=SOURCE),
    _key("feature.enable_edmm", TRUTH, "dynamic_memory", source=SOURCE),
    _key("feature.enable_posix_shm", TRUTH, source=SOURCE),
    _key("mount[].target", TEXT, "mounts"),
    _key("mount[].type", TEXT, "mounts"),
    _key("mount[].source", TEXT, "mounts"),
    _key("mount[].options", ANY),
)
SINGLE: Final = tuple(key for key in TABLE if key.concept not in {"cpu_features", "family_id", "extended_product_id"})

ROOT: Final = {
    "target": "/",
    "type": "unionfs",
    "options": {
        "layers": [
            {"target": "/", "type": "sefs", "source": "./build/mount/__ROOT", "options": {"MAC": ""}},
            {"target": "/", "type": "sefs", "source": "./run/mount/__ROOT"},
        ]
    },
}
"""The measured image below, an encrypted layer above: no Occlum.json is taken without it."""
NEEDED: Final = {
    "resource_limits.user_space_size": "256MB",
    "resource_limits.kernel_space_heap_size": "32MB",
    "resource_limits.kernel_space_stack_size": "1MB",
    "resource_limits.max_num_of_threads": 32,
    "process.default_stack_size": "4MB",
    "process.default_heap_size": "16MB",
    "process.default_mmap_size": "32MB",
    "entry_points": ["/bin"],
    "env.default": [],
    "env.untrusted": [],
    "metadata.product_id": 0,
    "metadata.version_number": 0,
    "metadata.debuggable": False,
    "metadata.enable_kss": False,
    "metadata.family_id": {"high": "0x0", "low": "0x0"},
    "metadata.ext_prod_id": {"high": "0x0", "low": "0x0"},
    "feature": {},
}
"""What the compiler of Occlum.json demands, with the documented defaults; but debuggable, which is on there."""

CANNOT: Final = {
    "program": "`occlum run PROGRAM` names it; entry_points is set to it, so that the host can start nothing else",
    "arguments": "`occlum run PROGRAM ARGS` has them: whoever starts it chooses; let the program check them",
    "argument_zero": "see the arguments",
    "host_arguments": "it is always so with Occlum",
    "host_environment": "variables are named one by one, under env.untrusted",
    "measured_files": "what is in the image is measured; bom.yaml says what that is: --to occlum-bom",
    "host_files": "mount their directory: type hostfs",
    "injected_files": "put the file into the image, by bom.yaml",
    "attestation": "it is there for every program: /dev/sgx, or Occlum's init with a key broker",
    "log_level": "it is set by the host, OCCLUM_LOG_LEVEL; metadata.disable_log turns it off",
    "secrets": "Occlum's init fetches them from a key broker; `cloister serve` releases them",
    "identities": "who may be it stands in a policy",
    "working_directory": "the program starts in /",
    "subprocesses": "children are threads of the one enclave",
    "tolerated": "which platforms are good enough is decided by whoever verifies",
    "accept_debug": "whether debug enclaves get secrets is decided by whoever verifies",
}
KINDS: Final = {"hostfs": Backing.HOST, "ramfs": Backing.MEMORY, "sefs": Backing.ENCRYPTED}
FEATURES: Final = ("disabled", "required", "available")
WIDTH: Final = 16


def read(text: str, name: str) -> Configuration:
    """An Occlum.json or Occlum.yaml; PolicyError with file and line if it is none."""
    reads = read_json if text.lstrip().startswith("{") else read_yaml_file  # newer instances have an Occlum.yaml
    sheet = Sheet(reads(text, name), TABLE)
    draft = Draft(NAME, sheet)
    draft.read_single(SINGLE)
    _read_environment(draft)
    _read_numbers(draft)
    for section, feature in (("feature", "amx"), ("feature", "pkru"), ("metadata", "pkru")):
        number = sheet.whole(section, feature)
        if number is not None:
            if number >= len(FEATURES):
                raise sheet.error((section, feature), "is 0 (off), 1 (on) or 2 (if the processor has it)")
            draft.add("cpu_features", feature, FEATURES[number], section, feature)
    for number in range(sheet.count("mount")):
        _read_mount(draft, number)
    return draft.finish()


def _read_environment(draft: Draft) -> None:
    """A variable that the host may give, and a default for it, are one thing."""
    sheet = draft.sheet
    outside = {text: number for number, text in enumerate(sheet.texts("env", "untrusted"))}
    for number, text in enumerate(sheet.texts("env", "default")):
        name, equals, value = text.partition("=")
        if not equals:
            raise sheet.error(("env", "default", number), "is no NAME=VALUE")
        variable = Variable(value, outside.pop(name, None) is not None)
        draft.add("environment", name, variable, "env", "default", number)
    for name, number in outside.items():
        draft.add("environment", name, Variable(from_host=True), "env", "untrusted", number)


def _read_numbers(draft: Draft) -> None:
    """The 128-bit numbers of key separation and sharing, where that is on."""
    if draft.sheet.truth("metadata", "enable_kss") is None:
        return
    for member, field in (("family_id", "family_id"), ("ext_prod_id", "extended_product_id")):
        at = ("metadata", member)
        halves = [draft.sheet.text(*at, half) for half in ("high", "low")]
        try:
            high, low = (int(half or "0", 16) for half in halves)
        except ValueError:
            raise draft.sheet.error(at, "has 64 bits in hexadecimal digits as high and as low") from None
        if draft.sheet.truth("metadata", "enable_kss"):
            draft.set(field, f"{high << 64 | low:032x}", *at)


def _read_mount(draft: Draft, number: int) -> None:
    sheet, at = draft.sheet, ("mount", number)
    target, kind, source = (sheet.text(*at, member) for member in ("target", "type", "source"))
    backing = KINDS.get(kind or "")
    if target is None or kind is None:
        raise sheet.error(at, "needs a target and a type")
    if backing is None or (backing is Backing.HOST and source is None):
        for member in ("target", "type", "source"):
            sheet.release(*at, member)
        return
    options = sheet.others(at, ("target", "type", "source"))
    draft.element(*at)
    draft.add("mounts", target, Mount(backing, source, options=options), *at)


def write(configuration: Configuration) -> str:
    """An Occlum.json of what can be said in one."""
    made = Values()
    made.put_single(SINGLE, configuration)
    for name, variable in configuration.environment.items():
        if refers(variable.value):
            continue
        if variable.from_host:
            made.append(("env", "untrusted"), name)
        if variable.value is not None:
            made.append(("env", "default"), f"{name}={variable.value}")
    for feature, wanted in configuration.cpu_features.items():
        if feature in {"amx", "pkru"} and wanted in FEATURES:
            made.put(("feature", feature), FEATURES.index(wanted))
    _write_numbers(made, configuration)
    if configuration.format != NAME and configuration.program is not None:
        made.put(("entry_points",), [configuration.program])
    _write_mounts(made, configuration)
    made.put_kept(configuration, NAME)
    made.put_needed(NEEDED)
    return write_json({name: made.values[name] for name in ORDER if name in made.values} | made.values)


ORDER: Final = ("resource_limits", "process", "entry_points", "env", "metadata", "feature", "mount")


def _write_numbers(made: Values, configuration: Configuration) -> None:
    for member, number in (("family_id", configuration.family_id), ("ext_prod_id", configuration.extended_product_id)):
        if number is not None:
            halves = {"high": f"0x{number[:WIDTH]}", "low": f"0x{number[WIDTH:]}"}
            made.put(("metadata", member), halves)
            made.put(("metadata", "enable_kss"), value=True)


def _write_mounts(made: Values, configuration: Configuration) -> None:
    if configuration.format != NAME:
        made.append(("mount",), ROOT)
    for target, mount in configuration.mounts.items():
        kind = next((name for name, backing in KINDS.items() if backing is mount.backing), None)
        if kind is None or (target == "/" and configuration.format != NAME):
            continue
        source = {} if mount.source is None else {"source": mount.source}
        options = dict(mount.options) if configuration.format == NAME else {}
        made.append(("mount",), {"target": target, "type": kind, **source, **options})
