"""The only network client: GET over https, bounded in time and in size. It fetches bytes and believes none of them.

The standard library's client, not httpx: what httpx adds for a few GETs a month (redirects, decompression, cookies) is
what must not happen here. No redirect is followed, no compressed answer decoded, nothing sent but the URL. Proxies come
from the environment (https_proxy, no_proxy). What went wrong is EndorsementUnavailable: trying again is sensible.
"""

import http.client
import ipaddress
import itertools
import random
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from cloister import __version__
from cloister.endorse.connection import Budget, BudgetedHttp, BudgetedHttps, TooLarge
from cloister.errors import EndorsementUnavailable, UsageError

__all__ = ["Fetched", "Fetcher", "NotPublished", "check_url"]

LARGEST: Final = 8 << 20
"""Bytes of one answer with its headers. TCB info has about 100 kB, revocation lists less than 1 MB."""
PIECE: Final = 1 << 16
LATER: Final = frozenset({429, 500, 502, 503, 504})
"""Answers that a later attempt may change."""
ATTEMPTS: Final = 4
OFFLINE: Final = (
    "check the network and the proxy (https_proxy), or fetch on another machine and bring the files with"
    " `cloister collateral import`"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """An answer: header names are in lower case, and the last of two equal ones counts."""

    url: str
    headers: Mapping[str, str]
    body: bytes


class NotPublished(EndorsementUnavailable):
    """The service has nothing of that name (404)."""


class Fetcher:
    """Gets URLs, each once: the same URL asked again is answered from memory.

    `seconds` bounds each URL, retries and pauses included. `authorities` is a PEM file with the certificate authorities
    to believe instead of the system's, for a caching service with a certificate of its own. `told` hears what happens.
    """

    def __init__(
        self,
        *,
        seconds: float = 60.0,
        authorities: Path | None = None,
        told: Callable[[str], None] = lambda _: None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._seconds, self._told, self._sleep = seconds, told, sleep
        self._trust = trusting(authorities)
        self._known: dict[str, Fetched] = {}

    def get(self, url: str, *, absent: str = "nothing of that name is published there") -> Fetched:
        """The answer to a GET; `absent` says what it means that there is none (404).

        UsageError for a URL that is never asked, EndorsementUnavailable for everything that goes wrong.
        """
        check_url(url)
        if url not in self._known:
            self._told(url)
            self._known[url] = self._persist(url, Budget(seconds=self._seconds, size=LARGEST), absent)
        return self._known[url]

    def _persist(self, url: str, budget: Budget, absent: str) -> Fetched:
        """Ask until there is an answer that another attempt would not change."""
        for attempt in itertools.count(1):
            status, fetched = self._ask(url, budget)
            if status == http.HTTPStatus.OK:
                return fetched
            if status == http.HTTPStatus.NOT_FOUND:
                raise NotPublished(f"{url}: not found: {absent}")
            if status not in LATER:
                raise EndorsementUnavailable(f"{url}: {_meaning(status, fetched)}")
            pause = _pause(attempt, fetched.headers.get("retry-after", ""))
            if attempt == ATTEMPTS or pause >= budget.left():
                raise EndorsementUnavailable(f"{url}: {_refused(status, attempt)}")
            self._told(f"answered {status}; again in {pause:.0f} s")
            self._sleep(pause)
        raise AssertionError  # the count has no end

    def _ask(self, url: str, budget: Budget) -> tuple[int, Fetched]:
        """One request, and its answer if that is complete."""
        request = urllib.request.Request(  # noqa: S310 - check_url has allowed https, and http to this machine
            url, headers={"User-Agent": f"cloister/{__version__}", "Accept-Encoding": "identity"}
        )
        try:
            with _opener(url, budget, self._trust).open(request, timeout=budget.left()) as response:
                headers = {name.lower(): value for name, value in response.headers.items()}
                return response.status, Fetched(url=url, headers=headers, body=_body(response))
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise EndorsementUnavailable(f"{url}: {_reason(error)}") from error


def _opener(url: str, budget: Budget, trust: ssl.SSLContext) -> urllib.request.OpenerDirector:
    """What can open this URL and no other kind: no redirects, no file:, no ftp:, no cookies."""
    opener = urllib.request.OpenerDirector()
    opener.add_handler(BudgetedHttp(budget))
    opener.add_handler(BudgetedHttps(budget, trust))
    if url.startswith("https:"):  # plain http is for this machine only, so never through a proxy
        opener.add_handler(urllib.request.ProxyHandler())
    return opener


def _body(response: http.client.HTTPResponse) -> bytes:
    """The whole body, piece by piece: a length that a server announces is never allocated in advance."""
    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise http.client.HTTPException("the answer is compressed, which was not asked for")
    length = response.headers.get("Content-Length", "0")
    if not (length.isascii() and length.isdecimal()):
        raise http.client.HTTPException("the answer announces a length that is no number")
    announced, body = response.length, bytearray()
    while piece := response.read(PIECE):
        body += piece
    if announced is not None and len(body) != announced:
        raise http.client.HTTPException(f"the answer ends after {len(body)} of {announced} bytes")
    return bytes(body)


def _meaning(status: int, fetched: Fetched) -> str:
    """What an answer that will not change means."""
    if status in range(300, 400):
        return (
            f"sends elsewhere ({fetched.headers.get('location', 'nowhere')[:200]!r}), which is not followed; give --url"
        )
    if status in {401, 403}:
        return f"refuses ({status}); if this is your caching service, it may want a subscription or another address"
    return f"answered {status}, which this service does not do for what exists; check --url"


def _refused(status: int, attempts: int) -> str:
    """That trying on has no sense now."""
    if status == http.HTTPStatus.TOO_MANY_REQUESTS:
        hint = "it limits how often it may be asked: try again in some minutes; what came before is kept"
    else:
        hint = "it is out of order: try again later"
    return f"answered {status}, {attempts} times; {hint}"


def _pause(attempt: int, asked: str) -> float:
    """Seconds until the next attempt: what the server asks for, else about twice as long each time."""
    if asked.isascii() and asked.isdecimal() and len(asked) < 10:
        return float(asked)
    return 2.0 ** (attempt - 1) * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, protects nothing


def _reason(error: BaseException) -> str:
    """What happened, and what to do."""
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(cause, ssl.SSLCertVerificationError):
        return (
            f"the server's certificate is not believed ({cause.verify_message}); if it is your own caching service,"
            " give its certificate authority with --authorities FILE"
        )
    if isinstance(cause, TooLarge | http.client.HTTPException | ValueError):
        return f"not a usable answer: {cause}; check --url"
    return f"cannot be reached: {cause}; {OFFLINE}"


def check_url(url: str) -> None:
    """Refuse, by UsageError, what is not https, or http to this machine, or carries a password."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError as error:
        raise UsageError(f"{url!r} is not a URL: {error}") from error
    if not url.isascii() or not url.isprintable() or " " in url or not host or parts.fragment:
        raise UsageError(f"{url!r} is not a URL that can be fetched; give one like https://pccs.example:8081")
    if parts.username is not None or parts.password is not None:
        raise UsageError(f"the URL of {host} carries a name or password; these services need none")
    if parts.scheme != "https" and not (parts.scheme == "http" and _is_here(host)):
        raise UsageError(f"{url} is not https; plain http is for this machine only (http://127.0.0.1)")


def _is_here(host: str) -> bool:
    """Whether a host is this machine, by its address or as `localhost`."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def trusting(authorities: Path | None) -> ssl.SSLContext:
    """A TLS context that verifies, by the system's certificate authorities or by those in a PEM file."""
    try:
        return ssl.create_default_context(cafile=authorities)
    except OSError as error:
        raise UsageError(f"cannot read certificate authorities from {authorities}: {error}; give a PEM file") from error
