"""A key in a key service: the transit engine of HashiCorp Vault, which OpenBao has too.

    POST /v1/MOUNT/encrypt/NAME   {"plaintext": BASE64, "associated_data": BASE64} -> {"data": {"ciphertext": TEXT}}
    POST /v1/MOUNT/decrypt/NAME   {"ciphertext": TEXT, "associated_data": BASE64}  -> {"data": {"plaintext": BASE64}}
    X-Vault-Token: TOKEN

The token is read from its file at each request, so that an agent may renew it. Nothing that goes wrong denies a
release: it is Undecided, and nothing else is tried instead. What the service says in words is
never repeated: it may quote.
"""

import base64
import http.client
import json
import os
import re
import ssl
import stat
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NoReturn
from urllib.parse import urlsplit

from cloister import _json
from cloister.broker.secrets_key import SecretUnreadable
from cloister.endorse.connection import Budget, BudgetedHttps, TooLarge
from cloister.errors import ParseError, Undecided, UsageError

__all__ = ["TransitKey"]

SECONDS: Final = 10.0
"""For everything that one request takes."""
LARGEST: Final = 1 << 16
"""Bytes of an answer with its headers."""
KEY_PATH: Final = re.compile(r"/v1(?P<mount>(/[A-Za-z0-9._-]+)+)/keys/(?P<name>[A-Za-z0-9._-]+)")
CIPHERTEXT: Final = re.compile(r"[a-z]+:v[1-9][0-9]{0,8}:[A-Za-z0-9+/=_-]{1,4096}")
TOKEN: Final = re.compile(r"[\x21-\x7e]{1,4096}")
MEANINGS: Final = {
    307: "answers from another node, which is not followed: give the address of the active node",
    308: "sends elsewhere, which is not followed",
    400: "refuses the request",
    403: "refuses the token, or the token's policy does not allow this",
    404: "has no such engine or key",
    429: "is asked too often",
    503: "is sealed or in maintenance",
}


@dataclass(frozen=True, slots=True)
class _Refused:
    """An answer that is no document: its status."""

    status: int


