"""The targets: families of formats. All readers of a target get every input, whichever of them it was meant for."""

import contextlib
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

from tests.fuzz.law import Reader

from cloister import _cbor, _json
from cloister._cose import CoseSign1
from cloister._der import Der
from cloister._x509 import Certificate, Crl
from cloister.appraise import corim
from cloister.appraise.corim_values import read_corim
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
from cloister.result import _base64url
from cloister.result.keys import signing_key, verification_keys
from cloister.result.token import parse_token
from cloister.result.verify import decode_unverified

__all__ = ["TARGETS"]

AT: Final = datetime(2026, 6, 1, tzinfo=UTC)


def serialized(value: Any) -> bytes:
    """What a record writes of itself."""
    made: bytes = value.serialize()
    return made


def evidence(name: str, module: Any, *, exact: bool = True, also: tuple[str, ...] = ()) -> Reader:
    """The reader of an evidence module."""
    return Reader(
        covers=(f"evidence.{name}.parse", *also), read=module.parse, write=serialized, exact=exact,
        recognise=module.looks_like,
    )  # fmt: skip


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


VENDORS: Final = (PolicyError, EndorsementUnavailable, SignatureInvalid)

TARGETS: Final[dict[str, tuple[Reader, ...]]] = {
    "quote": (evidence("sgx", sgx, also=("evidence.dcap.parse_quote",)), evidence("tdx", tdx)),
    "snp": (
        evidence("snp", snp),
        record("evidence.snp_id_block.IdBlock", IdBlock.parse),
        record("evidence.snp_id_block.IdAuth", IdAuth.parse),
    ),
    "sev": (
        evidence("sev", sev),
        record("evidence.sev_chain.parse_chain", parse_chain),
        *(record("evidence.sev_chain.parse_certificate", lambda data, one=one: parse_certificate(data, one))
          for one in Usage),
        *(record("evidence.sev_chain.parse_ca_certificate", lambda data, one=one: parse_ca_certificate(data, one))
          for one in Usage),
    ),
    "layouts": (
        evidence("keystone", keystone),
        record("evidence.sigstruct.parse", sigstruct.parse),
        Reader(covers=("evidence.sigstruct.of_image",), read=sigstruct.of_image),
    ),
    "cca": (evidence("cca", cca),),
    "cbor": (
        Reader(covers=("_cbor.loads",), read=rewritten),
        record("_cose.CoseSign1.parse", CoseSign1.parse),
        evidence("software", software),
    ),
    "tpm": (
        record("evidence.tpm_attest.parse_attest", parse_attest),
        record("evidence.tpm_attest.parse_signature", parse_signature),
        Reader(covers=("evidence.tpm_key.parse_key",), read=parse_key, write=serialized, exact=False),
        evidence("tpm", tpm, exact=False),
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
        Reader(covers=("result.keys.signing_key",), read=signing_key, refusals=(ParseError, UsageError)),
        Reader(covers=("result._base64url.decode",), read=as_text(_base64url.decode), refusals=(ValueError,)),
        Reader(
            covers=("appraise.reference_files.signer_keys",), read=lambda data: signer_keys(data, name="x"),
            refusals=(ParseError, PolicyError),
        ),
    ),
    "policy": (
        Reader(covers=("appraise.parse_policy.parse_policy",), read=as_text(parse_policy), refusals=(PolicyError,)),
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
}  # fmt: skip
"""Name, as `--only` takes it, to its readers."""

