"""What each target begins with: forged evidence, documents made by hand, and real samples where there are some.

Real samples are read beside the checkout and only ever copied into the folder in which the fuzzer works.
"""

import base64
import json
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec
from tests.forge import amd, corim, envelope, every, results, tpm
from tests.forge.amd_sev import sev_platform
from tests.forge.arm import ArmForge
from tests.forge.cose import cose_key_of, sign1
from tests.forge.ratls import claims_for, oe_report
from tests.forge.sigstruct import image_with, sigstruct
from tests.forge.x509 import Authority, der_of, ec_key, issue, revocation_list, spki
from tests.fuzz.law import LONGEST
from tests.fuzz.seeds_broker import BROKER
from tests.fuzz.seeds_frameworks import FRAMEWORKS
from tests.fuzz.seeds_images import IMAGES
from tests.fuzz.seeds_owner import OWNER
from tests.property.test_envelope import SEEDS as ENVELOPES
from tests.unit.test_hcl import RUNTIME, bundle, hcl_report
from tests.unit.test_tpm_evidence import google

from cloister import _cbor
from cloister._cbor import Tag
from cloister.endorse.piece import CERTIFICATE, CRL, Piece
from cloister.evidence.snp import Product
from cloister.model import Tee
from cloister.result.algorithms import Algorithm
from cloister.result.attestation import Profile
from cloister.result.jwk import public_jwk
from cloister.result.keys import jwk_set
from cloister.result.signing import SigningKey
from cloister.result.token import issue_cwt, issue_jwt

__all__ = ["EVIDENCE", "SAMPLES", "SEEDS", "forged", "real", "words"]

ROOT: Final = Path(__file__).parents[2]
EVIDENCE: Final = ROOT.parent / "shared" / "evidence"
"""Real samples, if the folder is there."""
WORDS: Final = re.compile(rb"[A-Za-z_][A-Za-z0-9_.:/-]{2,39}")
MOST_WORDS: Final = 400
DEEP: Final = 900
"""Brackets inside each other: near what Python's own JSON reader takes."""


def quote() -> Iterator[bytes]:
    """DCAP quotes of each version."""
    yield from (envelope.sgx_quote(), envelope.tdx_quote(), every.every()[Tee.SGX].evidence)
    for version in (4, 5):
        yield every.intel().tdx_quote(version=version)
        yield every.intel().sgx_quote(version=version) if version == 4 else every.intel().tdx_quote(version=5)


def snp() -> Iterator[bytes]:
    """Reports of each processor and version, and identity blocks."""
    for product in Product:
        for version in (2, 3, 4, 5):
            yield amd.signed_report(amd.platform(product).ek(), product=product, version=version).serialize()
    yield bytes(48) + bytes(32) + b"\1" + bytes(15)
    yield b"\1\0\0\0\1" + bytes(4091)


def sev() -> Iterator[bytes]:
    """Attestations, launches, and the chain with each of its certificates."""
    stand = sev_platform()
    yield from (stand.attestation().serialize(), stand.launch().serialize(), stand.chain.serialize())
    chain = stand.chain
    for one in (chain.ark, chain.ask, chain.cek, chain.pek, chain.oca, chain.pdh):
        yield one.serialize()


def layouts() -> Iterator[bytes]:
    """A Keystone report, a SIGSTRUCT, and an enclave image around one."""
    yield every.every()[Tee.KEYSTONE].evidence
    made = sigstruct()
    yield made.serialize()
    yield image_with(made.serialize())


def cca() -> Iterator[bytes]:
    """Tokens of both profiles, bare and embedded."""
    forge = ArmForge()
    yield from (forge.token(), forge.token(collection=399, legacy=True), forge.token(embedded=True))
    yield forge.token(collection=399, embedded=True, legacy=True)


