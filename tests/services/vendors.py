"""Intel's and AMD's services on this machine: the same paths, headers, encodings, with what a test hands over.

    with VendorService() as service:
        service.publish_bundle(members_of_collateral(forge.collateral()))
        Fetcher().get(f"{service.url}/sgx/certification/v4/qe/identity?update=early")
        service.asked           # every path that was asked for, in order

Caching services (PCCS) encode revocation lists differently from Intel's PCS; `pccs=True` answers as they do.
"""

import threading
from collections import defaultdict, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self
from urllib.parse import quote, urlsplit

from cloister import _json
from cloister._x509 import Certificate, Crl, common_name
from cloister.endorse.bundle import members_of
from cloister.endorse.intel import IntelCollateral
from cloister.endorse.piece import CERTIFICATE, armoured
from cloister.model import Tee

__all__ = ["Answer", "VendorService", "members_of_collateral"]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a path answers."""

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


def members_of_collateral(collateral: IntelCollateral) -> dict[str, str]:
    """A forged bundle as the JSON document that tools exchange."""
    root, pck = sorted(collateral.crls, key=lambda one: "PCK" in common_name(one.issuer))
    return members_of({
        "tcb_info": collateral.tcb_info.decode(), "tcb_info_signature": collateral.tcb_info_signature.hex(),
        "tcb_info_issuer_chain": pem(*collateral.tcb_info_chain),
        "qe_identity": collateral.qe_identity.decode(), "qe_identity_signature": collateral.qe_identity_signature.hex(),
        "qe_identity_issuer_chain": pem(*collateral.qe_identity_chain),
        "pck_crl": pck.encoded.hex(), "root_ca_crl": root.encoded.hex(),
    })  # fmt: skip


def pem(*certificates: Certificate) -> str:
    """Certificates as text."""
    return "".join(armoured(one.encoded, CERTIFICATE).decode() for one in certificates)


class VendorService:
    """A server on loopback for the time of a `with` block. Paths that nothing was published under answer 404."""

    def __init__(self, *, pccs: bool = False) -> None:
        self.pccs = pccs
        self.answers: dict[str, Answer] = {}
        self.faults: dict[str, deque[Answer]] = defaultdict(deque)
        self.asked: list[str] = []
        service = self

        class Conversation(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                service.asked.append(self.path)
                answer = service.answer(self.path)
                self.send_response(answer.status)
                for name, value in {"Content-Length": str(len(answer.body)), **answer.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(answer.body)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Conversation)
        self._thread = threading.Thread(target=self.server.serve_forever, args=(0.02,))

    scheme = "http"

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"{self.scheme}://127.0.0.1:{self.server.server_port}"

    def answer(self, path: str) -> Answer:
        """The next fault of this path, else what was published under it."""
        waiting = self.faults[urlsplit(path).path]
        return waiting.popleft() if waiting else self.answers.get(path, Answer(status=404))

    def fail(self, path: str, *faults: Answer) -> None:
        """Answer the next requests for this path, whatever its query, with these."""
        self.faults[path].extend(faults)

    def publish_bundle(self, members: Mapping[str, str], *, update: str = "early") -> None:
        """Publish the statements of a bundle where Intel has them; `ca` is told from the list's issuer."""
        info = _json.loads(members["tcb_info"], "TCB info")
        kind = "tdx" if dict(info).get("id") == Tee.TDX.upper() else "sgx"  # type: ignore[call-overload]
        fmspc = _json.text(info, "fmspc", "TCB info").upper()
        pck = Crl.parse(bytes.fromhex(members["pck_crl"]))
        ca = "processor" if "Processor" in common_name(pck.issuer) else "platform"
        self._statement(f"/{kind}/certification/v4/tcb?fmspc={fmspc}&update={update}", "tcbInfo", "tcb_info", members)
        identity = f"/{kind}/certification/v4/qe/identity?update={update}"
        self._statement(identity, "enclaveIdentity", "qe_identity", members)
        crl_chain = quote(members.get("pck_crl_issuer_chain", members["tcb_info_issuer_chain"]))
        self._list(f"/sgx/certification/v4/pckcrl?ca={ca}&encoding=der", members["pck_crl"], crl_chain)
        self._list("/sgx/certification/v4/rootcacrl", members["root_ca_crl"])

    def _statement(self, path: str, key: str, member: str, members: Mapping[str, str]) -> None:
        header = {"tcbInfo": "TCB-Info-Issuer-Chain", "enclaveIdentity": "SGX-Enclave-Identity-Issuer-Chain"}[key]
        if self.pccs and key == "tcbInfo":
            header = "SGX-TCB-Info-Issuer-Chain"
        body = f'{{"{key}":{members[member]},"signature":"{members[f"{member}_signature"]}"}}'
        self.answers[path] = Answer(body=body.encode(), headers={header: quote(members[f"{member}_issuer_chain"])})

    def _list(self, path: str, digits: str, chain: str = "") -> None:
        body = digits.encode() if self.pccs else bytes.fromhex(digits)
        self.answers[path] = Answer(body=body, headers={"SGX-PCK-CRL-Issuer-Chain": chain} if chain else {})

    def publish_product(self, product: str, chain: list[Certificate], crl: Crl, *, kind: str = "vcek") -> None:
        """Publish the issuers of a product's keys, and their list, where AMD has them."""
        self.answers[f"/{kind}/v1/{product}/cert_chain"] = Answer(body=pem(*chain).encode())
        self.answers[f"/{kind}/v1/{product}/crl"] = Answer(body=crl.encoded)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.server.shutdown()
        self.server.server_close()
        self._thread.join()
