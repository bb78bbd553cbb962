"""Driving benchmarks/programs/load.c: the load generator for servers that have none of their own in Debian's base."""

import socket
import subprocess

from benchmarks.benchmark import NotMeasured, Run
from benchmarks.needs import compiled

__all__ = ["answer_of", "answers_per_second"]

CONNECTIONS = 32
QUIET_SECONDS = 0.2
GRACE_SECONDS = 15.0


def answer_of(port: int, request: bytes) -> bytes:
    """The whole answer to one request: what arrives until the server has been quiet for a moment."""
    answer = bytearray()
    with socket.create_connection(("127.0.0.1", port), timeout=GRACE_SECONDS) as connection:
        connection.sendall(request)
        try:
            while piece := connection.recv(65536):
                answer += piece
                connection.settimeout(QUIET_SECONDS)
        except TimeoutError:
            pass
    return bytes(answer)


def answers_per_second(run: Run, port: int, request: bytes, *, begins: bytes) -> float:
    """Requests answered per second on 32 kept connections; NotMeasured unless every answer is like the first.

    `begins` is how a right answer begins.
    """
    answer = answer_of(port, request)
    if not answer.startswith(begins):
        raise NotMeasured(f"the answer begins with {answer[:40]!r}, not {begins!r}")
    command = [compiled("load", run.scratch), str(port), str(CONNECTIONS), str(run.load_seconds), str(len(answer))]
    try:
        done = subprocess.run(
            command, input=request, capture_output=True, timeout=run.load_seconds + GRACE_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise NotMeasured("the server stopped answering") from error
    if done.returncode:
        raise NotMeasured(done.stderr.decode(errors="replace").strip())
    return float(done.stdout.split()[1])