def cbor() -> Iterator[bytes]:
    """Values of every major type, messages, and software evidence."""
    yield every.every()[Tee.SOFTWARE].evidence
    key = ec_key(ec.SECP256R1())
    yield from (sign1(key, b"payload").serialize(), sign1(key, b"", tagged=False).serialize())
    yield from (
        cose_key_of(key),
        _cbor.dumps({1: 1, -1: 6, -2: bytes(32)}),
        _cbor.dumps({1: 2, -1: 1, -2: bytes(32), -3: True}),
    )
    yield _cbor.dumps({1: 3, -1: b"\xc0" * 256, -2: b"\1\0\1"})
    yield _cbor.dumps({1: "a", "b": [b"c", -1, 1 << 63, True, None], b"d": Tag(1, Tag(32, "x"))})
    yield from (b"\xf9\x3c\x00", b"\xfb" + bytes(8), b"\x81" * 31 + b"\x80", b"\xa1\xf6\0", b"\xc2\x41\x01", b"\xf7")


def tpm_parts() -> Iterator[bytes]:
    """Statements, signatures, keys, and both containers."""
    rsa, ecc = tpm.TpmForge(), tpm.TpmForge("ecdsa")
    message = tpm.attest({"sha256": tpm.extended(), "sha1": tpm.extended(bank="sha1")})
    yield from (message, rsa.sign(message), ecc.sign(message), bytes(256), rsa.spki, ecc.spki)
    yield from (rsa.public_area(), ecc.public_area(), tpm.sized(ecc.public_area()), rsa.quote().serialize())
    yield ecc.quote(key=ecc.public_area(), log=b"").serialize()
    yield from (google(), every.armoured(rsa.spki, "PUBLIC KEY"))


def eventlog() -> Iterator[bytes]:
    """Logs of both forms and both fillings, and dstack's."""
    yield from (tpm.event_log(), tpm.event_log(legacy=True), tpm.event_log(filling=b"\xff" * 40))
    yield tpm.event_log(banks=("sha1", "sha256", "sha384"), filling=bytes(40))
    yield b'[{"imr":3,"event_type":134217729,"digest":"","event":"app-id","event_payload":"00"}]'
    yield b'[{"imr":0,"event_type":4,"digest":"' + b"ab" * 48 + b'","event":"","event_payload":""}]'


def hcl() -> Iterator[bytes]:
    """Reports for both processors, runtime data, and bundles of every form."""
    yield from (hcl_report(), hcl_report(4), hcl_report(padding=0), RUNTIME)
    yield from (bundle(form, kind) for form in (0, 1, 2) for kind in (2, 4))


def x509() -> Iterator[bytes]:
    """Certificates of every vendor, a list, and single elements."""
    root = Authority("Forged Root")
    leaf = issue("a leaf with ünïcode", ec_key().public_key(), root, extensions=[("1.2.3.4", b"\x04\x01x", False)])
    yield from (root.certificate.encoded, leaf.encoded, revocation_list(root, leaf).encoded)
    yield every.intel().pck_certificate().encoded
    for product in (Product.MILAN, Product.TURIN):
        yield amd.platform(product).ek().certificate.encoded
        yield amd.platform(product).ark.certificate.encoded
    yield amd.platform().crl(1, 2).encoded
    yield der_of(0x17, b"260101000000Z") + der_of(0x18, b"20260101000000Z") + der_of(6, b"\x2a\x83\x7f")


def tcb() -> Iterator[bytes]:
    """Both statements, for both TEEs."""
    for tee in (Tee.SGX, Tee.TDX):
        yield every.intel().tcb_info(tee)
        yield every.intel().qe_identity(tee)
    yield every.intel().tcb_info(version=2)


def collateral() -> Iterator[bytes]:
    """Bundles, PEM, DER, what the cache writes, and the services' answers."""
    for tee in (Tee.SGX, Tee.TDX):
        bundle_of = every.members(every.intel().collateral(tee))
        yield json.dumps(bundle_of).encode()
        yield json.dumps([{"collateral": bundle_of}]).encode()
        yield Piece.of_members(bundle_of).serialize()
    one = every.intel().collateral()
    for key, text, signature in (
        ("tcbInfo", one.tcb_info, one.tcb_info_signature),
        ("enclaveIdentity", one.qe_identity, one.qe_identity_signature),
    ):
        yield b'{"%b":%b,"signature":"%b"}' % (key.encode(), text, signature.hex().encode())
    root, revoked = every.intel().root.certificate.encoded, one.crls[0].encoded
    yield from (root, revoked, every.armoured(root, CERTIFICATE), every.armoured(revoked, CRL), root.hex().encode())
    yield Piece.of_der(root, CERTIFICATE).serialize()
    yield json.dumps({"cert_chain": [{"cert_type": "VCEK", "data": list(root)}]}).encode()
    yield open_enclave(one.tcb_info, root, revoked)


