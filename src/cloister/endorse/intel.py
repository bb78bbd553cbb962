"""Intel's endorsements: PCK certificate extensions, TCB info, QE identity (Intel PCS API documentation, versions 3, 4).

Parsed only. The signed texts are kept byte for byte, because signatures cover exactly these bytes.
"""

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from cloister import _json
from cloister._der import ENUMERATED, Der
from cloister._x509 import Certificate, Crl, pem_blocks
from cloister.errors import ParseError
from cloister.model import Tee

__all__ = [
    "EnclaveLevel",
    "IntelCollateral",
    "PckInfo",
    "PlatformLevel",
    "QeIdentity",
    "TcbInfo",
    "TdxModule",
    "pck_info",
    "qe_identity",
    "tcb_info",
]

SGX_EXTENSIONS: Final = "1.2.840.113741.1.13.1"
MOST_ISSUERS: Final = 16
"""Certificates in the chain of one statement. Real ones have two."""

MOST_LEVELS: Final = 256
"""TCB levels in one statement. Real ones have up to 20."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PckInfo:
    """What a PCK certificate says of its platform (Intel SGX PCK Certificate and CRL Profile, section 1.3.5).

    `components` are the 16 TCB component SVNs, `fmspc` 6 bytes, `pce_id` 2 bytes, `ppid` 16 bytes.
    """

    ppid: bytes
    components: tuple[int, ...]
    pcesvn: int
    cpusvn: bytes
    pce_id: bytes
    fmspc: bytes
    sgx_type: int
    platform_instance_id: bytes = b""
    configuration: Mapping[str, bool] = field(default_factory=dict)


@functools.lru_cache(maxsize=1024)
def pck_info(certificate: Certificate) -> PckInfo:
    """The SGX extensions of a PCK certificate."""
    extension = certificate.extensions.get(SGX_EXTENSIONS)
    if extension is None:
        raise ParseError("PCK certificate", "SGX extensions", 0, f"{certificate.name!r} has none: no PCK certificate")
    reader = Der(extension.value, "SGX extensions", base=extension.offset).inside("extensions")
    found = dict(_pairs(reader))
    try:
        tcb = dict(_pairs(found["2"].inside("tcb")))
        return PckInfo(
            ppid=found["1"].octets("ppid"),
            components=tuple(tcb[str(i)].integer(f"component {i}") for i in range(1, 17)),
            pcesvn=tcb["17"].integer("pcesvn"), cpusvn=_sized(tcb["18"], "cpusvn", 16),
            pce_id=_sized(found["3"], "pceId", 2), fmspc=_sized(found["4"], "fmspc", 6),
            sgx_type=found["5"].integer("sgxType", ENUMERATED),
            platform_instance_id=_sized(found["6"], "platformInstanceId", 16) if "6" in found else b"",
            configuration=_configuration(found["7"].inside("configuration")) if "7" in found else {},
        )  # fmt: skip
    except KeyError as error:
        raise reader.error(f"{SGX_EXTENSIONS}.{error.args[0]}", "is missing") from None


def _pairs(reader: Der) -> list[tuple[str, Der]]:
    """(last arc, reader at the value) of every pair under the SGX extension's identifier."""
    pairs = [(pair.oid("oid").rsplit(".", maxsplit=1)[-1], pair) for pair in reader.each("pair")]
    if len({oid for oid, _ in pairs}) < len(pairs):
        raise reader.error("oid", "stands twice")
    return pairs


def _sized(reader: Der, name: str, size: int) -> bytes:
    value = reader.octets(name)
    if len(value) != size:
        raise reader.error(name, f"has {len(value)} bytes; {size} are expected")
    return value


