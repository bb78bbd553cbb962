"""The targets: families of formats, here those of the verifier side.

All readers of a target get every input, whichever of them it was meant for.
"""

import contextlib
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

from tests.forge.plain import plainly_verified
from tests.fuzz.law import Reader
from tests.fuzz.targets_broker import BROKER
from tests.fuzz.targets_frameworks import FRAMEWORKS
from tests.fuzz.targets_images import IMAGES
from tests.fuzz.targets_owner import OWNER

from cloister import _cbor, _crypto, _json
from cloister._cose import CoseSign1
from cloister._cose_crypto import cose_key
from cloister._der import Der
from cloister._x509 import Certificate, Crl
from cloister.appraise import cca as claims_cca
from cloister.appraise import corim
from cloister.appraise import keystone as claims_keystone
from cloister.appraise import sev as claims_sev
from cloister.appraise import sgx as claims_sgx
from cloister.appraise import snp as claims_snp
from cloister.appraise import software as claims_software
from cloister.appraise import tdx as claims_tdx
from cloister.appraise import tpm as claims_tpm
from cloister.appraise.corim_values import read_corim
from cloister.appraise.judge import judge
from cloister.appraise.lint_policy import lint
from cloister.appraise.parse_policy import parse_policy
from cloister.appraise.reference import read_reference_values
from cloister.appraise.reference_files import signer_keys
from cloister.appraise.rego import parse_rego
from cloister.endorse import amd, openenclave
from cloister.endorse.importing import import_files
from cloister.endorse.intel import IntelCollateral, pck_info, qe_identity, tcb_info
from cloister.endorse.piece import Piece
from cloister.envelope import cmw, csr, encoding, open_envelope
from cloister.envelope.contents import Envelope, Opening
from cloister.envelope.recognise import recognise
from cloister.errors import (
    BindingInvalid,
    EndorsementUnavailable,
    ParseError,
    PolicyError,
    SignatureInvalid,
    UsageError,
)
from cloister.evidence import (
    cca,
    eventlog,
    eventlog_dstack,
    hcl,
    hcl_bundle,
    keystone,
    sev,
    sgx,
    sigstruct,
    snp,
    software,
    tdx,
    tpm,
    tpm_protobuf,
)
from cloister.evidence.sev_chain import Usage, parse_ca_certificate, parse_certificate, parse_chain
from cloister.evidence.snp_id_block import IdAuth, IdBlock
from cloister.evidence.tpm_attest import parse_attest, parse_signature
from cloister.evidence.tpm_key import parse_key
from cloister.model import Tee
from cloister.result import _base64url
from cloister.result.keys import signing_key, verification_keys
from cloister.result.token import parse_token
from cloister.result.verify import decode_unverified

__all__ = ["TARGETS"]

AT: Final = datetime(2026, 6, 1, tzinfo=UTC)
VERIFIED: Final = plainly_verified(Tee.SGX)
PLATFORM: Final = frozenset({Usage.PDH, Usage.PEK, Usage.OCA, Usage.CEK})


def serialized(value: Any) -> bytes:
    """What a record writes of itself."""
    made: bytes = value.serialize()
    return made


def evidence(name: str, module: Any, appraise: Any = None, *, exact: bool = True, also: tuple[str, ...] = ()) -> Reader:
    """The reader of an evidence module; what the evidence measures can always be told."""

    def read(data: bytes) -> Any:
        found = module.parse(data)
        if appraise is not None:
            appraise.measurements(found)
        return found

    return Reader(
        covers=(f"evidence.{name}.parse", *also), read=read, write=serialized, exact=exact, recognise=module.looks_like
    )


def record(covers: str, read: Callable[[bytes], Any]) -> Reader:
    """A reader of something that serializes to what was read."""
    return Reader(covers=(covers,), read=read, write=serialized)


def as_text(read: Callable[[str], Any]) -> Callable[[bytes], Any]:
    """For readers of text: what is not UTF-8 was refused by whoever read the file."""

    def decoded(data: bytes) -> Any:
        with contextlib.suppress(UnicodeDecodeError):
            return read(data.decode("utf-8"))
        return None

    return decoded


def certificate(data: bytes) -> Certificate:
    """A certificate, and what the vendors' parsers make of its extensions."""
    found = Certificate.parse(data)
    for look in (pck_info, amd.ek_info):
        with contextlib.suppress(ParseError):
            look(found)
    amd.is_ek(found)
    return found


