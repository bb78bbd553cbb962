"""nginx, redis, curl and bash behind the network shield: set up without TLS, and only TLS leaves them."""

import contextlib
import http.client
import http.server
import os
import secrets
import signal
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.property.tls_pieces.identities import Known, known
from tests.system.arms import CLOISTER_ENVIRONMENT, PATH
from tests.system.process_tree import tree
from tests.system.service import Service, free_port, serving
from tests.system.shielded_network import Shielded, capturing, client_context, shielded_on

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_runtime]

MARKER = secrets.token_hex(16).encode()
PAGE = MARKER + os.urandom(1_500_000) + MARKER
NGINX = """
daemon off; user root; worker_processes 2; pid {cwd}/nginx.pid; error_log stderr notice;
events {{ worker_connections 64; }}
http {{
  access_log off; sendfile {sendfile}; tcp_nopush on; keepalive_timeout 60;
  client_body_temp_path {cwd}/body; proxy_temp_path {cwd}/proxy; fastcgi_temp_path {cwd}/fastcgi;
  uwsgi_temp_path {cwd}/uwsgi; scgi_temp_path {cwd}/scgi;
  server {{
    listen 127.0.0.1:{port}; client_max_body_size 10m; root {cwd}/site;
    location /up/ {{ dav_methods PUT; }}
    location /who {{ return 200 "$pid $http_x_secret"; }}
  }}
}}
"""


@contextlib.contextmanager
def nginx(shielded: Shielded, port: int, sendfile: str) -> Iterator[Service]:
    cwd = shielded.folder
    (cwd / "site" / "up").mkdir(parents=True)
    (cwd / "site" / "page").write_bytes(PAGE)
    (cwd / "nginx.conf").write_text(NGINX.format(cwd=cwd, port=port, sendfile=sendfile))
    argv = ["nginx", "-p", str(cwd), "-c", str(cwd / "nginx.conf"), "-e", "stderr"]
    with serving(shielded.words("enclaved", argv), port=port, cwd=cwd, env=CLOISTER_ENVIRONMENT) as service:
        service.connect().close()
        yield service


def https(port: int) -> http.client.HTTPSConnection:
    return http.client.HTTPSConnection("localhost", port, timeout=20, context=client_context())


