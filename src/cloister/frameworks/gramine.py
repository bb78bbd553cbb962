"""Gramine's manifest, as `gramine-manifest` renders it and `gramine-sgx-sign` signs it: TOML.

Keys and types: Gramine 1.9, python/graminelibos/manifest_check.py; what they mean: Documentation/manifest-syntax.rst.
A template (Jinja) is not read: what it becomes depends on the machine.

Trusted files are named by the host's path. Where exactly one file or directory is mounted for a listed one, the two
are one thing here: a measured file with a target, or a directory of the host.
"""

import posixpath
import re
from collections.abc import Mapping
from typing import Final

from cloister.errors import PolicyError
from cloister.frameworks.draft import Draft, Values
from cloister.frameworks.forms import LETTERS, PLAIN, POWER_OF_TWO, Form, mapped
from cloister.frameworks.model import Backing, Configuration, MeasuredFile, Mount, Variable, refers
from cloister.frameworks.source import read_toml_file
from cloister.frameworks.table import Key, Kind, Sheet
from cloister.frameworks.writing import write_toml

__all__ = ["CANNOT", "NAME", "TABLE", "read", "write"]

NAME: Final = "gramine"
SYNTAX: Final = "Documentation/manifest-syntax.rst"
CHECK: Final = "python/graminelibos/manifest_check.py"
TEMPLATE: Final = re.compile(r"^[^#\n]*(\{\{|\{%)", re.MULTILINE)
TEXT, WHOLE, TRUTH, ANY = Kind.TEXT, Kind.WHOLE, Kind.TRUTH, Kind.ANY
OLD_ATTESTATION: Final = mapped({False: "none"})
"""`true` meant EPID or DCAP, as Gramine had been built: the model has no word for it."""


def _key(
    path: str, kind: Kind, concept: str = "", choices: tuple[object, ...] = (), form: Form = PLAIN, source: str = SYNTAX
) -> Key:
    return Key(path, kind, concept, source, choices, form)


