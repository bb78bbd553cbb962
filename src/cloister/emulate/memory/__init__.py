"""The memory controller of an emulated machine, and the DRAM behind it."""

__all__: list[str] = []
