"""What is called dangerous in a configuration: each setting alone; and that a careful file has no such remark."""

from collections.abc import Iterator

import pytest

from cloister.frameworks.danger import findings
from cloister.frameworks.danger_keys import RULES
from cloister.frameworks.findings import Severity
from cloister.frameworks.formats import FORMATS, read_configuration
from cloister.frameworks.table import Key, Kind

DANGEROUS, RISKY, NOTE = Severity.DANGEROUS, Severity.RISKY, Severity.NOTE

GRAMINE = (
    'fs.root = { uri = "file:/" }\nlibos.entrypoint = "/bin/app"\nloader.argv = ["app"]\n'
    'sgx.remote_attestation = "dcap"\nsgx.isvsvn = 1\n'
    'sgx.trusted_files = ["file:/bin/app"]\n'
)
SESSION = (
    'name: a\nversion: "0.3"\nservices:\n  - name: w\n    command: /bin/app\n'
    f'    attestation: [{{ mrenclave: "{"ab" * 32}" }}]\n'
)
EGO = '{"exe": "a", "key": "k", "debug": false, "heapSize": 512, "securityVersion": 1,\n%s}'
OCCLUM = '{"metadata": {"version_number": 1, "debuggable": false},\n%s}'
MANIFEST = f'program = "%s"\nsha256 = "{"ab" * 32}"\n'
SDK = "<EnclaveConfiguration><ISVSVN>1</ISVSVN><DisableDebug>1</DisableDebug>\n%s</EnclaveConfiguration>"

