"""Emulated manufacturers: keys, certificates and collateral in the vendors' forms, under roots that prove nothing."""

__all__: list[str] = []
