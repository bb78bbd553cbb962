"""A TD's device and its host's quoting service, with somebody else's quotes behind them (qgs_msg_lib.h)."""

import contextlib
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

__all__ = ["QuotingService", "td_report"]

HEADER = struct.Struct("<HHIII")
SIZES = struct.Struct("<II")
DATA = slice(128, 192)
"""Where a TDREPORT has its report data."""


def td_report(descriptor: int, report_data: bytes) -> bytes:
    """As TDX_CMD_GET_REPORT0 answers."""
    del descriptor
    return b"\x81" + bytes(127) + report_data + bytes(1024 - 192)


@dataclass
class QuotingService:
    """Answers one request over a connection. `spoil` changes the message; `error` is what it refuses with."""

    quote: Callable[[bytes], bytes]
    error: int = 0
    spoil: Callable[[bytes], bytes] = bytes
    asked: list[tuple[int, int, int]] = field(default_factory=list)
    """Of each request: type, sizes of report and list."""

    def connect(self) -> socket.socket:
        """The guest's end."""
        guest, host = socket.socketpair()
        threading.Thread(target=self._serve, args=(host,), daemon=True).start()
        return guest

    def _serve(self, host: socket.socket) -> None:
        with host, contextlib.suppress(BrokenPipeError, ConnectionResetError):  # a guest that does not wait
            size = int.from_bytes(host.recv(4, socket.MSG_WAITALL))
            message = host.recv(size, socket.MSG_WAITALL)
            major, _, kind, stated, _ = HEADER.unpack_from(message)
            assert (major, stated) == (1, size)
            report_size, list_size = SIZES.unpack_from(message, HEADER.size)
            self.asked.append((kind, report_size, list_size))
            report = message[HEADER.size + SIZES.size :]
            quote = b"" if self.error else self.quote(report[DATA])
            head = HEADER.pack(1, 1, 1, HEADER.size + SIZES.size + len(quote), self.error)
            answer = self.spoil(head + SIZES.pack(0, len(quote)) + quote)
            host.sendall(len(answer).to_bytes(4) + answer)
