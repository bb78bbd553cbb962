"""What a program's measurement must be, computed offline. Pure."""

__all__: list[str] = []