LEVELS: Final = ("none", "error", "warning", "debug", "trace", "all")
FEATURE: Final = ("unspecified", "disabled", "required")
TABLE: Final[tuple[Key, ...]] = (
    _key("libos.entrypoint", TEXT, "program"),
    _key("libos.check_invalid_pointers", TRUTH),
    _key("loader.entrypoint", TEXT),
    _key("loader.entrypoint.uri", TEXT, source=CHECK),
    _key("loader.entrypoint.sha256", TEXT, source=CHECK),
    _key("loader.argv[]", TEXT, "arguments"),
    _key("loader.argv_src_file", TEXT),
    _key("loader.env.*", TEXT, "environment"),
    _key("loader.env.*.value", TEXT, "environment"),
    _key("loader.env.*.passthrough", TRUTH, "environment", (True,)),
    _key("loader.env_src_file", TEXT),
    _key("loader.uid", WHOLE),
    _key("loader.gid", WHOLE),
    _key("loader.log_level", TEXT, "log_level", LEVELS),
    _key("loader.log_file", TEXT),
    _key("loader.pal_internal_mem_size", TEXT),
    _key("loader.insecure__use_cmdline_argv", TRUTH, "host_arguments"),
    _key("loader.insecure__use_host_env", TRUTH, "host_environment"),
    _key("loader.insecure__disable_aslr", TRUTH),
    _key("fs.mounts[].type", TEXT, "mounts", ("chroot", "encrypted", "tmpfs", "untrusted_shm")),
    _key("fs.mounts[].path", TEXT, "mounts"),
    _key("fs.mounts[].uri", TEXT, "mounts"),
    _key("fs.mounts[].key_name", TEXT, "mounts"),
    _key("fs.mounts[].enable_recovery", TRUTH),
    _key("fs.root.type", TEXT, "mounts", ("chroot", "encrypted", "tmpfs")),
    _key("fs.root.uri", TEXT, "mounts"),
    _key("fs.root.key_name", TEXT, "mounts", source=CHECK),
    _key("fs.start_dir", TEXT, "working_directory"),
    _key("fs.insecure__keys.*", TEXT),
    _key("fs.experimental__enable_sysfs_topology", TRUTH),
    _key("sgx.enclave_size", TEXT, "memory", form=POWER_OF_TWO),
    _key("sgx.max_threads", WHOLE, "threads"),
    _key("sgx.thread_num", WHOLE),
    _key("sgx.debug", TRUTH, "debug"),
    _key("sgx.edmm_enable", TRUTH, "dynamic_memory"),
    _key("sgx.isvprodid", WHOLE, "product_id"),
    _key("sgx.isvsvn", WHOLE, "security_version"),
    _key("sgx.remote_attestation", TEXT, "attestation", ("none", "dcap", "epid")),
    _key("sgx.remote_attestation", TRUTH, "attestation", form=OLD_ATTESTATION),
    _key("sgx.ra_client_spid", TEXT),
    _key("sgx.ra_client_linkable", TRUTH),
    _key("sgx.trusted_files[]", TEXT, "measured_files"),
    _key("sgx.trusted_files[].uri", TEXT, "measured_files"),
    _key("sgx.trusted_files[].sha256", TEXT, "measured_files"),
    _key("sgx.trusted_files_cache_size", TEXT, source=CHECK),
    _key("sgx.allowed_files[]", TEXT, "host_files"),
    _key("sgx.file_check_policy", TEXT, choices=("strict", "allow_all_but_log")),
    *(
        _key(f"sgx.cpu_features.{name}", TEXT, "cpu_features", FEATURE, source=CHECK)
        for name in ("avx", "avx512", "amx")
    ),
    *(_key(f"sgx.cpu_features.{name}", TEXT, "cpu_features", FEATURE[1:], source=CHECK) for name in ("mpx", "pkru")),
    *(_key(f"sgx.require_{name}", TRUTH) for name in ("avx", "avx512", "mpx", "pkru", "amx", "exinfo")),
    _key("sgx.use_exinfo", TRUTH, source=CHECK),
    *(_key(f"sgx.seal_key.{name}_mask", TEXT) for name in ("flags", "xfrm", "misc")),
    _key("sgx.preheat_enclave", TRUTH),
    _key("sgx.insecure__rpc_thread_num", WHOLE),
    _key("sgx.insecure__allow_memfaults_without_exinfo", TRUTH, source=CHECK),
    _key("sgx.enable_stats", TRUTH),
    _key("sgx.profile.enable", TEXT, choices=("none", "main", "all")),
    _key("sgx.profile.mode", TEXT, choices=("aex", "ocall_inner", "ocall_outer")),
    _key("sgx.profile.with_stack", TRUTH),
    _key("sgx.profile.frequency", WHOLE),
    _key("sgx.vtune_profile", TRUTH),
    _key("sgx.nonpie_binary", TRUTH, source="gramineproject/examples, older manifests"),
    _key("sys.stack.size", TEXT, "stack", form=LETTERS),
    _key("sys.brk.max_size", TEXT),
    _key("sys.fds.limit", WHOLE, source=CHECK),
    _key("sys.enable_sigterm_injection", TRUTH),
    _key("sys.disallow_subprocesses", TRUTH, "subprocesses", form=mapped({True: False, False: True})),
    _key("sys.experimental__enable_flock", TRUTH, source=CHECK),
    _key("sys.insecure__allow_eventfd", TRUTH),
    _key("sys.enable_extra_runtime_domain_names_conf", TRUTH),
    _key("sys.ioctl_structs.*", ANY),
    _key("sys.allowed_ioctls[].request_code", WHOLE),
    _key("sys.allowed_ioctls[].struct", TEXT),
    _key("sys.debug__mock_syscalls[].name", TEXT, source=CHECK),
    _key("sys.debug__mock_syscalls[].return", WHOLE, source=CHECK),
)

CANNOT: Final = {
    "injected_files": "a manifest names files of the host; put the content into a file and trust it",
    "secrets": "a manifest holds no secrets; programs fetch them by attestation, and `cloister serve` releases them",
    "identities": "a manifest says what is measured, not who may be it; that stands in a policy",
    "argument_zero": "loader.argv begins with it, and so needs arguments",
    "tolerated": "which platforms are good enough is decided by whoever verifies",
    "accept_debug": "whether debug enclaves get secrets is decided by whoever verifies",
}
"""Why it cannot say what it cannot, where that helps."""


