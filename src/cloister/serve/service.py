"""One service, put together from what it is told to be."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from starlette.routing import Route

from cloister.broker.audit import AuditLog, Checkpoint, last_checkpoint
from cloister.broker.flow import Allowance, Broker
from cloister.broker.nonces import Challenges
from cloister.broker.root_reports import RootReports
from cloister.broker.secrets_vault import UnknownSecret, Vault
from cloister.broker.store import Store, open_database
from cloister.broker.store_sessions import SessionShelf
from cloister.result.jwk import thumbprint
from cloister.result.keys import VerificationKey
from cloister.result.signing import SigningKey
from cloister.serve.admin import AdminApi
from cloister.serve.app import Application, common_routes
from cloister.serve.appraiser import Appraising
from cloister.serve.body import MOST_HELD, BodyBudget
from cloister.serve.callers import Callers
from cloister.serve.durable import Durable
from cloister.serve.first_start import State, shared
from cloister.serve.journal import Journal
from cloister.serve.kbs import KbsApi
from cloister.serve.keys.opening import KeksAt, key_file, open_keyring
from cloister.serve.metrics import Metrics, Rows, shared_rows
from cloister.serve.openapi import openapi
from cloister.serve.roots_api import RootsApi
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
    worker: int = 0
    """Which of the processes of this service, from 0."""
    rows: Rows = field(default_factory=lambda: shared_rows(1))
    """Where they count; as many as there are workers."""


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
            log = self.state.audit_log(settings.worker)
            self.audit = AuditLog.open(log, self.state.audit_key(settings.worker), settings.clock)
            opened.callback(self.audit.close)
            self.vault = Vault(self.store, key, settings.clock)
            self.shelf = SessionShelf(self.store, key, settings.clock)
            self._challenges = Challenges(self.shared.challenges, settings.clock, lifetime=settings.lifetime)
            self.workers, self.metrics = Workers(), Metrics(settings.rows, settings.worker)
            self._log = Durable(self.audit.write_out, at_once=self.audit.write_out_at_once)
            self._written = Durable(self.store.write_out, at_once=self.store.write_out_at_once)
            self.application = Application(self._routes(), journal, self.metrics)
            self.application.budget = BodyBudget(MOST_HELD // len(settings.rows))
            opened.pop_all()

    appraiser: Appraising | None
    broker: Broker | None

    def checkpoint(self, worker: int) -> Checkpoint:
        """Of a worker's audit log: this one's, or another's, from its files. UnknownSecret if there is none."""
        if worker == self.settings.worker:
            return self.audit.checkpoint()
        if worker >= len(self.settings.rows):
            raise UnknownSecret("there is no such worker")
        return last_checkpoint(self.state.audit_log(worker), self.state.audit_key(worker).spki)

    def close(self) -> None:
        """Finish what is being done, then close everything."""
        self.workers.close()
        self._log.close()
        self._written.close()
        self.audit.close()
        self.store.close()

    def _routes(self) -> list[Route]:
        wanted = self.settings
        appraiser = self.appraiser = wanted.appraiser(self.shared.signing) if wanted.verifier else None
        self.broker = self._broker() if wanted.broker else None
        document = openapi(verifier=wanted.verifier, broker=wanted.broker, kbs=appraiser is not None)
        routes = KbsApi(
            challenges=self._challenges, store=self.store, workers=self.workers, secure_cookie=wanted.secure_cookie,
            appraiser=appraiser, broker=self.broker,
            audit=self.audit, log=self._log, database=self._written,
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
            routes += AdminApi(
                vault=self.vault, audit=self.audit, checkpoint_of=self.checkpoint, workers=self.workers, callers=callers
            ).routes()
            reports = RootReports(self.store.roots, self.shelf, self.audit, Allowance(wanted.clock))
            routes += RootsApi(reports=reports, workers=self.workers).routes()
            routes += SessionApi(shelf=self.shelf, audit=self.audit, workers=self.workers, callers=callers).routes()
        return routes + common_routes(self.store, self.workers, self.metrics, document)

    def _broker(self) -> Broker:
        """It believes the verifier beside it, and those that it was told of."""
        own = self.shared.signing.spki
        keys = (VerificationKey(spki=own, kid=thumbprint(own)), *self.settings.verifier_keys)
        return Broker(
            vault=self.vault,
            shelf=self.shelf,
            roots=self.store.roots,
            audit=self.audit,
            keys=keys,
            sealing=self.shared.sealing,
            clock=self.settings.clock,
            max_age=self.settings.lifetime,
        )
