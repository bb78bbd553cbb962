"""What vouches for evidence: trust anchors, certificates, revocation lists, TCB statements, and where to get them.

Nothing here decides: `cloister.verification` does, with what is handed to it. Only `fetch` talks to vendor services,
only `cache` touches files.
"""

__all__: list[str] = []
