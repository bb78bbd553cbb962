"""What each system call's arguments mean: tables by subject, and the notation they are written in."""

from cloister.observe.trace.signatures.notation import SIGNATURES, Param, Signature, parse

__all__ = ["SIGNATURES", "Param", "Signature", "parse"]
