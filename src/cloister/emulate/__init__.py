"""Emulated TEEs: machines that run real programs, keep DRAM as ciphertext, attest, and can be attacked."""

__all__: list[str] = []
