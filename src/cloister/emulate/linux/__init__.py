"""Linux system calls for a program in an emulated TEE: a trusted part inside it, and an untrusted host outside."""

__all__: list[str] = []