def platform_certificate(data: bytes) -> Any:
    """A certificate of a SEV platform, as the kind that it says it is."""
    said = int.from_bytes(data[8:12], "little")
    return parse_certificate(data, Usage(said) if said in PLATFORM else Usage.PEK)


def authority_certificate(data: bytes) -> Any:
    """A certificate of AMD's for SEV, as the kind that it says it is."""
    return parse_ca_certificate(data, Usage.ASK if int.from_bytes(data[0x24:0x28], "little") else Usage.ARK)


def wrapper(data: bytes) -> Envelope:
    """A message wrapper, in JSON or CBOR."""
    if data[:1] in {b"{", b"["}:
        return cmw.open_json(_json.loads(data, "JSON"), Opening(recognise))
    return cmw.open_cbor(_cbor.loads(data, "CBOR", longest=cmw.LONGEST_CBOR), Opening(recognise))


def request(data: bytes) -> Envelope:
    """A certification request."""
    return csr.open_container(data, Opening(recognise))


def text_of(data: bytes) -> bytes:
    """Bytes written as text, in the notation that it is recognised as."""
    kind = encoding.encoding_of(data.strip(encoding.WHITE))
    if kind == "PEM":
        return b"".join(block for _, block in encoding.pem_blocks(data.strip(encoding.WHITE), 0))
    return encoding.decode(data.strip(encoding.WHITE), kind or "hex", "text")


def manifest_values(data: bytes) -> Any:
    """The reference values of a manifest that nobody need have signed."""
    return read_corim(data, name="x", keys=(), at=AT, unsafe_unsigned=True)


def manifest_meaning(data: bytes) -> Any:
    """The reference values of a signed manifest's payload, as if it had not been signed."""
    with contextlib.suppress(ParseError):
        return manifest_values(CoseSign1.parse(data).payload)
    return None


def rewritten(data: bytes) -> object:
    """A CBOR value, written again."""
    value = _cbor.loads(data, "x")
    with contextlib.suppress(TypeError, ValueError):  # floating-point and undefined are read, but not written
        _cbor.dumps(value)
    return value


def elements(data: bytes) -> None:
    """Every element of DER as each of the kinds that there are."""
    for name in ("integer", "octets", "bits", "boolean", "oid", "time", "whole"):
        reader = Der(data, "x")
        with contextlib.suppress(ParseError):
            while not reader.at_end:
                getattr(reader, name)("x")


def used_key(data: bytes) -> None:
    """A public key, under which nothing that is no signature of its own kind verifies."""
    key = _crypto.load_spki(data)
    for verify in (_crypto.verify_ecdsa_raw, _crypto.verify_ecdsa, _crypto.verify_rsa_pkcs1, _crypto.verify_rsa_pss):
        for signature in (bytes(96), data[:256]):
            with contextlib.suppress(SignatureInvalid):
                verify(key, signature, b"", "sha384", what="x")
    with contextlib.suppress(SignatureInvalid):
        _crypto.verify_ed25519(key, bytes(64), b"", what="x")


def judged(text: str) -> Any:
    """A policy, which any evidence can be judged by and any reader be warned of once it was read."""
    policy = parse_policy(text)
    lint(policy)
    judge(VERIFIED, policy, claims={"mrenclave": "aa", "mrsigner": "bb", "isvsvn": 3, "debug": False, "x": ["aa", 1]})
    return policy


VENDORS: Final = (PolicyError, EndorsementUnavailable, SignatureInvalid)

