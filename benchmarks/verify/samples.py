"""One real piece of evidence of each TEE, from the collection beside the checkout, against the vendors' own roots.

There is one piece only of each, so the same bytes are verified again and again; nothing remembers that.
"""

import csv
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from benchmarks.benchmark import NotMeasured
from benchmarks.verify import checks, peers
from benchmarks.verify.subject import Subject, items_of

from cloister._ed25519_sha3 import spki_of_ed25519
from cloister._x509 import Certificate, Crl, pem_blocks
from cloister.endorse.anchors import AnchorKind, TrustAnchors
from cloister.endorse.intel import IntelCollateral
from cloister.endorse.store import Endorsements
from cloister.evidence import cca, keystone, sgx, snp, tdx, tpm
from cloister.evidence.tpm_attest import parse_signature
from cloister.model import Tee, Unchecked
from cloister.verification import cca as verify_cca
from cloister.verification import keystone as verify_keystone
from cloister.verification import sgx as verify_sgx
from cloister.verification import snp as verify_snp
from cloister.verification import tdx as verify_tdx
from cloister.verification import tpm as verify_tpm
from cloister.verification.dcap import pck_certificates
from cloister.verification.recipe import Allowances

__all__ = ["EVIDENCE", "subjects"]

EVIDENCE: Final = Path(__file__).parents[3] / "shared" / "evidence"
UNASKED: Final = Unchecked("recorded: nobody knows its nonce any more")
NO_POLICY: Final = Unchecked("recorded evidence is authenticated, not appraised")
AT: Final = datetime(2026, 1, 1, tzinfo=UTC)
GENOA: Final = "veraison-sevsnp-tsm-report"
PIECES: Final = 8


def subjects() -> Iterator[Subject]:
    """A subject for each TEE; NotMeasured if the collection is not there."""
    if not EVIDENCE.is_dir():
        raise NotMeasured(f"no evidence samples at {EVIDENCE}")
    yield quote(Tee.SGX)
    yield quote(Tee.TDX)
    yield snp_report()
    yield cca_token()
    yield tpm_quote()
    yield keystone_report()


def quote(tee: Tee) -> Subject:
    """The first quote that the peer takes too, with collateral and clock for which Intel's own verdict is known."""
    rows = csv.DictReader((EVIDENCE / "dcap-verdicts.csv").read_text().splitlines())
    row = next(one for one in rows if one["tee"] == f"intel-{tee}" and "ERR" not in one["dcap_qvl_0.7.0"])
    data, at = (
        (EVIDENCE / row["quote_dir"] / "quote.bin").read_bytes(),
        datetime.fromtimestamp(int(row["clock_unix"]), UTC),
    )
    text = (EVIDENCE / "collateral-intel" / row["collateral_file"]).read_bytes()
    bundle = IntelCollateral.from_json(text, source=row["collateral_file"])
    parse, verify = (sgx.parse, verify_sgx.verify) if tee is Tee.SGX else (tdx.parse, verify_tdx.verify)
    parsed: Any = parse(data)
    root = next(one for one in pck_certificates(parsed.signature.certification_data)[1] if one.issuer == one.subject)
    return Subject(
        name=f"real: {row['quote_dir']}", limit="2 ECDSA P-256", goal=0.78,
        items=items_of([(data, UNASKED)] * PIECES, parse, checks.quote), parse=parse, verify=verify,
        anchors=TrustAnchors.hardware(), endorsements=Endorsements(intel=(bundle,)), at=at, policy=NO_POLICY,
        allow=Allowances(unsafe_allow_debug=True), peers=(peers.dcap_qvl(bundle, root, at),),
    )  # fmt: skip