CASES = [
    ("gramine", GRAMINE + "sgx.debug = true", "sgx.debug", DANGEROUS),
    ("gramine", GRAMINE + "loader.insecure__use_host_env = true", "loader.insecure__use_host_env", DANGEROUS),
    ("gramine", GRAMINE + "loader.insecure__use_cmdline_argv = true", "loader.insecure__use_cmdline_argv", DANGEROUS),
    ("gramine", GRAMINE + 'fs.insecure__keys.k = "00"', "fs.insecure__keys.k", DANGEROUS),
    ("gramine", GRAMINE + 'sgx.file_check_policy = "allow_all_but_log"', "sgx.file_check_policy", DANGEROUS),
    ("gramine", GRAMINE + "loader.env.LD_PRELOAD = { passthrough = true }", "loader.env.LD_PRELOAD", DANGEROUS),
    ("gramine", GRAMINE + "loader.env.SSL_CERT_FILE = { passthrough = true }", "loader.env.SSL_CERT_FILE", DANGEROUS),
    ("gramine", GRAMINE + "loader.env.TZ = { passthrough = true }", "loader.env.TZ", RISKY),
    ("gramine", GRAMINE + 'loader.env.DB_PASSWORD = "x"', "loader.env.DB_PASSWORD", DANGEROUS),
    ("gramine", GRAMINE + 'sgx.allowed_files = ["file:/usr/lib/x.so"]', "sgx.allowed_files: /usr/lib/x.so", DANGEROUS),
    ("gramine", GRAMINE + 'sgx.allowed_files = ["file:app.py"]', "sgx.allowed_files: app.py", DANGEROUS),
    ("gramine", GRAMINE + 'sgx.allowed_files = ["file:."]', "sgx.allowed_files: .", DANGEROUS),
    ("gramine", GRAMINE + 'fs.mounts = [{ path = "/d", uri = "file:." }]\nsgx.allowed_files = ["file:."]',
     "fs.mounts: /d", DANGEROUS),
    ("gramine", GRAMINE + 'sgx.allowed_files = ["file:data.txt"]', "sgx.allowed_files: data.txt", RISKY),
    ("gramine", GRAMINE + 'loader.log_level = "all"', "loader.log_level", RISKY),
    ("gramine", GRAMINE + "sgx.insecure__rpc_thread_num = 4", "sgx.insecure__rpc_thread_num", RISKY),
    ("gramine", GRAMINE + "loader.insecure__disable_aslr = true", "loader.insecure__disable_aslr", RISKY),
    ("gramine", GRAMINE + "sys.insecure__allow_eventfd = true", "sys.insecure__allow_eventfd", RISKY),
    ("gramine", GRAMINE + "sgx.insecure__of_the_future = true", "sgx.insecure__of_the_future", RISKY),
    ("gramine", GRAMINE + 'sgx.seal_key.flags_mask = "0xfffffffffffffffd"', "sgx.seal_key.flags_mask", DANGEROUS),
    ("gramine", GRAMINE + "sgx.max_threads = 2", "sgx.max_threads", NOTE),
    ("gramine", GRAMINE + "sgx.thread_num = 8", "sgx.thread_num", NOTE),
    ("gramine", GRAMINE + "sgx.remot_attestation = true", "sgx.remot_attestation", NOTE),
    ("gramine", GRAMINE + 'fs.mounts = [{ type = "untrusted_shm", path = "/s", uri = "dev:/s" }]', "fs.mounts[0].type",
     RISKY),
    ("gramine", GRAMINE + 'fs.mounts = [{ type = "encrypted", path = "/d", uri = "file:d" }]', "fs.mounts: /d", NOTE),
    ("gramine", GRAMINE.replace('"dcap"', '"none"'), "sgx.remote_attestation", RISKY),
    ("gramine", GRAMINE.replace('"dcap"', '"epid"'), "sgx.remote_attestation", RISKY),
    ("gramine", GRAMINE.replace("isvsvn = 1", "isvsvn = 0"), "sgx.isvsvn", NOTE),
    ("gramine", GRAMINE.replace('"file:/bin/app"', '"file:/usr/"'), "sgx.trusted_files: /usr/", NOTE),
    ("ego", EGO % '"x": {}', "x", NOTE),
    ("ego", EGO.replace("false", "true") % '"mounts": []', "debug", DANGEROUS),
    ("ego", EGO % '"executableHeap": true', "executableHeap", RISKY),
    ("ego", EGO % '"mounts": [{"source": "/", "target": "/", "type": "hostfs"}]', "mounts: /", DANGEROUS),
    ("ego", EGO % '"mounts": [{"source": "/d", "target": "/d", "type": "hostfs"}]', "mounts: /d", RISKY),
    ("ego", EGO % '"mounts": [{"source": "/d", "target": "/d", "type": "hostfs", "readOnly": true}]', "mounts: /d",
     RISKY),
    ("ego", EGO % '"env": [{"name": "PATH", "fromHost": true}]', "env: PATH", DANGEROUS),
    ("occlum", OCCLUM.replace("false", "true") % '"mount": []', "metadata.debuggable", DANGEROUS),
    ("occlum", OCCLUM % '"entry_points": ["/"]', "entry_points[0]", DANGEROUS),
    ("occlum", OCCLUM % '"entry_points": ["/bin"]', "entry_points[0]", RISKY),
    ("occlum", OCCLUM % '"env": {"default": ["A=b"], "untrusted": ["A"]}', "env.default: A", RISKY),
    ("occlum", OCCLUM % '"mount": [{"target": "/host", "type": "hostfs", "source": "."}]', "mount: /host", RISKY),
    ("sgx-sdk", SDK.replace("<DisableDebug>1", "<DisableDebug>0") % "", "DisableDebug", DANGEROUS),
    ("sgx-sdk", SDK.replace("<DisableDebug>1</DisableDebug>", "") % "", "DisableDebug", RISKY),
    ("sgx-sdk", SDK % "<HeapExecutable>1</HeapExecutable>", "HeapExecutable", RISKY),
    ("scone", SESSION + "security: { attestation: { mode: none } }", "security.attestation.mode", DANGEROUS),
    ("scone", SESSION + "security: { attestation: { tolerate: [debug-mode] } }",
     "security.attestation.tolerate: debug-mode", DANGEROUS),
    ("scone", SESSION + "security: { attestation: { tolerate: [hyperthreading] } }", "security.attestation.tolerate[0]",
     RISKY),
    ("scone", SESSION + 'security: { attestation: { ignore_advisories: "*" } }',
     "security.attestation.ignore_advisories", DANGEROUS),
    ("scone", SESSION + "access_policy: { update: [ANY] }", "access_policy.update", DANGEROUS),
    ("scone", SESSION + "secrets: [{ name: pin, kind: ascii, size: 6 }]", "secrets: pin", RISKY),
    ("scone", SESSION + 'secrets: [{ name: pin, kind: ascii, value: "1234" }]', "secrets: pin", RISKY),
    ("scone", SESSION.replace("mrenclave:", "signer: { mrsigner:").replace(" }]", " } }]"), "attestation", RISKY),
    ("scone", SESSION.partition("    attestation")[0], "services", DANGEROUS),
    ("scone", SESSION + "    environment: { SCONE_MODE: sim }\n", "SCONE_MODE", DANGEROUS),
    ("scone", SESSION + '    environment: { SCONE_MPROTECT: "1" }\n', "SCONE_MPROTECT", RISKY),
    ("occlum", OCCLUM % '"env": {"default": [], "untrusted": ["aws_secret_access_key"]}',
     "env.default: aws_secret_access_key", DANGEROUS),
    ("cloister-manifest", MANIFEST % "/usr/bin/python3.11", "program", RISKY),
    ("cloister-manifest", MANIFEST % "/bin/app", "program", NOTE),
    ("gramine", GRAMINE.replace('{ uri = "file:/" }', '{ type = "tmpfs" }'), "sgx.trusted_files: /bin/app", NOTE),
    ("gramine", GRAMINE.replace('"file:/bin/app"', ""), "libos.entrypoint", NOTE),
    ("gramine", GRAMINE.replace("trusted", "allowed"), "libos.entrypoint", DANGEROUS),
    ("gramine", GRAMINE + 'fs.mounts = [{ path = "/opt", uri = "file:opt" }]', "fs.mounts: /opt", NOTE),
    ("scone-env", "SCONE_MODE=sim", "SCONE_MODE", DANGEROUS),
    ("scone-env", "SCONE_MODE=auto", "SCONE_MODE", DANGEROUS),
    ("scone-env", "SCONE_ALLOW_DLOPEN=2", "SCONE_ALLOW_DLOPEN", DANGEROUS),
    ("scone-env", "SCONE_FSPF_KEY=00", "SCONE_FSPF_KEY", DANGEROUS),
    ("scone-env", "SCONE_MPROTECT=1", "SCONE_MPROTECT", RISKY),
]  # fmt: skip
CAREFUL = {
    "gramine": GRAMINE,
    "scone": SESSION,
    "ego": EGO % '"files": []',
    "occlum": OCCLUM % '"entry_points": ["/bin/app"]',
    "sgx-sdk": SDK % "",
    "scone-env": "SCONE_MODE=hw\nSCONE_HEAP=1G\n",
}


