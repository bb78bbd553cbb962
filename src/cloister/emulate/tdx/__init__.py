"""Intel TDX: the module between host and trust domains, its tables and reports, and the machine around it."""

__all__: list[str] = []
