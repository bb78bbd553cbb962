"""nginx with workers and a shared zone; TLS by openssl; an HTTP server and clients in Python and curl."""

import contextlib
import http.client
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.system.arms import ARMS, ENVIRONMENT, Arm, command
from tests.system.conftest import MemoryProof
from tests.system.conversation import Conversation
from tests.system.process_tree import moments, tree
from tests.system.service import Service, free_port, serving

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_runtime]

PAGE = bytes(range(256)) * 4000
NGINX = """
daemon off; worker_processes 2; pid {cwd}/nginx.pid; error_log stderr notice;
events {{ worker_connections 64; }}
http {{
  access_log {cwd}/access.log; keepalive_timeout 60; keepalive_requests 1000;
  client_body_temp_path {cwd}/body; proxy_temp_path {cwd}/proxy; fastcgi_temp_path {cwd}/fastcgi;
  uwsgi_temp_path {cwd}/uwsgi; scgi_temp_path {cwd}/scgi;
  limit_req_zone $http_x_secret zone=shared:1m rate=1r/m;
  server {{
    listen 127.0.0.1:{port} reuseport;
    location /once {{ limit_req zone=shared; root {cwd}/site; }}
    location /who {{ return 200 "$pid $http_x_secret"; }}
    location / {{ root {cwd}/site; }}
  }}
}}
"""
HTTP_SERVER = """
import sys, http.server as h
kept = open('secret').read()
h.test(h.SimpleHTTPRequestHandler, h.ThreadingHTTPServer, port=int(sys.argv[1]), bind='127.0.0.1')
"""


@contextlib.contextmanager
def nginx(arm: Arm, cwd: Path) -> Iterator[Service]:
    port = free_port()
    (cwd / "site").mkdir(parents=True)
    (cwd / "site" / "page.bin").write_bytes(PAGE)
    (cwd / "site" / "once").write_text("once")
    (cwd / "nginx.conf").write_text("user root;" + NGINX.format(cwd=cwd, port=port))
    argv = ["nginx", "-p", str(cwd), "-c", str(cwd / "nginx.conf"), "-e", "stderr"]
    with serving(command(arm, argv), port=port, cwd=cwd) as service:
        service.connect().close()
        yield service


def visit(service: Service, marker: bytes) -> set[int]:
    """Requests until both workers have answered one with the marker in it; returns the workers."""
    workers: set[int] = set()
    connections: list[http.client.HTTPConnection] = []
    for _ in range(100):
        connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=20)
        connections.append(connection)
        for _ in range(3):  # on one connection, kept alive
            connection.request("GET", "/who", headers={"X-Secret": marker.decode()})
            pid, secret = connection.getresponse().read().split()
            assert secret == marker
            workers.add(int(pid))
        if len(workers) == 2:
            break
    for connection in connections:
        connection.close()
    return workers


def status(service: Service, path: str, marker: bytes) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=20)
    with contextlib.closing(connection):
        connection.request("GET", path, headers={"X-Secret": marker.decode()})
        return connection.getresponse().status


@pytest.mark.needs_program("nginx")
def test_nginx(memory_proof: MemoryProof, marker: bytes, tmp_path: Path) -> None:
    with nginx("native", tmp_path / "native") as native, nginx("enclaved", tmp_path / "enclaved") as enclaved:
        workers = [visit(service, marker) for service in (native, enclaved)]
        assert [len(pids) for pids in workers] == [2, 2]
        for service in (native, enclaved):
            answers = [status(service, "/once", marker) for _ in range(12)]
            assert answers == [200] + [503] * 11, "whichever worker answers, the zone they share has counted"
            page = service.ask(b"GET /page.bin HTTP/1.0\r\n\r\n", end=PAGE)
            assert page.startswith(b"HTTP/1.1 200 OK\r\n")
        proof = memory_proof([native.pid, *workers[0]], [enclaved.pid, *workers[1]], marker)
        assert native.pid in proof.native.holders, "the shared zone is in the master too"
        for service in (native, enclaved):
            reload_workers(service)
            assert service.stop(signal.SIGQUIT) == 0


def reload_workers(service: Service) -> None:
    """SIGHUP: new workers, the old ones end."""
    before = set(tree([service.pid]))
    os.kill(service.pid, signal.SIGHUP)
    for _ in moments(20):
        now = {pid for pid, process in tree([service.pid]).items() if process.name == "nginx" and pid != service.pid}
        if len(now) == 2 and not now & before:
            break
    else:
        raise AssertionError(f"the workers were not replaced: {service.log.read_text()}")
    assert status(service, "/page.bin", b"x") == 200


