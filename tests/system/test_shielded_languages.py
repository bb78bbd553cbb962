"""Servers and clients with event loops of their own (Go, Node, asyncio, memcached) behind the network shield."""

import contextlib
import http.client
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from tests.property.tls_pieces.identities import known
from tests.system.arms import CLOISTER_ENVIRONMENT, PATH
from tests.system.service import Service, serving
from tests.system.shielded_network import Shielded, client_context, shielded_on

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_runtime]

PAGE = 300_000
GO = """
package main
import ("fmt"; "io"; "net/http"; "os"; "strings")
func main() {
    if os.Args[1] == "get" {
        answer, err := http.Get("http://127.0.0.1:" + os.Args[2])
        if err != nil { panic(err) }
        page, _ := io.ReadAll(answer.Body)
        fmt.Println(len(page))
        return
    }
    http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
        n, _ := io.Copy(io.Discard, r.Body)
        if n > 0 { fmt.Fprint(w, n) } else { io.WriteString(w, strings.Repeat("x", 300000)) }
    })
    panic(http.ListenAndServe("127.0.0.1:" + os.Args[2], nil))
}
"""
NODE = """
const http = require('http'), [verb, port] = process.argv.slice(2);
if (verb == 'get') http.get('http://127.0.0.1:' + port, answer => {
    let n = 0;
    answer.on('data', data => n += data.length);
    answer.on('end', () => { console.log(n); process.exit(0); });
});
else http.createServer((request, answer) => {
    let n = 0;
    request.on('data', data => n += data.length);
    request.on('end', () => answer.end(n ? String(n) : 'x'.repeat(300000)));
}).listen(+port, '127.0.0.1');
"""
ASYNCIO = """
import asyncio, sys
verb, port = sys.argv[1:]
async def get():
    reader, writer = await asyncio.open_connection("127.0.0.1", int(port))
    writer.write(b"GET / HTTP/1.0\\r\\n\\r\\n")
    head = await reader.readuntil(b"\\r\\n\\r\\n")
    length = int(head.lower().split(b"content-length:")[1].split()[0]) if b"ength" in head else 300000
    print(len(await reader.readexactly(length)))
async def answer(reader, writer):
    while True:
        head = await reader.readuntil(b"\\r\\n\\r\\n")
        length = int(head.lower().split(b"content-length:")[1].split()[0]) if b"ength:" in head else 0
        body = await reader.readexactly(length)
        text = str(len(body)).encode() if body else b"x" * 300000
        writer.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n" % len(text) + text)
        await writer.drain()
async def serve():
    async with await asyncio.start_server(answer, "127.0.0.1", int(port)) as server:
        await server.serve_forever()
asyncio.run(get() if verb == "get" else serve())
"""


def words_of(language: str, folder: Path) -> list[str]:
    if language == "asyncio":
        return [os.path.realpath(sys.executable), "-c", ASYNCIO]
    if language == "node":
        (folder / "server.js").write_text(NODE)
        return ["node", str(folder / "server.js")]
    (folder / "main.go").write_text(GO)
    environment = {"PATH": PATH, "HOME": str(folder), "GOCACHE": str(folder / "cache"), "GOFLAGS": "-mod=mod"}
    command = ["go", "build", "-o", "server", "main.go"]
    subprocess.run(command, cwd=folder, env=environment, check=True, timeout=100, capture_output=True)
    return [str(folder / "server")]


def visit(port: int, found: "list[int | bytes]") -> None:
    """Several requests on one connection."""
    connection = http.client.HTTPSConnection("localhost", port, timeout=30, context=client_context())
    with contextlib.closing(connection):
        for _ in range(5):
            connection.request("GET", "/")
            found.append(len(connection.getresponse().read()))
            connection.request("PUT", "/", b"y" * 1_000_000)
            found.append(connection.getresponse().read())


@pytest.mark.timeout(200)
@pytest.mark.parametrize(
    "language",
    [
        pytest.param("go", marks=pytest.mark.needs_program("go")),
        pytest.param("node", marks=pytest.mark.needs_program("node")),
        "asyncio",
    ],
)
def test_a_server_and_its_client(tmp_path: Path, language: str) -> None:
    """Both inside, of one port; and visitors from outside at once."""
    shielded, port = shielded_on(tmp_path)
    words = words_of(language, tmp_path)
    argv = [*words, "serve", str(port)]
    with serving(shielded.words("enclaved", argv), port=port, cwd=tmp_path, env=CLOISTER_ENVIRONMENT) as service:
        service.connect().close()
        found: list[int | bytes] = []
        threads = [threading.Thread(target=visit, args=(port, found)) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(map(str, found)) == sorted(map(str, [PAGE, b"1000000"] * 30)), service.log.read_text()
        client = Shielded(tmp_path / "client", connect=[(port, known("p256"))])
        client.folder.mkdir()
        got = client.run([*words, "get", str(port)])
        assert (got.stdout, got.stderr) == (b"%d\n" % PAGE, b"")


@pytest.mark.needs_program("memcached")
def test_memcached(tmp_path: Path) -> None:
    shielded, port = shielded_on(tmp_path)
    argv = ["memcached", "-u", "root", "-l", "127.0.0.1", "-p", str(port), "-t", "2"]
    value = os.urandom(500_000)
    with serving(shielded.words("enclaved", argv), port=port, cwd=tmp_path, env=CLOISTER_ENVIRONMENT) as service:
        for number in range(8):
            with connected(service) as tls:
                tls.sendall(b"set key%d 0 0 %d\r\n%s\r\n" % (number, len(value), value))
                assert tls.recv(100) == b"STORED\r\n"
                tls.sendall(b"get key%d\r\n" % number)
                answer = b""
                while not answer.endswith(b"END\r\n"):
                    answer += tls.recv(1 << 16)
                assert answer == b"VALUE key%d 0 %d\r\n%s\r\nEND\r\n" % (number, len(value), value)


def connected(service: Service) -> socket.socket:
    return client_context().wrap_socket(service.connect(), server_hostname="localhost")
