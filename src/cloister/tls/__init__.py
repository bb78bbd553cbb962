"""Attested TLS (RA-TLS): TLS 1.3 whose certificates carry evidence, for clients and servers."""

__all__: list[str] = []