def read(text: str, name: str) -> Configuration:
    """A manifest; PolicyError with file and line if it is none, or still a template."""
    template = TEMPLATE.search(text)
    if template is not None:
        line = text.count("\n", 0, template.start(1)) + 1
        raise PolicyError(
            f"{name}:{line}: this is a template, not a manifest; render it first: gramine-manifest {name} MANIFEST"
        )
    sheet = Sheet(read_toml_file(text, name), TABLE)
    draft = Draft(NAME, sheet)
    draft.read_single(TABLE)
    _read_arguments(draft)
    _read_environment(draft)
    for feature in sheet.names("sgx", "cpu_features"):
        draft.add("cpu_features", feature, sheet.text("sgx", "cpu_features", feature), "sgx", "cpu_features", feature)
    _read_files(draft)
    _read_mounts(draft)
    _join(draft)
    return draft.finish()


def _read_arguments(draft: Draft) -> None:
    words = draft.sheet.texts("loader", "argv")
    if words:
        draft.set("arguments", words[1:], "loader", "argv")
        program = draft.sheet.text("libos", "entrypoint")
        draft.set("argument_zero", None if words[0] == program else words[0], "loader", "argv", 0)


def _read_environment(draft: Draft) -> None:
    sheet = draft.sheet
    for name in sheet.names("loader", "env"):
        path = ("loader", "env", name)
        value = sheet.text(*path)
        if value is None:
            value, passed = sheet.text(*path, "value"), sheet.truth(*path, "passthrough")
            if (value is None) is (passed is None):
                raise sheet.error(path, "has either a value or passthrough = true")
        draft.add("environment", name, Variable(value, from_host=value is None), *path)


def _path(uri: str) -> str | None:
    """The host's path in `file:PATH`; None for another kind of URI. A last slash, which says directory, is left."""
    return uri.removeprefix("file:") if uri.startswith("file:") else None


def _read_files(draft: Draft) -> None:
    sheet = draft.sheet
    for number in range(sheet.count("sgx", "trusted_files")):
        at = ("sgx", "trusted_files", number)
        uri = sheet.text(*at) or sheet.text(*at, "uri")
        digest = sheet.text(*at, "sha256")
        path = _path(uri or "")
        if path is None:
            raise sheet.error(at, "is no file:PATH")
        draft.element(*at)
        draft.add_file(path, MeasuredFile(sha256=digest), *at)
    for number in range(sheet.count("sgx", "allowed_files")):
        path = _path(sheet.text("sgx", "allowed_files", number) or "")
        if path is None:
            sheet.release("sgx", "allowed_files", number)
        elif path not in draft.get("host_files"):
            draft.add("host_files", path, "", "sgx", "allowed_files", number)


BACKINGS: Final = {"chroot": Backing.MAPPED, "encrypted": Backing.ENCRYPTED, "tmpfs": Backing.MEMORY}


def _read_mounts(draft: Draft) -> None:
    if draft.sheet.names("fs", "root"):
        _read_mount(draft, "/", "fs", "root")
    for number in range(draft.sheet.count("fs", "mounts")):
        at = ("fs", "mounts", number)
        path = draft.sheet.text(*at, "path")
        if path is None:
            raise draft.sheet.error(at, "has no path")
        if not _read_mount(draft, path, *at):
            draft.sheet.release(*at, "path")


def _read_mount(draft: Draft, path: str, *at: str | int) -> bool:
    """Whether the model has a word for this kind of mount."""
    sheet = draft.sheet
    uri, kind = sheet.text(*at, "uri"), sheet.text(*at, "type") or "chroot"
    source = None if uri is None else _path(uri)
    if kind not in BACKINGS or (uri is not None and source is None):
        for member in ("uri", "type"):
            sheet.release(*at, member)
        return False
    options = sheet.others(at, ("type", "path", "uri", "key_name"))
    if kind == "tmpfs":
        source = None  # Gramine ignores it
    key = sheet.text(*at, "key_name") or ("default" if kind == "encrypted" else None)
    draft.element(*at)
    draft.add("mounts", path, Mount(BACKINGS[kind], source, key, options=options), *at)
    return True


def _bare(path: str | None) -> str:
    return (path or "").rstrip("/") or "/"


