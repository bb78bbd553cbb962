"""The emulated Arm TrustZone machine: two worlds on one processor, memory divided between them, a trusted boot."""

__all__: list[str] = []
