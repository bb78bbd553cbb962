"""nginx with one worker: a file of 4 KiB, and an answer that it makes itself, over 32 kept connections."""

import os
from pathlib import Path

from benchmarks.benchmark import Benchmark, Better, Group, Need, Quantity, Run, enclaved, native
from benchmarks.goals import speed
from benchmarks.needs import C_COMPILER, find
from benchmarks.processes import free_port, serving
from benchmarks.tcp_load import answers_per_second

__all__ = ["BENCHMARK"]

FILE_BYTES = 4096
CONFIGURATION = """\
daemon off;
{user}
worker_processes 1;
pid {scratch}/nginx.pid;
error_log stderr;
events {{ worker_connections 256; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    client_body_temp_path {scratch}/body;
    proxy_temp_path {scratch}/proxy;
    fastcgi_temp_path {scratch}/fastcgi;
    uwsgi_temp_path {scratch}/uwsgi;
    scgi_temp_path {scratch}/scgi;
    server {{
        listen 127.0.0.1:{port};
        root {scratch}/pages;
        location = /return {{ return 200 "hello\\n"; }}
    }}
}}
"""


def measure(this: Run) -> dict[str, float]:
    """Requests per second, by page."""
    port = free_port()
    configuration = configure(this.scratch, port)
    command = [find("nginx"), "-e", "stderr", "-p", str(this.scratch), "-c", str(configuration)]
    with serving(this.arm.start(command), port, this.scratch):
        return {
            page: answers_per_second(this, port, request_for(page), begins=b"HTTP/1.1 200 OK\r\n")
            for page in ("file", "return")
        }


def configure(scratch: Path, port: int) -> Path:
    """Write nginx's configuration and its one page; every path that nginx writes to is in `scratch`."""
    (scratch / "pages").mkdir(exist_ok=True)
    (scratch / "pages" / "file").write_bytes(b"x" * FILE_BYTES)
    # Workers of another user could not read the scratch directory.
    user = "user root;" if os.geteuid() == 0 else ""
    configuration = scratch / "nginx.conf"
    configuration.write_text(CONFIGURATION.format(user=user, scratch=scratch, port=port))
    return configuration


def request_for(page: str) -> bytes:
    """A request that keeps the connection."""
    return f"GET /{page} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()


BENCHMARK = Benchmark(
    name="nginx",
    quantities=tuple(
        Quantity(key=page, what=what, unit="req/s", better=Better.MORE, group=Group.SERVERS, goal=speed(0.98))
        for page, what in (("file", "nginx, a file of 4 KiB"), ("return", "nginx, its own answer"))
    ),
    needs=(Need(program="nginx", package="nginx-light"), C_COMPILER),
    measure=measure,
    baseline=native,
    candidate=enclaved,
)
