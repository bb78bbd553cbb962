"""Configurations in every format: one file that has all documented keys that do not exclude each other."""

import json
from collections.abc import Mapping
from typing import Any

__all__ = ["EGO", "FULL", "GRAMINE", "SCONE"]

GRAMINE = """\
libos.entrypoint = "/usr/bin/python3"
libos.check_invalid_pointers = false
loader.entrypoint.uri = "file:libsysdb.so"
loader.entrypoint.sha256 = "aa"
loader.argv = ["python3", "-m", "app"]
loader.argv_src_file = "file:argv"
loader.env_src_file = "file:env"
loader.env.PLAIN = "a b"
loader.env.TABLE = { value = "c" }
loader.env."dotted.name" = { passthrough = true }
loader.uid = 1000
loader.gid = 1000
loader.log_level = "error"
loader.log_file = "log"
loader.pal_internal_mem_size = "1M"
loader.insecure__use_cmdline_argv = false
loader.insecure__use_host_env = true
loader.insecure__disable_aslr = true

fs.root = { type = "chroot", uri = "file:/" }
fs.start_dir = "/srv"
fs.insecure__keys.default = "00112233445566778899aabbccddeeff"
fs.experimental__enable_sysfs_topology = true
fs.mounts = [
  { path = "/lib", uri = "file:/usr/lib/x" },
  { type = "encrypted", path = "/data", uri = "file:data", key_name = "mine", enable_recovery = true },
  { type = "tmpfs", path = "/tmp" },
  { type = "untrusted_shm", path = "/shm", uri = "dev:/shm" },
  { path = "/out", uri = "file:out/" },
]

sgx.enclave_size = "1G"
sgx.max_threads = 16
sgx.thread_num = 4
sgx.debug = false
sgx.edmm_enable = true
sgx.isvprodid = 7
sgx.isvsvn = 8
sgx.remote_attestation = "dcap"
sgx.ra_client_spid = "00"
sgx.ra_client_linkable = true
sgx.trusted_files = [
  "file:/usr/bin/python3",
  { uri = "file:app.py", sha256 = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef" },
]
sgx.trusted_files_cache_size = "1M"
sgx.allowed_files = ["file:out/", "file:spool"]
sgx.file_check_policy = "strict"
sgx.cpu_features = { avx = "required", avx512 = "disabled", amx = "unspecified", mpx = "disabled", pkru = "required" }
sgx.require_avx = true
sgx.require_avx512 = true
sgx.require_mpx = true
sgx.require_pkru = true
sgx.require_amx = true
sgx.require_exinfo = true
sgx.use_exinfo = true
sgx.seal_key = { flags_mask = "0xffffffffffffffff", xfrm_mask = "0xfffffffffff9ff1b", misc_mask = "0xffffffff" }
sgx.preheat_enclave = true
sgx.insecure__rpc_thread_num = 2
sgx.insecure__allow_memfaults_without_exinfo = true
sgx.enable_stats = true
sgx.profile = { enable = "main", mode = "aex", with_stack = true, frequency = 50 }
sgx.vtune_profile = true
sgx.nonpie_binary = true

sys.stack.size = "2M"
sys.brk.max_size = "1M"
sys.fds.limit = 900
sys.enable_sigterm_injection = true
sys.disallow_subprocesses = true
sys.experimental__enable_flock = true
sys.insecure__allow_eventfd = true
sys.enable_extra_runtime_domain_names_conf = true
sys.ioctl_structs.one = [{ name = "size", size = 8, direction = "out" }]
sys.allowed_ioctls = [{ request_code = 1, struct = "one" }]
sys.debug__mock_syscalls = [{ name = "eventfd2", return = -38 }]
"""

SCONE = """\
name: org/app
version: "0.3.11"
predecessor: "aa"
namespace_hash: "bb"
salt: "00112233445566778899aabbccddeeff"
services:
  - name: web
    image_name: image
    command: [python3, app.py]
    environment: { MODE: prod, PORT: 8080, PW: "$$SCONE::pw$$", REGION: "@@REGION" }
    pwd: /app
    attestation:
      - mrenclave: ["abababababababababababababababababababababababababababababababab"]
      - mrenclave: "efefefefefefefefefefefefefefefefefefefefefefefefefefefefefefefef"
      - signer:
          mrsigner: "cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd"
          isvprodid: 6
          isvsvn_min: 2
    mrenclaves: ["1212121212121212121212121212121212121212121212121212121212121212"]
    fspf_path: /fspf.pb
    fspf_key: "cc"
    fspf_tag: "dd"
    fspf_update_policy: rollback_protected
    platforms: ["INTEL_QE_ID:00"]
  - name: other
    command: cat @@1
    mrenclaves: "3434343434343434343434343434343434343434343434343434343434343434"
    attestation: [{ signer: { mrsigner: "ee", isvsvn: 3 } }]
secrets:
  - { name: pw, kind: ascii, size: 24 }
  - { name: set, kind: ascii, value: "chosen by people" }
  - { name: k, kind: private-key, key_type: P-256, migrate: true }
  - { name: c, kind: x509, private_key: k, issuer: ca, dns: [h], endpoint: server, common_name: x, valid_for: 3 days }
  - { name: i, kind: binary, import: { session: s, secret: x }, export: [{ session: t }] }
  - { name: j, import: { session: s, secret: z } }
volumes:
  - { name: data, fspf_key: "aa", fspf_tag: "bb", fspf_update_policy: ephemeral }
  - { name: ext, import: { session: s, volume: v }, export: [{ to: { session: t } }] }
images:
  - name: image
    volumes: [{ name: data, path: /data }]
    injection_files: [/etc/a.conf, { path: /etc/b.conf, content: "b" }]
  - name: another
access_policy:
  read: [CREATOR]
  update: [CREATOR]
  create_sessions: [NONE]
security:
  attestation:
    mode: hardware
    url: "https://example.org"
    tolerate: [hyperthreading, outdated-tcb, debug-mode]
    ignore_advisories: [INTEL-SA-00334]
    must_be_sgx_local: true
    trusted_scone_qe_pubkeys: ["aa"]
    one_time_password_shared_secret: AAAA
  service_access_token: token
  singleton_enclaves: true
"""

