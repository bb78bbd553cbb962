"""A key service on the loopback that speaks the transit API of Vault and OpenBao, and fails when it is told to.

Made after their documentation, with none of the client's code. Keys are AES-256-GCM; a ciphertext is `vault:vN:` and
the base64 of nonce, ciphertext and tag, as theirs.
"""

import base64
import json
import os
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from cloister.serve.first_start import self_signed

__all__ = ["TOKEN", "KeyService", "key_service"]

TOKEN = "hvs.CAESIJlU02LFZ1HTs-not-a-real-token"


@dataclass
class KeyService:
    """The server's state. `fault` is what it does instead of answering; `heeds` is whether it binds associated data."""

    directory: Path
    port: int = 0
    token: str = TOKEN
    keys: list[bytes] = field(default_factory=lambda: [os.urandom(32)])
    lowest: int = 1
    fault: str = ""
    heeds: bool = True
    asked: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}/v1/transit/keys/cloister"

    @property
    def ca(self) -> Path:
        return self.directory / "ca.pem"

    @property
    def token_file(self) -> Path:
        return self.directory / "kms-token"

    @property
    def kek(self) -> str:
        """As `--kek` has it."""
        return f"kms={self.url},ca={self.ca},token={self.token_file}"

    def rotate(self) -> None:
        """A new version of the key, as POST /v1/transit/keys/NAME/rotate makes."""
        self.keys.append(os.urandom(32))

    def answer(self, path: str, token: str | None, body: dict[str, Any]) -> tuple[int, Any]:
        if token != self.token:
            return 403, {"errors": ["permission denied"]}
        if path not in {"/v1/transit/encrypt/cloister", "/v1/transit/decrypt/cloister"}:
            return 404, {"errors": []}
        context = base64.b64decode(body.get("associated_data", ""), validate=True) if self.heeds else b""
        try:
            data = self.encrypt(body, context) if "/encrypt/" in path else self.decrypt(body, context)
        except (ValueError, InvalidTag, KeyError, IndexError):
            return 400, {"errors": ["invalid ciphertext: unable to decrypt"]}
        about = {"request_id": "9a4c0b1e", "lease_id": "", "renewable": False, "lease_duration": 0}
        return 200, {**about, "data": data, "wrap_info": None, "warnings": None, "auth": None, "mount_type": "transit"}

    def encrypt(self, body: dict[str, Any], context: bytes) -> dict[str, Any]:
        nonce, version = os.urandom(12), len(self.keys)
        plaintext = base64.b64decode(body["plaintext"], validate=True)
        text = base64.b64encode(nonce + AESGCM(self.keys[-1]).encrypt(nonce, plaintext, context)).decode()
        return {"ciphertext": f"vault:v{version}:{text}", "key_version": version}

    def decrypt(self, body: dict[str, Any], context: bytes) -> dict[str, Any]:
        _, version, text = body["ciphertext"].split(":")
        number = int(version[1:])
        if number < self.lowest:
            raise ValueError("ciphertext or signature version is disallowed by policy (too old)")
        data = base64.b64decode(text, validate=True)
        plain = AESGCM(self.keys[number - 1]).decrypt(data[:12], data[12:], context)
        return {"plaintext": base64.b64encode(plain).decode()}


class Answering(BaseHTTPRequestHandler):
    service: KeyService

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.service.asked.append((self.path, self.headers.get("X-Vault-Token", ""), body))
        fault = self.service.fault
        if fault == "silence":
            time.sleep(3)
        elif fault == "dripping":
            self.drip()
        elif fault == "hang up":
            self.close_connection = True
        elif fault == "enormous":
            self.send(200, b'{"data": {"plaintext": "' + b"A" * (1 << 20) + b'"}}')
        elif fault.isdecimal():
            self.send(int(fault), b'{"errors": ["hvs.quoted-by-the-service"]}')
        elif fault:
            self.send(200, fault.encode())
        else:
            status, document = self.service.answer(self.path, self.headers.get("X-Vault-Token"), body)
            self.send(status, json.dumps(document).encode())

    def send(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        if status == 307:
            self.send_header("Location", f"https://127.0.0.1:{self.service.port}/v1/elsewhere")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def drip(self) -> None:
        """A byte now and then: no read ever times out."""
        self.send_response(200)
        self.end_headers()
        for _ in range(60):
            self.wfile.write(b" ")
            time.sleep(0.05)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
        """Quiet."""


class Quiet(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients hang up: that is what is tested."""


@contextmanager
def key_service(directory: Path) -> Iterator[KeyService]:
    """A running one; its certificate and the token are in the directory."""
    service = KeyService(directory)
    certificate, key = self_signed("127.0.0.1", datetime.now(UTC))
    service.ca.write_bytes(certificate)
    (directory / "kms-key.pem").write_bytes(key)
    service.token_file.touch(mode=0o600)
    service.token_file.write_text(TOKEN + "\n")
    server = Quiet(("127.0.0.1", 0), type("Bound", (Answering,), {"service": service}))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(service.ca, directory / "kms-key.pem")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    service.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield service
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