def open_enclave(text: bytes, root: bytes, revoked: bytes) -> bytes:
    """Open Enclave's endorsements, of nine items."""
    pem = every.armoured(root, CERTIFICATE) + b"\0"
    items = [b"\1\0\0\0", text + b"\0", pem, revoked, revoked, pem, text + b"\0", pem, b"2026-01-01T00:00:00Z\0"]
    starts = [sum(map(len, items[:at])) for at in range(len(items))]
    numbers = (1, 2, sum(map(len, items)), len(items), *starts)
    return b"".join(one.to_bytes(4, "little") for one in numbers) + b"".join(items)


def envelopes() -> Iterator[bytes]:
    """Every container, and all evidence as it is and as text."""
    yield from ENVELOPES
    for sample in every.every().values():
        yield from (sample.evidence, base64.b64encode(sample.evidence))
    yield from (google(), bundle(1), hcl_report(), *wrapper(), oe_report(envelope.sgx_quote()))
    for inner in (next(wrapper()), next(collateral()), Authority("x").certificate.encoded, every.of_cca(b"x").evidence):
        yield from wrapped(inner)


def wrapped(inner: bytes) -> Iterator[bytes]:
    """The same content, evidence or not, in every container that takes any."""
    text = base64.b64encode(inner).decode()
    yield from (json.dumps(one).encode() for one in (
        {"quote": text, "event_log": "[]", "report_data": "00" * 64}, {"attestation": inner.hex()}, {"token": text},
        {"quote": text, "cc_eventlog": text}, {"provider": "tdx_guest", "outblob": text, "auxblob": ""},
        {"a": ["a/b", envelope.base64url(inner)], "b": ["#cmw-j2c-tunnel", envelope.base64url(inner)]},
    ))  # fmt: skip
    yield _cbor.dumps({"provider": "arm_cca_guest", "outblob": inner})
    yield _cbor.dumps(["#cmw-c2j-tunnel", inner])
    yield every.armoured(inner, "EVIDENCE")


def wrapper() -> Iterator[bytes]:
    """Message wrappers, and certification requests."""
    quoted, token = envelope.sgx_quote(), ArmForge().token()
    text = envelope.base64url
    yield from (envelope.document(one) for one in (
        ["application/eat-collection; profile=x", text(token)], ["a/b", text(quoted), 4],
        {"__cmwc_t": "tag:ietf.org,2024:x", "a": ["a/b", text(quoted), 4], "b": ["#cmw-c2j-tunnel", text(b"\x80")]},
    ))  # fmt: skip
    yield from (_cbor.dumps(one) for one in (
        ["a/b", quoted], [263, token, 4], Tag(1668546817, quoted), {1: ["a/b", quoted], 2: Tag(1668546817, quoted)},
        {"a": ["#cmw-j2c-tunnel", envelope.document(["a/b", text(quoted)])]},
        ["application/pkix-cert", Authority("x").certificate.encoded, 2],
    ))  # fmt: skip
    key = ec_key()
    yield claims_for(key)
    yield request(spki(key), "1.3.6.1.4.1.58270.1.2", der_of(0x30, der_of(4, quoted)))
    inner = der_of(0x30, der_of(0x30, amd.platform().ek().certificate.encoded), der_of(4, envelope.snp_report()))
    yield request(spki(key), "1.3.6.1.4.1.58270.1.3", inner)