@pytest.mark.needs_program("openssl")
def test_tls_between_two_enclaves(memory_proof: MemoryProof, marker: bytes, tmp_path: Path) -> None:
    """Server and client of one connection, in each arm; the marker goes through TLS and is in both."""
    for arm in ARMS:
        (tmp_path / arm).mkdir()
        make_certificate(arm, tmp_path / arm)
    with contextlib.ExitStack() as stack:
        pairs = [stack.enter_context(tls_pair(arm, tmp_path / arm)) for arm in ARMS]
        for server, client in pairs:
            client.send(marker + b"\n")
            server.expect(re.escape(marker))
            server.send(b"back " + marker + b"\n")
            client.expect(b"back " + re.escape(marker))
        proof = memory_proof([one.pid for one in pairs[0]], [pairs[1][0].pid], marker)
        assert {one.pid for one in pairs[0]} <= proof.native.holders
        memory_proof([pairs[0][1].pid], [pairs[1][1].pid], marker)
        for server, client in pairs:
            assert client.finish().status == 0
            server.finish()


def make_certificate(arm: Arm, cwd: Path) -> None:
    argv = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-days", "2"]
    subprocess.run(
        command(arm, [*argv, "-keyout", "key.pem", "-out", "cert.pem"]),
        cwd=cwd, env=ENVIRONMENT, capture_output=True, timeout=60, check=True,
    )  # fmt: skip


@contextlib.contextmanager
def tls_pair(arm: Arm, cwd: Path) -> Iterator[tuple[Conversation, Conversation]]:
    port = free_port()
    serve = [
        "openssl",
        "s_server",
        "-accept",
        f"127.0.0.1:{port}",
        "-cert",
        "cert.pem",
        "-key",
        "key.pem",
        "-naccept",
        "1",
    ]
    call = [
        "openssl",
        "s_client",
        "-connect",
        f"127.0.0.1:{port}",
        "-CAfile",
        "cert.pem",
        "-verify_return_error",
        "-quiet",
        "-no_ign_eof",
    ]
    with Conversation(command(arm, serve), cwd=cwd) as server:
        server.expect(b"ACCEPT")
        with Conversation(command(arm, call), cwd=cwd) as client:
            yield server, client


@pytest.mark.needs_program("openssl")
def test_keys_and_ciphers_of_one_arm_serve_the_other(tmp_path: Path) -> None:
    def openssl(arm: Arm, *words: str, data: bytes = b"") -> bytes:
        argv = command(arm, ["openssl", *words])
        return subprocess.run(
            argv, cwd=tmp_path, env=ENVIRONMENT, input=data, capture_output=True, timeout=60, check=True
        ).stdout

    data = os.urandom(100_000)
    for arm, other in zip(ARMS, reversed(ARMS), strict=True):
        openssl(arm, "genrsa", "-out", f"{arm}.pem", "2048")
        openssl(arm, "rsa", "-in", f"{arm}.pem", "-pubout", "-out", f"{arm}.pub")
        (tmp_path / "signature").write_bytes(openssl(arm, "dgst", "-sha256", "-sign", f"{arm}.pem", data=data))
        assert b"Verified OK" in openssl(
            other, "dgst", "-sha256", "-verify", f"{arm}.pub", "-signature", "signature", data=data
        )
        cipher = ("enc", "-aes-256-ctr", "-pbkdf2", "-pass", "pass:test")
        assert openssl(other, *cipher, "-d", data=openssl(arm, *cipher, data=data)) == data


@pytest.mark.needs_program("/usr/bin/python3", "curl")
def test_python_serves_curl(memory_proof: MemoryProof, marker: bytes, tmp_path: Path) -> None:
    """The secret is what the server holds and the client fetches."""
    (tmp_path / "secret").write_bytes(marker)
    with contextlib.ExitStack() as stack:
        services = []
        for arm in ARMS:
            port = free_port()
            argv = command(arm, ["/usr/bin/python3", "-c", HTTP_SERVER, str(port)])
            services.append(stack.enter_context(serving(argv, port=port, cwd=tmp_path)))
        for arm, service in zip(ARMS, services, strict=True):
            assert service.ask(b"GET /secret HTTP/1.0\r\n\r\n", end=marker).endswith(marker)
            argv = command(arm, ["curl", "-sS", "--noproxy", "*", f"http://127.0.0.1:{service.port}/secret"])
            assert subprocess.run(argv, env=ENVIRONMENT, capture_output=True, timeout=30, check=True).stdout == marker
        memory_proof([services[0].pid], [services[1].pid], marker)