def ask(connection: http.client.HTTPConnection, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
    connection.request(method, path, body, headers={"X-Secret": MARKER.decode()})
    answer = connection.getresponse()
    return answer.status, answer.read()


@pytest.mark.needs_program("nginx")
@pytest.mark.parametrize("sendfile", ["on", "off"])
def test_nginx(tmp_path: Path, sendfile: str) -> None:
    shielded, port = shielded_on(tmp_path)
    with capturing(port) as capture, nginx(shielded, port, sendfile) as service:
        workers = set()
        connections = [https(port) for _ in range(8)]
        for connection in connections:
            for _ in range(3):
                status, answer = ask(connection, "GET", "/who")
                pid, secret = answer.split()
                assert (status, secret) == (200, MARKER)
                workers.add(int(pid))
            assert ask(connection, "GET", "/page") == (200, PAGE)
            assert ask(connection, "PUT", "/up/one", PAGE)[0] in {201, 204}
            assert (tmp_path / "site" / "up" / "one").read_bytes() == PAGE
        assert workers <= set(tree([service.pid]))
        os.kill(service.pid, signal.SIGHUP)  # new workers; the old ones finish what they have
        assert ask(connections[0], "GET", "/page") == (200, PAGE)
        with contextlib.closing(https(port)) as connection:
            assert ask(connection, "GET", "/page") == (200, PAGE)
        for connection in connections:
            connection.close()
        assert plain_answer(port) == b"", "whoever speaks without TLS, gets no answer"
        assert service.stop(signal.SIGQUIT) == 0
    assert len(capture.data) > 8 * len(PAGE)
    assert MARKER not in capture.data
    assert b"HTTP/1." not in capture.data.replace(
        b"GET / HTTP/1.0\r\n\r\n", b""
    )  # but what plain_answer itself has said


def plain_answer(port: int) -> bytes:
    """What HTTP without TLS gets, beside TLS's own alert."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
        answer = b""
        with contextlib.suppress(ConnectionResetError):
            while data := connection.recv(1 << 16):
                answer += data
    return answer if not answer.startswith(b"\x15\x03") or len(answer) != 7 else b""


@pytest.mark.needs_program("nginx")
def test_what_a_capture_shows_without_the_shield(tmp_path: Path) -> None:
    """The control: the same capture of the same program finds the marker."""
    port = free_port()
    shielded = Shielded(tmp_path)
    (tmp_path / "site").mkdir()
    (tmp_path / "nginx.conf").write_text(NGINX.format(cwd=tmp_path, port=port, sendfile="on"))
    argv = ["nginx", "-p", str(tmp_path), "-c", str(tmp_path / "nginx.conf"), "-e", "stderr"]
    with capturing(port) as capture, serving(shielded.words("native", argv), port=port, cwd=tmp_path) as service:
        service.connect().close()
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=20)) as connection:
            assert ask(connection, "GET", "/who")[0] == 200
        service.stop(signal.SIGQUIT)
    assert MARKER in capture.data


@pytest.mark.needs_program("redis-server", "redis-cli")
def test_redis(tmp_path: Path) -> None:
    """A server of which redis-cli believes that it speaks TLS; and one inside that believes the opposite."""
    shielded, port = shielded_on(tmp_path)
    argv = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(tmp_path)]
    outside = ["redis-cli", "-p", str(port), "--tls", "--cacert", str(tmp_path / "cert.pem"), "--sni", "localhost"]
    client = Shielded(tmp_path / "client", connect=[(port, known("p256"))])
    client.folder.mkdir()
    with (
        capturing(port) as capture,
        serving(shielded.words("enclaved", argv), port=port, cwd=tmp_path, env=CLOISTER_ENVIRONMENT) as service,
    ):
        service.connect().close()
        value = MARKER * 20_000
        assert command([*outside, "-x", "set", "key"], value) == b"OK\n"
        assert command([*outside, "get", "key"]) == value + b"\n"
        inside = client.run(["redis-cli", "-p", str(port), "get", "key"])
        assert (inside.stdout, inside.stderr) == (value + b"\n", b"")
        many = b"".join(b"incr counter\n" for _ in range(5000))
        assert command(outside, many).split()[-1] == b"5000"
        service.stop(signal.SIGTERM)
    assert len(capture.data) > 3 * len(value)
    assert MARKER not in capture.data


def command(argv: list[str], text: bytes = b"") -> bytes:
    done = subprocess.run(argv, input=text, capture_output=True, timeout=60, check=False, env={"PATH": PATH})
    assert done.returncode == 0, done.stderr
    return done.stdout


class Handler(http.server.BaseHTTPRequestHandler):
    """Gives the page, takes anything."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.answer(PAGE)

    def do_PUT(self) -> None:
        self.answer(b"%d" % len(self.rfile.read(int(self.headers["Content-Length"]))))

    def answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def tls_server(folder: Path, who: Known) -> Iterator[int]:
    """OpenSSL's TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(who.file(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.needs_program("curl")
@pytest.mark.parametrize("kind", ["p256", "ed25519", "rsa"])
def test_curl(tmp_path: Path, kind: str) -> None:
    (tmp_path / "page").write_bytes(PAGE)
    with tls_server(tmp_path, known(kind)) as port, capturing(port) as capture:
        shielded = Shielded(tmp_path, connect=[(port, known(kind))])
        url = f"http://127.0.0.1:{port}/"
        got = shielded.run(["curl", "-sS", url])
        assert (got.stdout, got.stderr) == (PAGE, b"")
        sent = shielded.run(["curl", "-sS", "-T", str(tmp_path / "page"), url])
        assert (sent.stdout, sent.stderr) == (b"%d" % len(PAGE), b"")
    assert MARKER not in capture.data
    assert len(capture.data) > 2 * len(PAGE)


@pytest.mark.needs_program("bash")
def test_bash(tmp_path: Path) -> None:
    """A connection of the shell's own, which a program gets at the end; those executed before do not disturb it."""
    script = f"""
        exec 3<>/dev/tcp/127.0.0.1/$1
        /bin/date >/dev/null
        printf 'GET / HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n' >&3
        read -r line <&3
        echo "$line"
        head -c {len(MARKER) + 150} <&3 | grep -c -a {MARKER.decode()}
    """
    with tls_server(tmp_path, known("p256")) as port, capturing(port) as capture:
        shielded = Shielded(tmp_path, connect=[(port, known("p256"))])
        got = shielded.run(["bash", "-c", script, "bash", str(port)])
    assert (got.stdout, got.stderr) == (b"HTTP/1.1 200 OK\r\n1\n", b"")
    assert MARKER not in capture.data


FORKING = """
import http.server, socketserver, sys
class Server(socketserver.ForkingMixIn, http.server.HTTPServer):
    request_queue_size = 64
class Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass
Server(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def test_a_server_that_forks_for_each_connection(tmp_path: Path) -> None:
    """The parent closes its copy at once; the child's is the last, and says goodbye."""
    shielded, port = shielded_on(tmp_path)
    (tmp_path / "page").write_bytes(PAGE[:50_000])
    argv = [os.path.realpath(sys.executable), "-c", FORKING, str(port)]
    with serving(shielded.words("enclaved", argv), port=port, cwd=tmp_path, env=CLOISTER_ENVIRONMENT) as service:
        service.connect().close()
        answers: list[tuple[int, bytes]] = []

        def visit() -> None:
            with contextlib.closing(https(port)) as connection:
                answers.append(ask(connection, "GET", "/page"))

        threads = [threading.Thread(target=visit) for _ in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert answers == [(200, PAGE[:50_000])] * 12, service.log.read_text()
