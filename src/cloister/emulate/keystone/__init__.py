"""RISC-V Keystone: a security monitor in machine mode keeps an enclave's memory to itself by physical memory protection."""

__all__: list[str] = []