def found(form: str, text: str) -> Iterator[tuple[str, Severity]]:
    for one in findings(read_configuration(text, "file", form)):
        assert one.reason
        assert one.advice, f"{one.key}: what is to be done?"
        yield one.key, one.severity


@pytest.mark.parametrize(("form", "text", "key", "severity"), CASES, ids=[f"{case[0]}-{case[2]}" for case in CASES])
def test_a_dangerous_setting_is_found(form: str, text: str, key: str, severity: Severity) -> None:
    remarks = list(found(form, text))
    assert [one for one in remarks if key in one[0] and one[1] is severity], remarks


@pytest.mark.parametrize("form", CAREFUL)
def test_a_careful_file_is_not_called_dangerous_or_risky(form: str) -> None:
    assert [one for one in found(form, CAREFUL[form]) if one[1] is not NOTE] == []


CLIENT = """
loader.env.SECRET_PROVISION_CONSTRUCTOR = "1"
loader.env.SECRET_PROVISION_SET_KEY = "default"
loader.env.SECRET_PROVISION_SERVERS = "broker.example:4433"
loader.env.POSTGRES_PASSWORD_FILE = "/run/secrets/password"
"""


def test_settings_of_a_client_of_secrets_are_no_secrets() -> None:
    assert list(found("gramine", GRAMINE + CLIENT)) == []
    assert "loader.env.SECRET_PROVISION_SECRET_STRING" in dict(
        found("gramine", GRAMINE + 'loader.env.SECRET_PROVISION_SECRET_STRING = "x"')
    )


def test_the_host_does_not_choose_whom_a_client_of_secrets_believes() -> None:
    text = GRAMINE + "loader.env.SECRET_PROVISION_CA_CHAIN_PATH = { passthrough = true }"
    assert dict(found("gramine", text)) == {"loader.env.SECRET_PROVISION_CA_CHAIN_PATH": DANGEROUS}


@pytest.mark.parametrize("loader", ['loader.entrypoint = "%s"', 'loader.entrypoint = { uri = "%s" }'])
def test_gramine_s_library_os_needs_no_mount(loader: str) -> None:
    own = "file:/usr/lib/gramine/libsysdb.so"
    text = GRAMINE.replace('{ uri = "file:/" }', '{ uri = "file:/srv" }').replace("file:/bin", "file:/srv/bin")
    text = text.replace('"file:/srv/bin/app"', f'"file:/srv/bin/app", "{own}"')
    assert [key for key, _ in found("gramine", text)] == ["sgx.trusted_files: /usr/lib/gramine/libsysdb.so"]
    assert list(found("gramine", loader % own + "\n" + text)) == []


def test_every_rule_is_about_a_documented_key() -> None:
    for rule in RULES:
        table = FORMATS[rule.format].table
        assert any(key.path == rule.path for key in table), f"{rule.format}: {rule.path}"


def test_a_rule_of_one_format_is_none_of_another() -> None:
    """`debug` alone is a key of EGo; in a session it would be a misspelling."""
    kept = read_configuration(SESSION + "debug: true\n", "file", "scone").kept
    assert [one.known for one in kept] == [False]
    assert not [rule for rule in RULES if rule.fits(kept[0])]


def test_findings_name_the_line_and_the_worst_come_first() -> None:
    text = GRAMINE + 'loader.log_level = "all"\nsgx.debug = true\nfs.insecure__keys.k = "00"\n'
    remarks = findings(read_configuration(text, "file", "gramine"))
    assert [(one.severity, one.place) for one in remarks] == [
        (DANGEROUS, "file:8"),
        (DANGEROUS, "file:9"),
        (RISKY, "file:7"),
    ]


def test_no_finding_shows_a_value_that_may_be_secret() -> None:
    text = GRAMINE + 'fs.insecure__keys.k = "hush"\nloader.env.DB_PASSWORD = "hush"\nsgx.unknown = "hush"\n'
    assert "hush" not in str(findings(read_configuration(text, "file", "gramine")))


def test_patterns_of_keys() -> None:
    assert Key("a.*.b", Kind.ANY).fits(("a", "x", "b"))
    assert Key("a[].b", Kind.ANY).fits(("a", 3, "b"))
    assert not Key("a[].b", Kind.ANY).fits(("a", "x", "b"))
    assert not Key("a.*", Kind.ANY).fits(("a", 1))