def _configuration(reader: Der) -> dict[str, bool]:
    names = {"1": "dynamic_platform", "2": "cached_keys", "3": "smt_enabled"}
    return {names.get(oid, oid): value.boolean(names.get(oid, oid)) for oid, value in _pairs(reader)}


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformLevel:
    """One TCB level: the least SVNs that reach it, and what Intel thinks of it. `tdx` is empty in SGX statements."""

    sgx: tuple[int, ...]
    pcesvn: int
    tdx: tuple[int, ...]
    status: str
    date: datetime
    advisories: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EnclaveLevel:
    """One TCB level of the quoting enclave or a TDX module, reached from `isvsvn` on."""

    isvsvn: int
    status: str
    date: datetime
    advisories: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TdxModule:
    """Which TDX module is expected. `id` is empty for the module that TCB info describes itself (version 0)."""

    id: str
    mrsigner: bytes
    attributes: bytes
    attributes_mask: bytes
    levels: tuple[EnclaveLevel, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TcbInfo:
    """Intel's statement about one platform family. `levels` are sorted, the highest first."""

    tee: Tee
    version: int
    issued: datetime
    next_update: datetime
    fmspc: bytes
    pce_id: bytes
    evaluation: int
    module: TdxModule | None
    modules: tuple[TdxModule, ...]
    levels: tuple[PlatformLevel, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class QeIdentity:
    """Intel's statement about its quoting enclave."""

    id: str
    version: int
    issued: datetime
    next_update: datetime
    evaluation: int
    miscselect: int
    miscselect_mask: int
    attributes: bytes
    attributes_mask: bytes
    mrsigner: bytes
    isvprodid: int
    levels: tuple[EnclaveLevel, ...]


STATUSES: Final = frozenset({
    "UpToDate", "SWHardeningNeeded", "ConfigurationNeeded", "ConfigurationAndSWHardeningNeeded",
    "OutOfDate", "OutOfDateConfigurationNeeded", "Revoked",
})  # fmt: skip


def tcb_info(text: bytes) -> TcbInfo:
    """Parse TCB info, version 2 or 3. Version 2 is about SGX only and has no `id`."""
    name = "TCB info"
    top = _json.loads(text, name)
    version = _json.whole(top, "version", name)
    if version not in {2, 3}:
        raise ParseError(name, "version", 0, f"is {version}; 2 and 3 are understood")
    kind = _json.text(top, "id", name) if version == 3 else "SGX"
    if kind not in {"SGX", "TDX"}:
        raise ParseError(name, "id", 0, f"is {kind!r}; SGX and TDX are understood")
    tee = Tee.TDX if kind == "TDX" else Tee.SGX
    levels = [_platform_level(one, version, tee) for one in _limited(top, "tcbLevels", name)]
    return TcbInfo(
        tee=tee, version=version, issued=_time(top, "issueDate", name), next_update=_time(top, "nextUpdate", name),
        fmspc=_hex(top, "fmspc", 6, name), pce_id=_hex(top, "pceId", 2, name),
        evaluation=_json.whole(top, "tcbEvaluationDataNumber", name),
        module=_module(_json.member(top, "tdxModule", name), "") if tee is Tee.TDX else None,
        modules=_modules(top) if tee is Tee.TDX else (),
        levels=tuple(sorted(levels, key=lambda one: (one.sgx, one.tdx, one.pcesvn), reverse=True)),
    )  # fmt: skip


def _modules(top: object) -> tuple[TdxModule, ...]:
    if not isinstance(top, Mapping) or "tdxModuleIdentities" not in top:
        return ()
    found = _limited(top, "tdxModuleIdentities", "TCB info")
    return tuple(_module(one, _json.text(one, "id", "TDX module identity").upper()) for one in found)


def _module(value: object, identity: str) -> TdxModule:
    name = "TDX module identity" if identity else "TDX module"
    return TdxModule(
        id=identity, mrsigner=_hex(value, "mrsigner", 48, name), attributes=_hex(value, "attributes", 8, name),
        attributes_mask=_hex(value, "attributesMask", 8, name), levels=_enclave_levels(value, name) if identity else (),
    )  # fmt: skip


def _platform_level(value: object, version: int, tee: Tee) -> PlatformLevel:
    name = "TCB level"
    tcb = _json.member(value, "tcb", name)
    if version == 2:
        sgx = tuple(_svn(tcb, f"sgxtcbcomp{i:02}svn") for i in range(1, 17))
    else:
        sgx = _components(tcb, "sgxtcbcomponents")
    tdx = _components(tcb, "tdxtcbcomponents") if tee is Tee.TDX else ()
    return PlatformLevel(
        sgx=sgx, tdx=tdx, pcesvn=_json.whole(tcb, "pcesvn", name),
        status=_status(value, name), date=_time(value, "tcbDate", name), advisories=_advisories(value),
    )  # fmt: skip


def _components(tcb: object, key: str) -> tuple[int, ...]:
    found = tuple(_svn(one, "svn") for one in _json.members(tcb, key, "TCB level"))
    if len(found) != 16:
        raise ParseError("TCB level", key, 0, f"has {len(found)} components; there are 16")
    return found


def _svn(value: object, key: str) -> int:
    svn = _json.whole(value, key, "TCB level")
    if svn > 255:
        raise ParseError("TCB level", key, 0, f"is {svn}; SVNs have one byte")
    return svn


def qe_identity(text: bytes) -> QeIdentity:
    """Parse a QE identity, version 2 (`QE` for SGX, `TD_QE` for TDX)."""
    name = "QE identity"
    top = _json.loads(text, name)
    version = _json.whole(top, "version", name)
    if version != 2:
        raise ParseError(name, "version", 0, f"is {version}; 2 is understood")
    return QeIdentity(
        id=_json.text(top, "id", name), version=version,
        issued=_time(top, "issueDate", name), next_update=_time(top, "nextUpdate", name),
        evaluation=_json.whole(top, "tcbEvaluationDataNumber", name),
        miscselect=int.from_bytes(_hex(top, "miscselect", 4, name), "little"),
        miscselect_mask=int.from_bytes(_hex(top, "miscselectMask", 4, name), "little"),
        attributes=_hex(top, "attributes", 16, name), attributes_mask=_hex(top, "attributesMask", 16, name),
        mrsigner=_hex(top, "mrsigner", 32, name), isvprodid=_json.whole(top, "isvprodid", name),
        levels=_enclave_levels(top, name),
    )  # fmt: skip


def _enclave_levels(value: object, name: str) -> tuple[EnclaveLevel, ...]:
    levels = [
        EnclaveLevel(
            isvsvn=_json.whole(_json.member(one, "tcb", name), "isvsvn", name),
            status=_status(one, name),
            date=_time(one, "tcbDate", name),
            advisories=_advisories(one),
        )
        for one in _limited(value, "tcbLevels", name)
    ]
    return tuple(sorted(levels, key=lambda one: one.isvsvn, reverse=True))


def _limited(value: object, key: str, name: str) -> list[object]:
    found = _json.members(value, key, name)
    if len(found) > MOST_LEVELS:
        raise ParseError(name, key, 0, f"has {len(found)} entries; at most {MOST_LEVELS}")
    return found


def _status(value: object, name: str) -> str:
    status = _json.text(value, "tcbStatus", name)
    if status not in STATUSES:
        raise ParseError(name, "tcbStatus", 0, f"is {status!r}, which Intel has not defined")
    return status


def _advisories(value: object) -> tuple[str, ...]:
    if not isinstance(value, Mapping) or "advisoryIDs" not in value:
        return ()
    return tuple(str(one) for one in _json.members(value, "advisoryIDs", "TCB level"))


def _time(value: object, key: str, name: str) -> datetime:
    text = _json.text(value, key, name)
    if not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", text, re.ASCII):
        raise ParseError(name, key, 0, f"is {text!r}; a time looks like 2026-01-31T00:00:00Z")
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except ValueError as error:
        raise ParseError(name, key, 0, f"is {text!r}: {error}") from error


def _hex(value: object, key: str, size: int, name: str) -> bytes:
    text = _json.text(value, key, name)
    try:
        found = bytes.fromhex(text)
    except ValueError as error:
        raise ParseError(name, key, 0, "is not hexadecimal") from error
    if len(found) != size or len(text) != 2 * size:
        raise ParseError(name, key, 0, f"has {len(found)} bytes; {size} are expected")
    return found


@dataclass(frozen=True, kw_only=True, eq=False)
class IntelCollateral:
    """One set of statements that belong together, as Intel's services hand them out. Compared by identity.

    `tcb_info` and `qe_identity` are the signed texts; their signatures are r and s, 32 bytes each.
    """

    tcb_info: bytes = field(repr=False)
    tcb_info_signature: bytes = field(repr=False)
    tcb_info_chain: tuple[Certificate, ...] = field(repr=False)
    qe_identity: bytes = field(repr=False)
    qe_identity_signature: bytes = field(repr=False)
    qe_identity_chain: tuple[Certificate, ...] = field(repr=False)
    crls: tuple[Crl, ...] = field(repr=False)
    source: str = ""

    @property
    def size(self) -> int:
        """Bytes of everything that is signed in it."""
        encoded = [one.encoded for one in (*self.tcb_info_chain, *self.qe_identity_chain)]
        encoded += [one.encoded for one in self.crls]
        return sum(map(len, (self.tcb_info, self.qe_identity, *encoded)))

    @functools.cached_property
    def tcb(self) -> TcbInfo:
        """The parsed TCB info; not verified by being parsed."""
        return tcb_info(self.tcb_info)

    @functools.cached_property
    def qe(self) -> QeIdentity:
        """The parsed QE identity; not verified by being parsed."""
        return qe_identity(self.qe_identity)

    @classmethod
    def from_json(cls, text: bytes, *, source: str = "") -> "IntelCollateral":
        """Read a bundle as the quote verification tools exchange it.

        An object with `tcb_info`, `qe_identity` (strings, as signed), `*_signature` (hex), `*_issuer_chain` (PEM),
        `pck_crl`, `root_ca_crl` (hex of DER).
        """
        name = "Intel collateral"
        top = _json.loads(text, name)
        made = cls(
            tcb_info=_json.text(top, "tcb_info", name).encode(),
            tcb_info_signature=_hex(top, "tcb_info_signature", 64, name),
            tcb_info_chain=_chain(_json.text(top, "tcb_info_issuer_chain", name)),
            qe_identity=_json.text(top, "qe_identity", name).encode(),
            qe_identity_signature=_hex(top, "qe_identity_signature", 64, name),
            qe_identity_chain=_chain(_json.text(top, "qe_identity_issuer_chain", name)),
            crls=tuple(_crl(_json.text(top, key, name), key) for key in ("pck_crl", "root_ca_crl")),
            source=source,
        )
        _ = made.tcb, made.qe  # refuse here, where the file is named, what could not be used later
        return made


def _chain(text: str) -> tuple[Certificate, ...]:
    blocks = pem_blocks(text.encode("utf-8", "replace"), "CERTIFICATE")
    if len(blocks) > MOST_ISSUERS:
        raise ParseError("Intel collateral", "chain", 0, f"{len(blocks)} certificates; at most {MOST_ISSUERS}")
    return tuple(map(Certificate.parse, blocks))


def _crl(text: str, key: str) -> Crl:
    try:
        return Crl.parse(bytes.fromhex(text))
    except ValueError as error:
        raise ParseError("Intel collateral", key, 0, "is not hexadecimal") from error
