"""Files as people publish them: the habits of real manifests, sessions and images, in files written for these tests.

The habits were seen in gramineproject/examples, occlum/occlum (demos), edgelesssys/ego (samples) and sessions for
SCONE in public repositories.
"""

from cloister.frameworks.conversion import convert
from cloister.frameworks.danger import findings
from cloister.frameworks.findings import Severity
from cloister.frameworks.formats import detect, read_configuration
from cloister.frameworks.model import Backing, Configuration, MeasuredFile

DATABASE = """\
loader.entrypoint = "file:/usr/lib/gramine/libsysdb.so"
libos.entrypoint = "/usr/sbin/mysqld"
loader.log_level = "error"
loader.env.LD_LIBRARY_PATH = "/lib:/lib/x86_64-linux-gnu"
loader.insecure__use_cmdline_argv = true
fs.mounts = [
  { path = "/lib", uri = "file:/usr/lib/gramine/runtime/glibc" },
  { uri = "file:/lib/x86_64-linux-gnu", path = "/lib/x86_64-linux-gnu" },
  { path = "/usr/sbin", uri = "file:/usr/sbin" },
  { path = "/var/lib/mysql", uri = "file:/var/lib/mysql" },
  { path = "/run/mysqld", uri = "file:/run/mysqld"},
  { type = "tmpfs", path = "/tmp" },
]
sgx.nonpie_binary = true
sgx.enclave_size = "32G"
sgx.thread_num = 512
loader.uid = 27
sgx.trusted_files = [
  "file:/usr/lib/gramine/libsysdb.so",
  "file:/usr/sbin/mysqld",
  "file:/usr/lib/gramine/runtime/glibc/",
  "file:/lib/x86_64-linux-gnu/",  # a comment behind an item
]
sgx.allowed_files = [
  "file:/var/lib/mysql",
  "file:/var/log/mysql",
  "file:/run/mysqld/",
]
"""
OCCLUM_YAML = """\
resource_limits:
  kernel_space_heap_size: 32MB
  kernel_space_stack_size: 1MB
  user_space_size: 300MB
  min_num_of_cpus: 1
  max_num_of_cpus: 128
process:
  default_stack_size: 4MB
  default_heap_size: 32MB
entry_points:
  - /bin
env:
  default:
    - OCCLUM=yes
  untrusted:
    - EXAMPLE
metadata:
  product_id: 0
  version_number: 0
  debuggable: true
  enable_kss: true
  ext_prod_id:
    high: '0x0'
    low: '0x1'
  pkru: 0
mount:
  - target: /
    type: unionfs
    options:
      layers:
        - { target: /, type: sefs, source: ./build/mount/__ROOT, options: { MAC: '' } }
  - target: /host
    type: hostfs
    source: .
"""
IMAGE = """\
includes:
  - base.yaml
# a database
targets:
  - target: /bin
    copy:
      - files:
        - /usr/local/mysql/bin/mysqld
        - ../tool.sh
  - target: /etc
    copy:
      - files:
        - /etc/localtime
  - target: /opt/occlum/glibc/etc
    copy:
      - files:
        - /etc/localtime
  - target: /opt
    copy:
      - dirs:
          - ../python-occlum
  - target: /
    copy:
      - from: ..
        files:
          - demo.py
"""
SESSION = """\
name: some-session
version: "0.3"

security:
  attestation:
    tolerate: [debug-mode, hyperthreading, outdated-tcb, software-hardening-needed]
    ignore_advisories: "*"

services:
   - name: application
     image_name: application_image
     mrenclaves: [ "abababababababababababababababababababababababababababababababab" ]
     command: /usr/local/bin/python /app/main.py
     pwd: /
     environment:
        GREETING: hello!!!!
        SCONE_MODE: hw
        SCONE_LOG: "7"

images:
   - name: application_image
     injection_files:
       - path: /app/cert.pem
         content: $$SCONE::CERT:crt$$

secrets:
   - name: KEY
     kind: private-key
     key_type: P-384
     migrate: false
   - name: CERT
     issuer: CA
     kind: x509
     endpoint: server
     private_key: KEY
   - name: CA
     kind: x509-ca
     private_key: KEY
     valid_for: 3560d
"""
ENCLAVE = """\
<!-- Please refer to the guide for each field -->
<EnclaveConfiguration>
  <ProdID>0x90E7</ProdID>
  <ISVSVN>1</ISVSVN>
  <StackMaxSize>0x40000</StackMaxSize>
  <HeapMaxSize>0x5000000</HeapMaxSize>
  <TCSNum>10</TCSNum>
  <TCSPolicy>1</TCSPolicy>
  <!-- 1 for a release -->
  <DisableDebug>0</DisableDebug>
  <MiscSelect>0</MiscSelect>
  <MiscMask>0xFFFFFFFF</MiscMask>
</EnclaveConfiguration>
"""


