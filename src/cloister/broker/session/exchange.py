"""Secrets that one session makes and another imports: both must say so, and mean each other.

The exporter names the importing session, and perhaps its version; the importer names the exporting session, and
perhaps its version. Only one side can pin: two hashes cannot each be part of what the other is made of.
"""

from cloister.broker.session.canonical import session_hash
from cloister.broker.session.session import Imported, Secret, Session
from cloister.errors import Denied

__all__ = ["granted"]


def granted(importer: Session, name: str, exporter: Session) -> Secret:
    """The exporter's secret that `name` is in the importing session; Denied if one of them does not agree.

    ValueError if `name` is no import. Both sessions are the ones in effect: which those are is the caller's to know.
    """
    wanted = importer.by_name[name]
    source = wanted.origin
    if not isinstance(source, Imported):
        raise ValueError(f"{name} is not imported")  # noqa: TRY004 - the kind of origin is data
    place = f"{importer.file}:{wanted.place.line}"
    if source.session != exporter.name:
        raise Denied(
            f"`{name}` is imported from {source.session}, not from {exporter.name}",
            expected=source.session, actual=exporter.name, set_by=place,
        )  # fmt: skip
    identity = session_hash(exporter)
    if source.session_hash not in {"", identity}:
        raise Denied(
            f"`{name}` is imported from another version of {exporter.name}",
            expected=source.session_hash, actual=identity, set_by=place,
        )  # fmt: skip
    return _exported(importer, wanted, source.secret, exporter)


def _exported(importer: Session, wanted: Secret, name: str, exporter: Session) -> Secret:
    """The exporter's side. A secret that it does not have is refused in the words of one that it does not export."""
    secret = exporter.by_name.get(name)
    identity = session_hash(importer)
    exports = secret.exports if secret is not None else frozenset()
    allowed = any(one.session == importer.name and one.session_hash in {"", identity} for one in exports)
    if secret is None or not allowed:
        raise Denied(
            f"{exporter.name} does not export `{name}` to {importer.name} in this version",
            expected=f"an export to {importer.name}", actual="none", set_by=exporter.file,
        )  # fmt: skip
    if secret.kind != wanted.kind:
        raise Denied(
            f"`{name}` of {exporter.name} is of kind {secret.kind}, and is imported as {wanted.kind}",
            expected=wanted.kind, actual=secret.kind, set_by=f"{importer.file}:{wanted.place.line}",
        )  # fmt: skip
    return secret
