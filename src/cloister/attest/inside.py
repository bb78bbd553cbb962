"""For programs in the enclave: evidence over report data of their own, from the host's attester.

The runtime names the carrier's socket in the program's environment. It is no secret, and the carrier answers only
processes of the tree that it was started for. Whoever speaks there vouches for nothing: the evidence is signed.
"""

import os
import socket
from typing import Final

from cloister.attest.frames import REPORT_DATA, Kind, receive, send
from cloister.errors import NotAttested, ParseError, Undecided, UsageError

__all__ = ["SOCKET_VARIABLE", "evidence"]

SOCKET_VARIABLE: Final = "CLOISTER_ATTESTER"
SECONDS: Final = 60.0


def evidence(report_data: bytes) -> bytes:
    """Signed evidence of this program, with these report data (up to 64 bytes; zeros are put behind them).

    The format is docs/formats/software-evidence.md. UsageError outside an enclave that has an attester, NotAttested if
    it refuses, Undecided if it does not answer.
    """
    if len(report_data) > REPORT_DATA:
        raise UsageError(f"{len(report_data)} bytes of report data; evidence has room for {REPORT_DATA}")
    path = os.environ.get(SOCKET_VARIABLE, "")
    if not path:
        raise UsageError(f"no attester: {SOCKET_VARIABLE} is not set; start the program by `cloister run --broker URL`")
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(SECONDS)
            sock.connect(path)
            send(sock, Kind.EVIDENCE_WANTED, report_data.ljust(REPORT_DATA, b"\0"), SECONDS)
            answer = receive(sock, SECONDS, Kind.EVIDENCE, Kind.REFUSED)
    except (OSError, ParseError) as error:
        raise Undecided(f"the attester at {path} does not answer: {error}") from error
    if answer.kind is Kind.REFUSED:
        undecided = int.from_bytes(answer.body[:4], "little") == Undecided.exit_code
        raise (Undecided if undecided else NotAttested)(answer.body[4:].decode(errors="replace"))
    return answer.body
