"""nginx's own TLS against the shield's: the same nginx, which speaks in the clear there and does not know.

wrk asks over 4 connections in one thread: small answers on kept connections, large ones, and one handshake for each.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.benchmark import Better, Group, Need, NotMeasured, Quantity, Run
from benchmarks.goals import speed
from benchmarks.needs import find
from benchmarks.processes import free_port, run, serving

__all__ = ["NEEDS", "QUANTITIES", "measure"]

NEEDS = (
    Need(program="nginx", package="nginx-light"), Need(program="wrk", package="wrk"),
    Need(program="openssl", package="openssl"),
)  # fmt: skip
PAGES = {"small": 4096, "large": 4 << 20}
RATE = re.compile(r"^Requests/sec: +([\d.]+)$", re.MULTILINE)
BAD = re.compile(r"Socket errors|Non-2xx")
CONFIGURATION = """\
daemon off;
user root;
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
    ssl_certificate {scratch}/certificate.pem;
    ssl_certificate_key {scratch}/key.pem;
    ssl_protocols TLSv1.3;
    ssl_session_tickets off;
    server {{
        listen 127.0.0.1:{port}{ssl};
        root {scratch}/pages;
    }}
}}
"""
POLICY = """\
[shield]
unsafe_open_files = true
[[shield.listen]]
port = {port}
protocol = "tls"
unsafe_certificate_file = "{scratch}/certificate.pem"
unsafe_key_file = "{scratch}/key.pem"
"""
CLOISTER = (sys.executable, "-m", "cloister", "run", "--quiet", "--shield")


def row(key: str, what: str, unit: str) -> Quantity:
    """A row."""
    return Quantity(key=key, what=what, unit=unit, better=Better.MORE, group=Group.SHIELDS, goal=speed(0.9))


QUANTITIES = (
    row("large", f"TLS, answers of {PAGES['large'] >> 20} MiB", "MiB/s"),
    row("small", f"TLS, answers of {PAGES['small'] >> 10} KiB", "/s"),
    row("handshakes", "TLS, a handshake for each", "/s"),
)


def measure(this: Run) -> dict[str, float]:
    """Answers and MiB a second. The arm called `shielded` has the shield's TLS, the others nginx's."""
    with server(this) as port:
        seconds = max(1.0, 2 * this.load_seconds)
        size = PAGES["large"] >> 20
        return {
            "large": asked(port, "large", seconds) * size,
            "small": asked(port, "small", seconds),
            "handshakes": asked(port, "small", seconds, "Connection: close"),
        }


@contextmanager
def server(this: Run) -> Iterator[int]:
    """The server behind TLS; its port."""
    scratch, port = this.scratch, free_port()
    if not (scratch / "key.pem").exists():
        prepare(scratch)
    shielded = this.arm.name == "shielded"
    configuration = scratch / "nginx.conf"
    configuration.write_text(CONFIGURATION.format(scratch=scratch, port=port, ssl="" if shielded else " ssl"))
    command = [find("nginx"), "-e", "stderr", "-p", str(scratch), "-c", str(configuration)]
    policy = scratch / "shield.toml"
    policy.write_text(POLICY.format(scratch=scratch, port=port))
    start = [*CLOISTER, str(policy), "--", *command] if shielded else this.arm.start(command)
    with serving(start, port, scratch):
        yield port


def prepare(scratch: Path) -> None:
    """Pages, and a certificate with a P-256 key."""
    pages = scratch / "pages"
    pages.mkdir()
    for name, size in PAGES.items():
        (pages / name).write_bytes(b"x" * size)
    words = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=localhost"]
    run([find("openssl"), *words, "-keyout", str(scratch / "key.pem"), "-out", str(scratch / "certificate.pem")])
    (scratch / "key.pem").chmod(0o600)


def asked(port: int, page: str, seconds: float, header: str = "") -> float:
    """Answers a second; NotMeasured if one was wrong."""
    words = [find("wrk"), "-t1", "-c4", f"-d{seconds:.0f}s", *(["-H", header] if header else [])]
    done = subprocess.run(
        [*words, f"https://127.0.0.1:{port}/{page}"], capture_output=True, text=True, timeout=60, check=False
    )
    found = RATE.search(done.stdout)
    if found is None or BAD.search(done.stdout) or float(found[1]) == 0:
        raise NotMeasured(f"wrk said {(done.stdout + done.stderr)[-300:]!r}")
    return float(found[1])
