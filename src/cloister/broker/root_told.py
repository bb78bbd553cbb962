"""What each start of a program is told of its volumes: the newest root, and the name to report later ones under."""

import secrets
import time
from dataclasses import dataclass

from cloister.broker.root_report import StartName, volume_identity
from cloister.broker.session.provision_shield import KeptRoot
from cloister.broker.store_roots import RootTable, StoredRoot
from cloister.shield_policy.fields import WRITER

__all__ = ["SessionRoots"]


@dataclass(frozen=True, slots=True)
class SessionRoots:
    """The roots of one session's volumes, for a start of one of its programs (`provision_shield.Roots`)."""

    table: RootTable
    session: str

    def newest(self, name: str, key: bytes) -> KeptRoot:
        """The newest root, and the name that this start reports under."""
        known = self.table.find(self.session, name, volume_identity(key))
        start = StartName(self.session, name, _next_start(known), known.root.generation if known else 0)
        writer = StartName.of_line(self.session, name, known.start).writer if known else bytes(WRITER)
        return KeptRoot(known.root if known else None, str(start), writer)


def _next_start(known: StoredRoot | None) -> str:
    """Greater than that of every start that has reported; clocks of replicas may differ, and two starts coincide."""
    after = int(known.start[:16], 16) + 1 if known else 0
    return f"{max(time.time_ns(), after):016x}{secrets.token_hex(4)}"