SCONE_ENVIRONMENT = """\
# of the host
SCONE_MODE=hw
SCONE_HEAP=1G
SCONE_STACK=256K
SCONE_LOG=error
SCONE_FORK=1
""" + "".join(
    f"SCONE_{name}=1\n"
    for name in (
        "ALLOW_DLOPEN", "ALPINE", "CAS_ADDR", "CONFIG", "CONFIG_ID", "ESPINS", "EXTENSIONS_PATH", "FSPF", "FSPF_KEY",
        "FSPF_TAG", "HASH", "LAS_ADDR", "LD_DEBUG", "MPROTECT", "QUEUES", "SERVICE_ACCESS_TOKEN", "SLOTS", "SSLEEP",
        "SSPINS", "VERSION",
    )
)  # fmt: skip

EGO = {
    "exe": "server",
    "key": "private.pem",
    "debug": True,
    "heapSize": 512,
    "executableHeap": False,
    "productID": 1,
    "securityVersion": 2,
    "mounts": [
        {"source": "/home/user", "target": "/data", "type": "hostfs", "readOnly": True},
        {"target": "/tmp", "type": "memfs"},
    ],
    "env": [
        {"name": "LANG", "fromHost": True, "value": "C"},
        {"name": "PWD", "value": "/data"},
        {"name": "MODE", "value": "prod"},
    ],
    "files": [
        {"source": "ca.pem", "target": "/etc/ssl/ca.pem"},
        {"source": "/etc/hosts", "target": "/etc/hosts", "content": "AA=="},
    ],
}

OCCLUM: dict[str, Any] = {
    "resource_limits": {
        "user_space_size": "1GB",
        "user_space_max_size": "2GB",
        "kernel_space_heap_size": "32MB",
        "kernel_space_heap_max_size": "64MB",
        "kernel_space_stack_size": "1MB",
        "min_num_of_cpus": 1,
        "max_num_of_cpus": 128,
        "max_num_of_threads": 64,
        "init_num_of_threads": 2,
        "marshal_buffer_size": "1MB",
    },
    "process": {"default_stack_size": "4MB", "default_heap_size": "16MB", "default_mmap_size": "32MB"},
    "entry_points": ["/bin/server"],
    "env": {"default": ["OCCLUM=yes", "LANG=C"], "untrusted": ["LANG", "TZ"]},
    "metadata": {
        "product_id": 3,
        "version_number": 4,
        "debuggable": False,
        "disable_log": True,
        "enable_kss": True,
        "family_id": {"high": "0x1", "low": "0x2"},
        "ext_prod_id": {"high": "0x3", "low": "0x4"},
    },
    "feature": {"amx": 2, "pkru": 1, "io_uring": 0, "enable_edmm": True, "enable_posix_shm": False},
    "mount": [
        {
            "target": "/",
            "type": "unionfs",
            "options": {"layers": [{"target": "/", "type": "sefs", "source": "./build", "options": {"MAC": ""}}]},
        },
        {"target": "/host", "type": "hostfs", "source": "."},
        {"target": "/data", "type": "sefs", "source": "./data", "options": {"temporary": True}},
        {"target": "/tmp", "type": "ramfs"},
        {"target": "/proc", "type": "procfs"},
    ],
}