def request(key: bytes, oid: str, value: bytes) -> bytes:
    """A certification request with evidence in an extension; its signature is none."""
    identifier = der_of(6, bytes.fromhex("2b0601040183c71e01") + bytes([int(oid[-1])]))
    extensions = der_of(0x30, der_of(0x30, identifier, der_of(4, value)))
    attribute = der_of(0x30, der_of(6, bytes.fromhex("2a864886f70d01090e")), der_of(0x31, extensions))
    info = der_of(0x30, der_of(2, b"\0"), der_of(0x30), key, der_of(0xA0, attribute))
    return der_of(0x30, info, der_of(0x30, der_of(6, bytes.fromhex("2a8648ce3d040302"))), der_of(3, bytes(65)))


def result() -> Iterator[bytes]:
    """Tokens of every profile in both encodings."""
    for algorithm in (Algorithm.ES256, Algorithm.EDDSA):
        key = SigningKey.generate(algorithm)
        for profile in Profile:
            yield issue_jwt(results.result(profile=profile), key)
            yield issue_cwt(results.result(profile=profile), key)
    header = base64.urlsafe_b64encode(b'{"alg":"none"}').rstrip(b"=")
    yield header + b"." + base64.urlsafe_b64encode(b"[" * DEEP + b"]" * DEEP).rstrip(b"=") + b"."


def keys() -> Iterator[bytes]:
    """Public and private keys of every algorithm, as JWK, set, PEM and DER."""
    for algorithm in Algorithm:
        key = SigningKey.generate(algorithm)
        yield from (key.to_pem(), key.spki, every.armoured(key.spki, "PUBLIC KEY"), jwk_set(key).encode())
        yield json.dumps(public_jwk(key.spki)).encode()
    numbers = {name: base64.urlsafe_b64encode(bytes(31) + b"\1").decode().rstrip("=") for name in "xyd"}
    yield json.dumps({"kty": "EC", "crv": "P-256", **numbers}).encode()
    yield json.dumps({"kty": "OKP", "crv": "Ed25519", "key_ops": ["verify"], "use": "sig", "alg": "EdDSA"}).encode()


def policy() -> Iterator[bytes]:
    """The examples, and one rule of every kind."""
    for path in sorted((ROOT / "examples" / "policies").glob("*.toml")):
        yield path.read_bytes()
    yield b'accept_anchors = ["hardware"]\n'
    yield b'[sgx]\nmrenclave = { any_of = ["aa", { not = "bb" }] }\nisvsvn = { minimum = 3 }\n'
    yield b'[tcb]\ntolerated = ["OutOfDate"]\nunsafe_any_advisory = true\n[[sgx.all_of]]\nmrsigner = { in = ["aa"] }\n'
    yield b"[sgx]\nmrenclave = " + b"{ not = " * 200 + b'"aa"' + b" }" * 200 + b"\n"
    yield b"package policy\nimport rego.v1\ndefault executables := 33\nexecutables := 3 if { input.x == 1 }\n"
    yield b"# a\r\nx = 1\n\n[reference_values]\nfiles = ['a.json']\nsigners = ['''\nb.pem''']\n"


def reference() -> Iterator[bytes]:
    """JSON of every kind of entry, and manifests, unsigned and signed."""
    for path in sorted((ROOT / "examples" / "policies").glob("*.json")):
        yield path.read_bytes()
    entries: list[dict[str, object]] = [
        {"tee": "sgx", "name": "mrenclave", "digest": "sha256:" + "ab" * 32, "label": "app 1.2", "provenance": "CI"},
        {"tee": "sgx", "name": "isvsvn", "minimum": 3}, {"tee": "tdx", "name": "x", "value": [1, [True, "a"]]},
    ]  # fmt: skip
    yield from (json.dumps(entries).encode(), json.dumps({"reference_values": entries, "comment": ""}).encode())
    deep = b"[" * DEEP + b"]" * DEEP
    yield b'[{"tee":"sgx","name":"a","value":' + deep + b"}]"
    made = corim.manifest([
        corim.measured("m", digests=[[1, bytes(32)]], svn=Tag(553, 1)), corim.measured(None, raw=b"ab", mask=b"ab"),
        corim.measured("r", registers={0: [[1, bytes(32)]], "b": [[7, bytes(48)]]}),
    ])  # fmt: skip
    yield from (made, corim.signed_manifest(made, ec_key(ec.SECP256R1())))
    yield corim.manifest([corim.measured("x", name="y")], profile=Tag(32, "http://arm.com/cca/realm/1"))


