"""Attestation results: what a verifier says of an attester, signed, for relying parties."""

__all__: list[str] = []
