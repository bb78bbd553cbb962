"""Attested TLS (RA-TLS): TLS 1.3 in which certificates carry evidence, and no byte passes before it is verified.

    identity = Identity(provider)                           a key in memory, with evidence over it
    server_context(identity)                                an ssl.SSLContext for uvicorn, asyncio, ssl
    client_context(demand("app.toml"))                      an ssl.SSLContext for httpx, asyncio, ssl

`cloister.tls.gate` says how the check comes into the handshake, `cloister.tls.freshness` what `fresh=True` adds.
"""

from cloister.tls.connection import peer_of
from cloister.tls.context import client_context, server_context
from cloister.tls.course import Peer
from cloister.tls.demands import Demands, demand
from cloister.tls.identity import Identity
from cloister.tls.ports import EvidenceProvider, Produced, evidence_of
from cloister.tls.refusal import PeerRefused, refusal_in

__all__ = [
    "Demands",
    "EvidenceProvider",
    "Identity",
    "Peer",
    "PeerRefused",
    "Produced",
    "client_context",
    "demand",
    "evidence_of",
    "peer_of",
    "refusal_in",
    "server_context",
]