SEEDS: Final[dict[str, Callable[[], Iterator[bytes]]]] = {
    "quote": quote, "snp": snp, "sev": sev, "layouts": layouts, "cca": cca, "cbor": cbor, "tpm": tpm_parts,
    "eventlog": eventlog, "hcl": hcl, "x509": x509, "tcb": tcb, "collateral": collateral, "envelope": envelopes,
    "wrapper": wrapper, "result": result, "keys": keys, "policy": policy, "reference": reference, **BROKER, **OWNER,
    **IMAGES, **FRAMEWORKS,
}  # fmt: skip
"""Name of a target to what forges its inputs."""

SAMPLES: Final[dict[str, tuple[str, ...]]] = {
    "quote": ("intel-*/*/quote.bin",),
    "snp": ("*/*/report.bin", "snp-launch-digest/*/*block*"),
    "sev": ("amd-sev/*/*.cert*",),
    "layouts": ("keystone/*/report.bin", "sgx-sigstruct/*/sigstruct.bin", "sgx-sigstruct/*/*.so"),
    "cca": ("arm-cca/*/token.cbor",),
    "cbor": ("*/*/as-found.cose", "arm-cca/*/token.cbor"),
    "tpm": ("tpm/*/quote.*", "tpm/*/ak.pub.pem", "tpm/*/as-found.pb", "tpm/*/as-found.json"),
    "eventlog": ("event-logs/*/eventlog.bin", "intel-tdx/dstack*/*log*"),
    "hcl": ("tpm/*/evidence.json", "tpm/*/hcl-report.bin", "tpm/*/runtime-data.json"),
    "x509": ("*/*/*.der", "*/*.crl", "*/*.der", "tpm/*/*.crt", "tpm/*/*.cer"),
    "tcb": (),
    "collateral": ("collateral-intel/*.json", "collateral-intel/certs/*.der", "intel-tdx/*endorsement*/*"),
    "envelope": ("*/*/as-found.*", "*/*/evidence*", "*/*/*attestation.json", "ra-tls/*/*.pem", "intel-*/*/quote.bin"),
    "wrapper": ("*/*/as-found.csr",),
    "result": (),
    "keys": ("*/*/*.pub.pem", "*/*/*pub.json"),
    "policy": (),
    "reference": ("corim/*/*.cbor", "arm-cca/keys-refvals-*/*"),
    **dict.fromkeys((*BROKER, *OWNER, *IMAGES, *FRAMEWORKS), ()),
}
"""Name of a target to the real samples among its inputs."""


def forged(name: str) -> list[bytes]:
    """The target's own seeds, each once."""
    return [*dict.fromkeys(SEEDS[name]())]


def real(name: str) -> list[bytes]:
    """Real samples for the target that are short enough; none if there is no folder with any."""
    found = [
        path.read_bytes() for pattern in SAMPLES[name] for path in sorted(EVIDENCE.glob(pattern)) if path.is_file()
    ]
    if name == "tcb":
        bundles = [json.loads(path.read_bytes()) for path in sorted(EVIDENCE.glob("collateral-intel/?gx-*.json"))]
        bundles += [json.loads(path.read_bytes()) for path in sorted(EVIDENCE.glob("collateral-intel/tdx-*.json"))]
        found += [one[key].encode() for one in bundles for key in ("tcb_info", "qe_identity")]
    return [one for one in dict.fromkeys(found) if len(one) <= LONGEST]


def words(seeds: Iterable[bytes]) -> list[bytes]:
    """Words that stand in textual seeds, for the fuzzer's dictionary."""
    texts = (one for one in seeds if one[:4096].isascii() and b"\0" not in one)
    return [*dict.fromkeys(word for one in texts for word in WORDS.findall(one))][:MOST_WORDS]
