"""The attester's side of attestation: what runs beside a program in the software enclave, and what the program may ask.

The carrier (`carrier`) is one process outside the enclave. It speaks to the broker and holds the port to the host's
attestation key; it is trusted with no secret: what it carries is encrypted to a key inside. A program inside calls

    import cloister.attest
    token = cloister.attest.evidence(report_data)      # up to 64 bytes that the evidence shall contain
"""

from cloister.attest.inside import SOCKET_VARIABLE, evidence

__all__ = ["SOCKET_VARIABLE", "evidence"]