def snp_report() -> Subject:
    """A Genoa report: the one product that the peer knows."""
    folder, shared = EVIDENCE / "amd-sev-snp" / GENOA, EVIDENCE / "collateral-amd"
    meta = json.loads((folder / "meta.json").read_text())["collateral"]
    paths = [folder / meta["ek"], *(EVIDENCE / meta[name] for name in ("ask", "ark"))]
    found = Endorsements(
        certificates=tuple(Certificate.parse(path.read_bytes()) for path in paths),
        crls=tuple(Crl.parse(path.read_bytes()) for path in sorted(shared.glob("*.crl"))),
    )
    vcek = found.certificates[0]
    data = (folder / "report.bin").read_bytes()
    return Subject(
        name=f"real: amd-sev-snp/{GENOA}", limit="1 ECDSA P-384", goal=0.85,
        items=items_of([(data, UNASKED)] * PIECES, snp.parse, lambda report: checks.snp_report(report, vcek.spki)),
        parse=snp.parse, verify=verify_snp.verify, anchors=TrustAnchors.hardware(), endorsements=found,
        at=AT, policy=NO_POLICY, allow=Allowances(unsafe_skip_revocation=True),
        peers=(peers.tinfoil(found),),
    )  # fmt: skip


def cca_token() -> Subject:
    """The first published token whose signatures hold."""
    folder = next(
        path.parent for path in sorted(EVIDENCE.glob("arm-cca/*/token.cbor"))
        if "negative_reason" not in json.loads((path.parent / "meta.json").read_text())
    )  # fmt: skip
    (key,) = pem_blocks((folder / "cpak.pub.pem").read_bytes(), "PUBLIC KEY")
    return Subject(
        name=f"published: arm-cca/{folder.name}", limit="2 ECDSA P-384", goal=0.87,
        items=items_of(
            [((folder / "token.cbor").read_bytes(), UNASKED)] * PIECES, cca.parse,
            lambda token: checks.cca_token(token, key),
        ),
        parse=cca.parse, verify=verify_cca.verify, peers=(peers.plain_cca(key),), **owned(key, Tee.CCA),
    )  # fmt: skip


def tpm_quote() -> Subject:
    """The first quote that came with its key and PCR values, put into the JSON form, without its event log."""
    folder = next(path.parent for path in sorted(EVIDENCE.glob("tpm/*/pcrs.json")) if rsa_sha256(path.parent))
    values = json.loads((folder / "pcrs.json").read_bytes())
    bank = json.loads((folder / "meta.json").read_text())["fields"]["pcr_select"][0][0]
    quote = tpm.of_parts(
        *signed_parts(folder), key=(folder / "ak.pub.pem").read_bytes(),
        pcrs={bank: {int(index): bytes.fromhex(value) for index, value in values.items()}},
    )  # fmt: skip
    assert quote.key is not None  # noqa: S101 - it was handed over
    key = quote.key.spki
    return Subject(
        name=f"real: tpm/{folder.name}", limit="1 RSA-2048", goal=0.5,
        items=items_of([(quote.serialize(), UNASKED)] * PIECES, tpm.parse, lambda one: checks.tpm_quote(one, key)),
        parse=tpm.parse, verify=verify_tpm.verify, **owned(key, Tee.TPM),
    )  # fmt: skip


def rsa_sha256(folder: Path) -> bool:
    """Whether the quote is signed with RSASSA and SHA-256, the kind that is measured."""
    signature = parse_signature(signed_parts(folder)[1])
    return (signature.scheme, signature.digest) == ("rsassa", "sha256")


def signed_parts(folder: Path) -> tuple[bytes, bytes]:
    """Statement and signature."""
    return (folder / "quote.msg").read_bytes(), (folder / "quote.sig").read_bytes()


def keystone_report() -> Subject:
    """The first report by Keystone's own code."""
    folder = next(
        path.parent for path in sorted(EVIDENCE.glob("keystone/*/report.bin")) if not path.parent.name.startswith("neg")
    )
    key = spki_of_ed25519(bytes.fromhex((folder / "device_public_key.hex").read_text()))
    return Subject(
        name=f"published: keystone/{folder.name}", limit="1 Ed25519 with SHA3-512", goal=None,
        items=items_of(
            [((folder / "report.bin").read_bytes(), UNASKED)] * PIECES, keystone.parse, checks.keystone_report
        ),
        parse=keystone.parse, verify=verify_keystone.verify, **owned(key, Tee.KEYSTONE),
    )  # fmt: skip


def owned(key: bytes, tee: Tee) -> dict[str, Any]:
    """Settings for evidence under a key that its owner hands over."""
    anchors = TrustAnchors.of([key], kind=AnchorKind.OWNER, name="the sample's key", tees=[tee])
    return {"anchors": anchors, "endorsements": Endorsements(keys=(key,)), "at": AT, "policy": NO_POLICY}
