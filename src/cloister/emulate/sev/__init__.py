"""AMD SME, SEV and SEV-ES: one key for all of memory, or one for each guest, and a security processor that launches."""

__all__: list[str] = []
