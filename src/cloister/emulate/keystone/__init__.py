"""RISC-V Keystone: a security monitor in machine mode keeps an enclave's memory to itself with PMP."""

__all__: list[str] = []