def _join(draft: Draft) -> None:
    """Take listed files and the mounts of exactly them together."""
    mounts: dict[str, Mount] = draft.get("mounts")
    allowed = {_bare(path): path for path in draft.get("host_files")}
    plain = {target: one for target, one in mounts.items() if one.backing is Backing.MAPPED and not one.options}
    for target, mount in plain.items():
        listed = allowed.pop(_bare(mount.source), None)
        if listed is not None:
            mounts[target] = Mount(Backing.HOST, listed)
            draft.drop("host_files", listed)
    measured: dict[str, MeasuredFile] = draft.get("measured_files")
    for path, file in measured.items():
        exact = [target for target, one in plain.items() if one.source == path and mounts.get(target) == one]
        through = None if exact else _through(mounts, path)
        measured[path] = MeasuredFile(tuple(sorted(exact)) if through is None else (through,), file.sha256)
        for target in exact:
            draft.drop("mounts", target)


def _through(mounts: Mapping[str, Mount], path: str) -> str | None:
    """Where the program sees a file of the host, by the narrowest mount that it is in; None if it is in none."""
    found: tuple[int, str] | None = None
    if "/" not in mounts and not path.startswith(("/", "..")):
        found = (0, posixpath.normpath(f"/{path}"))  # the working directory is the root
    for target, mount in mounts.items():
        start = f"{_bare(mount.source)}/".replace("//", "/")
        if mount.backing is Backing.MAPPED and mount.source is not None and f"{path}/".startswith(start):
            seen = f"{target.rstrip('/')}/{path[len(start) :]}".rstrip("/") or "/"
            found = max(found or (0, ""), (len(start), seen))
    return None if found is None else found[1]


def write(configuration: Configuration) -> str:
    """A manifest of what can be said in one."""
    made = Values()
    notes = configuration.notes
    made.put(("libos", "entrypoint"), configuration.program, notes.get(("program", "")))
    if configuration.arguments is not None and not refers(*configuration.arguments):
        zero = configuration.argument_zero or configuration.program or ""
        made.put(("loader", "argv"), [zero, *configuration.arguments], notes.get(("arguments", "")))
    for name, variable in configuration.environment.items():
        value = {"passthrough": True} if variable.from_host else variable.value
        if not refers(variable.value):
            made.put(("loader", "env", name), value, notes.get(("environment", name)))
    _write_mounts(made, configuration)
    made.put_single(TABLE, configuration)
    for name, wanted in configuration.cpu_features.items():
        known = next((key for key in TABLE if key.path == f"sgx.cpu_features.{name}"), None)
        if known is not None and wanted in known.choices:
            made.put(("sgx", "cpu_features", name), wanted)
    _write_files(made, configuration)
    made.put_kept(configuration, NAME)
    return write_toml(made.values, made.comments)


def _write_mounts(made: Values, configuration: Configuration) -> None:
    notes = configuration.notes
    used = {*configuration.mounts}
    for source, file in configuration.measured_files.items():
        for target in file.targets:
            if target not in used and target != _through(configuration.mounts, source):
                used.add(target)
                where = {"path": target, "uri": f"file:{source}"}
                made.append(("fs", "mounts"), where, notes.get(("measured_files", source)))
    kinds = {Backing.HOST: "chroot", **{backing: kind for kind, backing in BACKINGS.items()}}
    for target, mount in configuration.mounts.items():
        values: dict[str, object] = {"type": kinds[mount.backing], "path": target}
        if mount.backing is not Backing.MEMORY:
            values["uri"] = f"file:{mount.source or mount.key or target.strip('/')}"
        if mount.key is not None:
            values["key_name"] = mount.key
        if configuration.format == NAME:
            values |= dict(mount.options)
        comment = notes.get(("mounts", target))
        if target == "/":
            made.put(("fs", "root"), {name: value for name, value in values.items() if name != "path"}, comment)
        else:
            made.append(("fs", "mounts"), values, comment)


def _write_files(made: Values, configuration: Configuration) -> None:
    notes = configuration.notes
    for path, file in configuration.measured_files.items():
        value = f"file:{path}" if file.sha256 is None else {"uri": f"file:{path}", "sha256": file.sha256}
        made.append(("sgx", "trusted_files"), value, notes.get(("measured_files", path)))
    for target, mount in configuration.mounts.items():
        if mount.backing is Backing.HOST:
            made.append(("sgx", "allowed_files"), f"file:{mount.source}", notes.get(("mounts", target)))
    for path in configuration.host_files:
        made.append(("sgx", "allowed_files"), f"file:{path}", notes.get(("host_files", path)))
