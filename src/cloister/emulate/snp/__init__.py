"""The emulated SEV-SNP machine (AMD 56860, SEV Secure Nested Paging Firmware ABI)."""

__all__: list[str] = []