@dataclass(frozen=True, kw_only=True)
class TransitKey:
    """The key at `https://HOST:PORT/v1/MOUNT/keys/NAME`. `ca`: the certificates, in PEM, that are believed, no others.

    UsageError for a URL, file or token that cannot be.
    """

    url: str
    ca: Path
    token_file: Path
    seconds: float = SECONDS
    _trust: ssl.SSLContext = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Look at everything that can be wrong before anybody is asked."""
        parts = urlsplit(self.url)
        if parts.scheme != "https" or not parts.hostname or "@" in parts.netloc:
            raise UsageError(f"--kek {self.url}: a key service has a URL like https://HOST:8200/v1/transit/keys/NAME")
        found = KEY_PATH.fullmatch(parts.path)
        if found is None or parts.query or parts.fragment or ".." in parts.path:
            raise UsageError(f"--kek {self.url}: the path is /v1/MOUNT/keys/NAME, like /v1/transit/keys/cloister")
        try:
            object.__setattr__(self, "_trust", ssl.create_default_context(cafile=self.ca))
        except OSError as error:
            raise UsageError(f"{self.ca}: no certificates in PEM ({error.strerror or 'unreadable'})") from None
        self._token()

    @property
    def identifier(self) -> str:
        """Its URL."""
        return f"kms {self.url}"

    def wrap(self, key: bytes, context: bytes) -> bytes:
        """The key, under the newest version of the one in the service, which is seen to heed the context.

        A service that ignores `associated_data`, as old ones do, would let what is stored be put in another's place.
        """
        found = self._ask("encrypt", plaintext=_text(key), associated_data=_text(context))
        ciphertext = self._member(found, "ciphertext")
        if not CIPHERTEXT.fullmatch(ciphertext):
            raise Undecided(f"{self.url}: the key service answers with something else than a ciphertext")
        other = self._ask("decrypt", ciphertext=ciphertext, associated_data=_text(b"another\n" + context))
        if not isinstance(other, _Refused):
            raise UsageError(
                f"{self.url}: this key service ignores `associated_data`; Vault 1.13 and OpenBao heed it, for keys of"
                " type aes256-gcm96, aes128-gcm96 and chacha20-poly1305"
            )
        if other.status != http.HTTPStatus.BAD_REQUEST:
            self._refuse(other)
        return ciphertext.encode()

    def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        """The key again, whatever version of the service's key was used."""
        try:
            ciphertext = wrapped.decode("ascii")
        except UnicodeDecodeError:
            ciphertext = ""
        if not CIPHERTEXT.fullmatch(ciphertext):
            raise SecretUnreadable("what the database holds is no ciphertext of a key service: it was changed")
        found = self._ask("decrypt", ciphertext=ciphertext, associated_data=_text(context))
        if isinstance(found, _Refused) and found.status == http.HTTPStatus.BAD_REQUEST:
            raise SecretUnreadable(
                f"{self.url}: the key service does not open what the database holds: it was changed, it is of another"
                " key, or its version is below the key's min_decryption_version"
            )
        try:
            return base64.b64decode(self._member(found, "plaintext"), validate=True)
        except ValueError:
            raise Undecided(f"{self.url}: the key service answers with something else than a key") from None

    def _ask(self, what: str, **members: str) -> dict[str, object] | _Refused:
        """The `data` of an answer, or its status."""
        try:
            token = self._token()
        except UsageError as error:
            raise Undecided(str(error)) from None
        parts = urlsplit(self.url)
        mount, _, name = parts.path.rpartition("/keys/")
        request = urllib.request.Request(
            f"https://{parts.netloc}{mount}/{what}/{name}", json.dumps(members).encode(), method="POST",
            headers={"X-Vault-Token": token, "X-Vault-Request": "true", "Content-Type": "application/json"},
        )  # fmt: skip
        budget = Budget(seconds=self.seconds, size=LARGEST)
        opener = urllib.request.OpenerDirector()  # with this one handler: no redirect, proxy, cookie or other scheme
        opener.add_handler(BudgetedHttps(budget, self._trust))
        try:
            with opener.open(request, timeout=budget.left()) as response:
                status, body = response.status, response.read()
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise Undecided(f"{self.url}: the key service {_reason(error)}") from None
        return self._data(body) if status == http.HTTPStatus.OK else _Refused(status)

    def _data(self, body: bytes) -> dict[str, object]:
        try:
            document = _json.loads(body, "answer")
        except ParseError:
            document = None
        data = document.get("data") if isinstance(document, dict) else None
        if not isinstance(data, dict):
            raise Undecided(f"{self.url}: the key service answers with something else than the transit engine does")
        return data

    def _member(self, found: dict[str, object] | _Refused, name: str) -> str:
        if isinstance(found, _Refused):
            self._refuse(found)
        value = found.get(name)
        if not isinstance(value, str):
            raise Undecided(f"{self.url}: the key service answers without `{name}`")
        return value

    def _refuse(self, found: _Refused) -> NoReturn:
        meaning = MEANINGS.get(found.status, "is out of order" if found.status >= 500 else "answers strangely")
        raise Undecided(f"{self.url}: the key service {meaning} ({found.status})")

    def _token(self) -> str:
        try:
            with self.token_file.open() as file:
                mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
                token = file.read(4097).strip()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"cannot read {self.token_file}: {type(error).__name__}") from None
        if mode & 0o077:
            raise UsageError(f"{self.token_file}: others can read this token (mode {mode:04o}); give it mode 0600")
        if not TOKEN.fullmatch(token):
            raise UsageError(f"{self.token_file}: is no token: one line of printable characters")
        return token


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _reason(error: Exception) -> str:
    """What happened. Never what the other side said."""
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"shows a certificate that is not believed ({cause.verify_message})"
    if isinstance(cause, TooLarge):
        return "answers more than a key service has to say"
    if isinstance(cause, TimeoutError):
        return "does not answer in time"
    if isinstance(cause, OSError):
        return f"cannot be reached ({cause.strerror or type(cause).__name__})"
    return "breaks off, or speaks no HTTP"
