"""`ssl.SSLSocket` and `ssl.SSLObject` that let no byte of the application through before their course is run.

OpenSSL shakes hands by itself when somebody reads or writes first. The gate stands in the handshake, so it holds then
too; what follows the handshake is done here, whichever method comes first.
"""

import functools
import ssl
from typing import Any, NoReturn

from cloister.tls.course import Course, Peer
from cloister.tls.freshness import MARK

__all__ = ["AttestedObject", "AttestedSocket", "peer_of"]


def peer_of(connection: object) -> Peer | None:
    """The verified peer of a socket or of asyncio's `ssl_object`; None if nothing was demanded of it.

    TypeError for a connection that is not attested TLS or whose handshake is not over: that is never the same as None.
    """
    course = getattr(connection, "course", None)
    if not isinstance(course, Course) or not course.done:
        raise TypeError("this is no connection of attested TLS whose handshake is over")
    return course.peer


def _refuse_session() -> NoReturn:
    raise ValueError("attested TLS resumes no sessions: a resumed one shows no certificate")


class AttestedSocket(ssl.SSLSocket):
    """A socket that shakes hands, and checks, before it reads or writes anything."""

    course: Course | None = None

    def do_handshake(self, block: bool = False) -> None:  # noqa: FBT001, FBT002 - as in ssl
        """Shake hands, check the peer, and exchange fresh evidence if that was agreed on. PeerRefused."""
        if self.course is None:
            self.course = Course(self.context.ends)  # type: ignore[attr-defined] # a ConnectionContext made it
        self.course.run(
            self,
            shown=lambda: super(AttestedSocket, self).getpeercert(binary_form=True) or b"",
            agreed=super().selected_alpn_protocol,
            shake=functools.partial(super().do_handshake, block),
            read=super().read,
            write=super().write,
        )

    def selected_alpn_protocol(self) -> str | None:
        """The application's protocol; None where ALPN carried the mark of the freshness exchange."""
        agreed = super().selected_alpn_protocol()
        return None if agreed == MARK else agreed

    @property
    def session(self) -> Any:  # noqa: ANN401 - as in ssl
        """The session, which cannot be resumed."""
        return super().session

    @session.setter
    def session(self, session: object) -> NoReturn:
        del session
        _refuse_session()

    def read(self, len: int = 1024, buffer: Any = None) -> Any:  # noqa: A002, ANN401 - as in ssl
        """As in ssl, after the course is run."""
        self._run_course()
        return super().read(len, buffer)

    def write(self, data: Any) -> int:  # noqa: ANN401 - as in ssl
        """As in ssl, after the course is run."""
        self._run_course()
        return super().write(data)

    def send(self, data: Any, flags: int = 0) -> int:  # noqa: ANN401 - as in ssl
        """As in ssl, after the course is run."""
        self._run_course()
        return super().send(data, flags)

    def _run_course(self) -> None:
        encrypted = getattr(self, "_sslobj", None) is not None  # not before connect(), not after unwrap()
        if encrypted and (self.course is None or not self.course.done):
            self.do_handshake()


class AttestedObject(ssl.SSLObject):
    """The same without a socket, for asyncio and anyio."""

    course: Course | None = None

    def do_handshake(self) -> None:
        """Shake hands, check the peer, and exchange fresh evidence if that was agreed on. PeerRefused."""
        if self.course is None:
            self.course = Course(self.context.ends)  # type: ignore[attr-defined] # a ConnectionContext made it
        self.course.run(
            self,
            shown=lambda: super(AttestedObject, self).getpeercert(binary_form=True) or b"",
            agreed=super().selected_alpn_protocol,
            shake=super().do_handshake,
            read=super().read,
            write=super().write,
        )

    def selected_alpn_protocol(self) -> str | None:
        """The application's protocol; None where ALPN carried the mark of the freshness exchange."""
        agreed = super().selected_alpn_protocol()
        return None if agreed == MARK else agreed

    @property
    def session(self) -> Any:  # noqa: ANN401 - as in ssl
        """The session, which cannot be resumed."""
        return super().session

    @session.setter
    def session(self, session: object) -> NoReturn:
        del session
        _refuse_session()

    def read(self, len: int = 1024, buffer: Any = None) -> Any:  # noqa: A002, ANN401 - as in ssl
        """As in ssl, after the course is run."""
        self._run_course()
        return super().read(len, buffer)

    def write(self, data: Any) -> int:  # noqa: ANN401 - as in ssl
        """As in ssl, after the course is run."""
        self._run_course()
        return super().write(data)

    def _run_course(self) -> None:
        if self.course is None or not self.course.done:
            self.do_handshake()
