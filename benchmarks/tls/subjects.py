"""What is measured: attested handshakes with evidence of several TEEs, and plain ones with the same kinds of keys."""

import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from tests.forge import amd
from tests.forge.every import intel
from tests.forge.intel import enclave_report
from tests.forge.software import SoftwareForge
from tests.forge.x509 import NOW

from cloister._x509 import Certificate
from cloister.appraise.vector import Tier
from cloister.endorse.anchors import TrustAnchors
from cloister.endorse.store import Endorsements
from cloister.model import Unchecked
from cloister.tls import Demands, Identity, client_context, demand, server_context
from cloister.tls.certificate import Credentials
from cloister.tls.demands import opened
from cloister.tls.identity import load

__all__ = ["EVIDENCE", "Subject", "subjects"]

NO_NONCE: Final = Unchecked("the evidence of a certificate")


@dataclass(frozen=True)
class Attester:
    """Makes evidence of one TEE, and what verifies it."""

    make: Callable[[bytes], bytes]
    anchors: TrustAnchors
    endorsements: Endorsements


@dataclass(frozen=True, kw_only=True)
class Subject:
    """One row: `attested` and `plain` are (client, server) contexts for each handshake, `verify` the evidence alone.

    `making` adds up the seconds that making evidence took, which is not the handshake's.
    """

    name: str
    attested: Sequence[tuple[ssl.SSLContext, ssl.SSLContext]]
    plain: tuple[ssl.SSLContext, ssl.SSLContext]
    verify: Sequence[Callable[[], object]]
    signatures: int
    """Of the handshake itself: CertificateVerify messages."""

    making: list[float]


def sgx() -> Attester:
    """SGX quotes, version 3."""
    forge = intel()
    return Attester(
        lambda data: forge.sgx_quote(body=enclave_report(report_data=data)), forge.anchors, forge.endorsements()
    )


def snp() -> Attester:
    """SNP reports of one chip."""
    platform = amd.platform()
    key = platform.ek()
    return Attester(
        lambda data: amd.signed_report(key, nonce=data).serialize(), platform.anchors, platform.endorsements(key)
    )


def software() -> Attester:
    """Software enclaves of one host."""
    forge = SoftwareForge()
    return Attester(forge.evidence, forge.anchors, forge.endorsements)


EVIDENCE: Final = {"sgx": sgx, "snp": snp, "software": software}


def subjects(name: str, count: int) -> list[Subject]:
    """Rows for one TEE: the server attested; both attested; the server attested with evidence for the connection.

    `count` certificates, each with its own key and evidence: nothing is remembered of one seen before. What is
    verified without TLS is others of the same kind, for the same reason.
    """
    attester, making = EVIDENCE[name](), [0.0]

    def provider(report_data: bytes) -> bytes:
        begun = time.process_time()
        made = attester.make(report_data)
        making[0] += time.process_time() - begun
        return made

    believes = demand(
        Unchecked("a benchmark"), anchors=attester.anchors, endorsements=attester.endorsements,
        accept=frozenset(Tier), clock=lambda: NOW,
    )  # fmt: skip
    servers, clients, third, fourth = ([Identity(provider, clock=lambda: NOW) for _ in range(count)] for _ in range(4))
    for one in (*servers, *clients, *third, *fourth):
        one.credentials()
    making[0] = 0.0
    verify, more = ([alone(believes, certificate_of(one)) for one in some] for some in (third, fourth))
    one_way = [(client_context(believes), serving(one)) for one in servers]
    mutual = [
        (client_context(believes, identity=client), server_context(server, demands=believes))
        for client, server in zip(clients, servers, strict=True)
    ]
    both = [together(*pair) for pair in zip(verify, more, strict=True)]
    fresh = [(client_context(replace(believes, fresh=True)), serving(one)) for one in servers]
    return [
        Subject(name=f"{name}: server", attested=one_way, plain=plain(servers[0].credentials()), verify=verify,
                signatures=1, making=making),
        Subject(name=f"{name}: both ends", attested=mutual, plain=plain(servers[0].credentials(), mutual=True),
                verify=both, signatures=2, making=making),
        Subject(name=f"{name}: server, fresh", attested=fresh, plain=plain(servers[0].credentials()),
                verify=[together(one, one) for one in verify], signatures=1, making=making),
    ]  # fmt: skip


def serving(identity: Identity) -> ssl.SSLContext:
    """A server that has served before: what its connections share is there."""
    context = server_context(identity)
    context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_side=True)
    return context


def certificate_of(identity: Identity) -> Certificate:
    """What it shows."""
    return identity.credentials().certificate


def alone(demands: Demands, certificate: Certificate) -> Callable[[], object]:
    """The verification of a certificate's evidence without any TLS."""
    return lambda: demands.judge(opened(certificate, ()), NO_NONCE, NOW)


def together(*work: Callable[[], object]) -> Callable[[], object]:
    """All of it, one after the other."""
    return lambda: [one() for one in work]


def plain(credentials: Credentials, *, mutual: bool = False) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """TLS 1.3 as one would use it: shared contexts, and the certificate of the other end in the trust store."""
    made = []
    for protocol in (ssl.PROTOCOL_TLS_CLIENT, ssl.PROTOCOL_TLS_SERVER):
        context = ssl.SSLContext(protocol)
        context.check_hostname = False
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.verify_flags = ssl.VerifyFlags(ssl.VERIFY_X509_PARTIAL_CHAIN | 0x200000)  # dates: those of the forge
        if protocol == ssl.PROTOCOL_TLS_SERVER:
            context.num_tickets = 0
        if mutual or protocol == ssl.PROTOCOL_TLS_SERVER:
            load(context, credentials)
        if mutual or protocol == ssl.PROTOCOL_TLS_CLIENT:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(cadata=credentials.certificate.encoded)
        made.append(context)
    return made[0], made[1]