TARGETS: Final[dict[str, tuple[Reader, ...]]] = {
    "quote": (evidence("sgx", sgx, claims_sgx, also=("evidence.dcap.parse_quote",)), evidence("tdx", tdx, claims_tdx)),
    "snp": (
        evidence("snp", snp, claims_snp),
        record("evidence.snp_id_block.IdBlock", IdBlock.parse),
        record("evidence.snp_id_block.IdAuth", IdAuth.parse),
    ),
    "sev": (
        evidence("sev", sev, claims_sev),
        record("evidence.sev_chain.parse_chain", parse_chain),
        record("evidence.sev_chain.parse_certificate", platform_certificate),
        record("evidence.sev_chain.parse_ca_certificate", authority_certificate),
    ),
    "layouts": (
        evidence("keystone", keystone, claims_keystone),
        record("evidence.sigstruct.parse", sigstruct.parse),
        Reader(covers=("evidence.sigstruct.of_image",), read=sigstruct.of_image),
    ),
    "cca": (evidence("cca", cca, claims_cca),),
    "cbor": (
        Reader(covers=("_cbor.loads",), read=rewritten),
        record("_cose.CoseSign1.parse", CoseSign1.parse),
        evidence("software", software, claims_software),
        Reader(covers=("_cose_crypto.cose_key",), read=cose_key, refusals=(ParseError, SignatureInvalid)),
    ),
    "tpm": (
        record("evidence.tpm_attest.parse_attest", parse_attest),
        record("evidence.tpm_attest.parse_signature", parse_signature),
        Reader(covers=("evidence.tpm_key.parse_key",), read=parse_key, write=serialized, exact=False),
        evidence("tpm", tpm, claims_tpm, exact=False),
        Reader(covers=("evidence.tpm_protobuf.parse",), read=tpm_protobuf.parse, recognise=tpm_protobuf.looks_like),
    ),
    "eventlog": (evidence("eventlog", eventlog), evidence("eventlog_dstack", eventlog_dstack, exact=False)),
    "hcl": (
        evidence("hcl", hcl),
        Reader(covers=("evidence.hcl.parse_runtime_data",), read=hcl.parse_runtime_data),
        Reader(covers=("evidence.hcl_bundle.parse",), read=hcl_bundle.parse, recognise=hcl_bundle.looks_like),
    ),
    "x509": (
        Reader(covers=("_x509.Certificate.parse", "endorse.intel.pck_info", "endorse.amd.ek_info"), read=certificate),
        Reader(covers=("_x509.Crl.parse",), read=Crl.parse),
        Reader(covers=("_der.Der",), read=elements),
    ),
    "tcb": (
        Reader(covers=("endorse.intel.tcb_info",), read=tcb_info),
        Reader(covers=("endorse.intel.qe_identity",), read=qe_identity),
    ),
    "collateral": (
        Reader(covers=("endorse.intel.IntelCollateral.from_json",), read=IntelCollateral.from_json),
        Reader(covers=("endorse.piece.Piece.parse",), read=Piece.parse),
        Reader(covers=("endorse.openenclave.parse",), read=openenclave.parse, recognise=openenclave.looks_like),
        Reader(
            covers=("endorse.importing.import_files",), read=lambda data: import_files([("x", data)]),
            refusals=(ParseError, UsageError),
        ),
    ),
    "envelope": (
        Reader(covers=("envelope.open_envelope",), read=open_envelope),
        Reader(covers=("envelope.encoding.decode",), read=text_of),
    ),
    "wrapper": (
        Reader(covers=("envelope.cmw",), read=wrapper),
        Reader(covers=("envelope.csr",), read=request, recognise=csr.looks_like),
    ),
    "result": (
        Reader(covers=("result.token.parse_token",), read=parse_token),
        Reader(
            covers=("result.verify.decode_unverified",), read=decode_unverified, refusals=(ParseError, BindingInvalid)
        ),
    ),
    "keys": (
        Reader(
            covers=("result.keys.verification_keys",), read=verification_keys, refusals=(ParseError, UsageError),
        ),
        Reader(covers=("_crypto.load_spki",), read=used_key, refusals=(SignatureInvalid,)),
        Reader(covers=("result.keys.signing_key",), read=signing_key, refusals=(ParseError, UsageError)),
        Reader(covers=("result._base64url.decode",), read=as_text(_base64url.decode), refusals=(ValueError,)),
        Reader(
            covers=("appraise.reference_files.signer_keys",), read=lambda data: signer_keys(data, name="x"),
            refusals=(ParseError, PolicyError),
        ),
    ),
    "policy": (
        Reader(
            covers=("appraise.parse_policy.parse_policy", "_toml.read_toml"), read=as_text(judged),
            refusals=(PolicyError,),
        ),
        Reader(covers=("appraise.rego.parse_rego",), read=as_text(parse_rego), refusals=(PolicyError,)),
    ),
    "reference": (
        Reader(
            covers=("appraise.reference.read_reference_values",),
            read=lambda data: read_reference_values(data, name="x"), refusals=(PolicyError,),
        ),
        Reader(covers=("appraise.corim.parse",), read=corim.parse, recognise=corim.looks_like),
        Reader(covers=("appraise.corim_values.read_corim",), read=manifest_values, refusals=VENDORS),
        Reader(covers=("appraise.corim_values.read_corim",), read=manifest_meaning, refusals=VENDORS),
    ),
    **BROKER,
    **OWNER,
    **IMAGES,
    **FRAMEWORKS,
}  # fmt: skip
"""Name, as `--only` takes it, to its readers."""