SDK_ELEMENTS = {
    "ProdID": "1", "ISVSVN": "2", "StackMaxSize": "0x40000", "StackMinSize": "0x2000", "HeapMaxSize": "0x100000",
    "HeapInitSize": "0x1000", "HeapMinSize": "0x1000", "HeapExecutable": "0", "TCSNum": "10", "TCSMaxNum": "20",
    "TCSMinPool": "5", "TCSPolicy": "1", "DisableDebug": "1", "MiscSelect": "0", "MiscMask": "0xFFFFFFFF",
    "EnableKSS": "1", "ISVEXTPRODID_H": "1", "ISVEXTPRODID_L": "2", "ISVFAMILYID_H": "3", "ISVFAMILYID_L": "4",
    "ReservedMemMaxSize": "0", "ReservedMemInitSize": "0", "ReservedMemMinSize": "0", "ReservedMemExecutable": "0",
    "UserRegionSize": "0", "MarshalBufferSize": "0", "PKRU": "0", "AMX": "2",
}  # fmt: skip
SDK = (
    '<?xml version="1.0"?>\n<!-- an enclave -->\n<EnclaveConfiguration>\n'
    + "".join(f"  <{name}>{value}</{name}>\n" for name, value in SDK_ELEMENTS.items())
    + "</EnclaveConfiguration>\n"
)

SESSION = """\
name: team/app
version: "1"
predecessor: "aa"
salt: "000102030405060708090a0b0c0d0e0f"
services:
  - name: web
    attestation:
      - tee: sgx
        measurement: ["abababababababababababababababababababababababababababababababab"]
        tolerate: [SWHardeningNeeded]
        ignore_advisories: [INTEL-SA-00334]
        unsafe_allow_debug: true
      - tee: sgx
        measurement: "1212121212121212121212121212121212121212121212121212121212121212"
        claims: { x: 1 }
        anchors: [hardware]
        unsafe_accept_testing: true
      - tee: sgx
        signer: "cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd"
        product: 6
        minimum_security_version: 2
    command: [python3, app.py]
    arguments: [--port, "443"]
    environment: { MODE: prod }
    pwd: /app
    injection_files: [{ path: /etc/b.conf, content: "b" }]
    secrets: [pin]
    shield:   # strict: true would exclude the next
      unsafe_open_files: true
      unsafe_open_network: true
      files:
        - path: /data
          kind: encrypted
          volume: /srv/v
          key: key
          root: broker
          create: true
          cache: 2 MiB
          name: shop
        - { path: /usr, kind: plain, unsafe_plain: true, read_only: true }
        - { path: /ro, kind: authenticated, volume: /srv/ro, key: key }
      listen: [{ port: 443, protocol: ra-tls }]
      connect: [{ address: any, port: 53, protocol: plain, unsafe_plain: true }]
      console: { key: key }
  - name: other
    command: cat
secrets:
  - { name: pin, kind: ascii, value: "1234567" }
  - { name: key, kind: private-key, generate: { algorithm: P-384 } }
  - { name: from, kind: binary, import: { session: s, secret: x }, export: [t] }
access_policy: { read: [CREATOR], update: [CREATOR] }
approvals: { threshold: 1, owners: [] }
verifiers: [{ name: v, key: k }]
"""

MANIFEST = f"""\
program = "/usr/bin/app"
sha256 = "{"ab" * 32}"
closed = ["/srv/app"]
broker = "{"cd" * 32}"

[files]
"/lib/libc.so.6" = "{"ef" * 32}"
"""

BOM = """\
includes: [base.yaml]
excludes: [.git]
targets:
  - target: /
    mkdirs: [run]
    createlinks: [{ src: ../hello, linkname: link }]
    copy:
      - from: build
        dirs: [etc]
        files:
          - Makefile
          - name: Cargo.toml
            hash: DA665E483C11922D07239B1A04BEE0F0C7C1AB6D60AF041DDA7CE56D07AF723E
            autodep: false
            rename: Cargo.toml.backup
  - target: /bin
    copy: [{ from: /usr/local/bin }]
  - target: /opt
    copy: [{ dirs: [/srv/opt/] }, { files: [/opt/tool] }]
"""

SHIELD = f"""\
[shield]   # strict = true would exclude the next
unsafe_open_files = true
unsafe_open_network = true

[[shield.files]]
path = "/data"
kind = "encrypted"
volume = "/srv/v"
key = "disk"
root = "broker"
create = true
cache = "2 MiB"
name = "shop"

[[shield.files]]
path = "/ro"
kind = "authenticated"
volume = "/srv/ro"
unsafe_key_file = "/k"

[[shield.files]]
path = "/usr"
kind = "plain"
unsafe_plain = true
read_only = true

[[shield.files]]
path = "/tmp"
kind = "memory"

[[shield.listen]]
port = 443
protocol = "tls"
certificate = "web"
clients = ["sha256:{"ab" * 32}"]

[[shield.connect]]
address = "any"
port = 53
protocol = "plain"
unsafe_plain = true

[shield.console]
key = "disk"
"""

FULL: Mapping[str, str] = {
    "gramine": GRAMINE,
    "scone": SCONE,
    "scone-env": SCONE_ENVIRONMENT,
    "ego": json.dumps(EGO, indent=4),
    "occlum": json.dumps(OCCLUM, indent=4),
    "occlum-bom": BOM,
    "sgx-sdk": SDK,
    "cloister-session": SESSION,
    "cloister-manifest": MANIFEST,
    "cloister-shield": SHIELD,
}
"""A file of each format with every documented key that does not exclude another."""