def read(text: str, form: str) -> Configuration:
    assert detect(text, "file") == form
    found = read_configuration(text, "file")
    assert [one.path for one in found.kept if not one.known] == []
    return found


def dangers(found: Configuration) -> set[str]:
    return {one.key for one in findings(found) if one.severity is Severity.DANGEROUS}


def test_a_database_under_gramine() -> None:
    found = read(DATABASE, "gramine")
    assert found.measured_files["/usr/sbin/mysqld"].targets == ("/usr/sbin/mysqld",)
    assert found.measured_files["/usr/lib/gramine/runtime/glibc/"].targets == ("/lib",)
    assert found.mounts["/run/mysqld"].backing is Backing.HOST
    assert dangers(found) == {"loader.insecure__use_cmdline_argv"}
    notes = {one.key: one.advice for one in findings(found)}
    assert notes["sgx.thread_num"] == "write sgx.max_threads"
    assert "sgx.allowed_files: /var/log/mysql" in notes, "no mount shows it"
    assert "libos.entrypoint" not in notes, "the program can be started"


def test_an_instance_of_occlum_in_yaml() -> None:
    found = read(OCCLUM_YAML, "occlum")
    assert (found.memory, found.extended_product_id) == (300 << 20, f"{1:032x}")
    assert found.cpu_features == {"pkru": "disabled"}
    assert dangers(found) == {"metadata.debuggable"}
    assert 'sgx.enclave_size = "512M"' in convert(found, "gramine").text


def test_an_image_of_occlum() -> None:
    found = read(IMAGE, "occlum-bom")
    assert found.measured_files["/etc/localtime"].targets == ("/etc/localtime", "/opt/occlum/glibc/etc/localtime")
    assert found.measured_files["../python-occlum/"] == MeasuredFile(("/opt/python-occlum",))
    assert found.measured_files["../demo.py"] == MeasuredFile(("/demo.py",))
    assert [one.item for one in convert(found, "gramine").losses] == ["includes[0]"]


def test_a_session_that_tolerates_everything() -> None:
    found = read(SESSION, "scone")
    assert (found.program, found.arguments) == ("/usr/local/bin/python", ("/app/main.py",))
    assert dangers(found) == {
        "security.attestation.tolerate: debug-mode", "security.attestation.ignore_advisories",
    }  # fmt: skip
    here = convert(found, "cloister-session")
    assert {"secrets.CA", "secrets[1].issuer"} <= {one.item for one in here.losses}
    assert 'content: "$$SCONE::CERT:crt$$"' in here.text


def test_an_enclave_of_the_sdk() -> None:
    found = read(ENCLAVE, "sgx-sdk")
    assert (found.product_id, found.memory, found.threads, found.debug) == (0x90E7, 0x5000000, 10, True)
    assert found.place(("debug", "")) == "file:10"
    assert dangers(found) == {"DisableDebug"}
