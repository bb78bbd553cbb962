"""One handshake in memory: both ends in one thread, so that processor time is all the time there is."""

import ssl
from typing import Final

__all__ = ["Half", "shake"]

LONGEST: Final = 50
"""Turns. A handshake has two or three."""


class Half:
    """One end: what it reads from, what it writes into, and whether it is through."""

    def __init__(self, context: ssl.SSLContext, *, server: bool) -> None:
        self.incoming, self.outgoing, self.through = ssl.MemoryBIO(), ssl.MemoryBIO(), False
        name = None if server else "localhost"
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_side=server, server_hostname=name)

    def step(self) -> None:
        """Go as far as what has arrived allows."""
        if not self.through:
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                return
            self.through = True


def shake(client: ssl.SSLContext, server: ssl.SSLContext) -> tuple[Half, Half]:
    """Make a connection, contexts' own work per connection included, up to the first byte of the application."""
    ends = Half(client, server=False), Half(server, server=True)
    for _ in range(LONGEST):
        for one, other in (ends, ends[::-1]):
            one.step()
            if one.outgoing.pending:
                other.incoming.write(one.outgoing.read())
        if all(one.through for one in ends):
            return ends
    raise TimeoutError("the handshake did not end")
