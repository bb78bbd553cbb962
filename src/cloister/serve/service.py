"""One service, put together from what it is told to be."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from starlette.routing import Route

from cloister.broker.audit import AuditLog
from cloister.broker.flow import Broker
from cloister.broker.nonces import Challenges
from cloister.broker.secrets_vault import Vault
from cloister.broker.store import Store, open_database
from cloister.broker.store_sessions import SessionShelf
from cloister.result.jwk import thumbprint
from cloister.result.keys import VerificationKey
from cloister.result.signing import SigningKey
from cloister.serve.admin import AdminApi
from cloister.serve.app import Application, common_routes
from cloister.serve.appraiser import Appraising
from cloister.serve.callers import Callers
from cloister.serve.first_start import State, shared
from cloister.serve.journal import Journal
from cloister.serve.kbs import KbsApi
from cloister.serve.keys.opening import KeksAt, key_file, open_keyring
from cloister.serve.metrics import Metrics
from cloister.serve.openapi import openapi
from cloister.serve.session_api import SessionApi
from cloister.serve.veraison import VeraisonApi
from cloister.serve.workers import Workers

__all__ = ["Service", "Settings"]

SESSION: Final = timedelta(minutes=5)


def now() -> datetime:
    """The time, UTC."""
    return datetime.now(UTC)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a service is. `verifier_keys`: verifiers that are believed beside its own.

    `certificate`: SHA-256 of the one that clients see, in hexadecimal; empty if it is not known here.
    """

    state: Path
    appraiser: Callable[[SigningKey], Appraising]
    """Makes the verifier, which signs with this key."""
    database: str = ""
    verifier: bool = True
    broker: bool = True
    secure_cookie: bool = True
    certificate: str = ""
    verifier_keys: tuple[VerificationKey, ...] = ()
    lifetime: timedelta = SESSION
    """Of challenges and of the results that answer them."""
    clock: Callable[[], datetime] = field(default=now)
    keks: KeksAt = key_file
    """What holds the key-encryption key."""


class Service:
    """The parts of a running service. `close` lets go of the audit log and the database.

    Raises UsageError for what cannot be used, DatabaseUnavailable where the database does not answer.
    """

    def __init__(self, settings: Settings, journal: Journal) -> None:
        self.settings, self.state = settings, State(settings.state)
        with contextlib.ExitStack() as opened:
            database = open_database(settings.database or str(settings.state / "broker.db"))
            opened.callback(database.close)
            self.store = Store(database, settings.clock)
            key = open_keyring(self.store, settings.keks(settings.state))
            self.shared = shared(self.store, key)
            self.state.show_broker_key(self.shared.sealing)
            self.audit = AuditLog.open(settings.state / "audit.log", self.state.audit_key(), settings.clock)
            opened.callback(self.audit.close)
            self.vault = Vault(self.store, key, settings.clock)
            self.shelf = SessionShelf(self.store, key, settings.clock)
            self._challenges = Challenges(self.shared.challenges, settings.clock, lifetime=settings.lifetime)
            self.workers, self.metrics = Workers(), Metrics()
            self.application = Application(self._routes(), journal, self.metrics)
            opened.pop_all()

    def close(self) -> None:
        """Finish what is being done, then close everything."""
        self.workers.close()
        self.audit.close()
        self.store.close()

    def _routes(self) -> list[Route]:
        wanted = self.settings
        appraiser = wanted.appraiser(self.shared.signing) if wanted.verifier else None
        document = openapi(verifier=wanted.verifier, broker=wanted.broker, kbs=appraiser is not None)
        routes = common_routes(self.store, self.workers, self.metrics, document)
        routes += KbsApi(
            challenges=self._challenges, store=self.store, workers=self.workers, secure_cookie=wanted.secure_cookie,
            appraiser=appraiser, broker=self._broker() if wanted.broker else None,
        ).routes()  # fmt: skip
        if appraiser is not None:
            routes += VeraisonApi(
                challenges=self._challenges, store=self.store, workers=self.workers, appraiser=appraiser
            ).routes()
        if wanted.broker:
            callers = Callers(
                token_sha256=self.shared.administrator, challenges=self._challenges, store=self.store,
                certificate=wanted.certificate,
            )  # fmt: skip
            routes += AdminApi(vault=self.vault, audit=self.audit, workers=self.workers, callers=callers).routes()
            routes += SessionApi(shelf=self.shelf, audit=self.audit, workers=self.workers, callers=callers).routes()
        return routes

    def _broker(self) -> Broker:
        """It believes the verifier beside it, and those that it was told of."""
        own = self.shared.signing.spki
        keys = (VerificationKey(spki=own, kid=thumbprint(own)), *self.settings.verifier_keys)
        return Broker(
            vault=self.vault,
            shelf=self.shelf,
            audit=self.audit,
            keys=keys,
            sealing=self.shared.sealing,
            clock=self.settings.clock,
            max_age=self.settings.lifetime,
        )
