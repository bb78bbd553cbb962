"""A shield policy as JSON, and back: for `--json`, and for the canonical form of a session. Nothing in it is secret."""

from typing import Any

from cloister._toml import Document
from cloister.shield_policy.policy import IdentityAt, KeyAt, Pin, Region, ShieldPolicy
from cloister.shield_policy.reading import shield_policy_of
from cloister.shield_policy.words import FileKind, Transport

__all__ = ["policy_document", "policy_of_document"]


def policy_document(policy: ShieldPolicy) -> dict[str, Any]:
    """What `--json` prints."""
    console = policy.console
    return {
        "files": [_region_document(one) for one in policy.regions],
        "listen": [
            {"port": one.number, "protocol": one.transport.word, "name": one.name,
             "certificate": _identity_document(one.identity), "clients": [_pin_text(pin) for pin in one.clients]}
            for one in policy.ports
        ],
        "connect": [
            {"address": one.address or "any", "port": one.port, "protocol": one.transport.word, "name": one.name,
             "server_name": one.server_name, "certificate": _identity_document(one.identity),
             "pins": [_pin_text(pin) for pin in one.pins]}
            for one in policy.peers
        ],
        "console": None if console is None else {
            "key": _key_document(console.key), "terminal": console.terminal, "rows": console.rows,
            "columns": console.columns,
        },
        "unsafe_open_files": policy.unsafe_open_files, "unsafe_open_network": policy.unsafe_open_network,
    }  # fmt: skip


def _region_document(region: Region) -> dict[str, Any]:
    return {
        "path": region.path, "kind": region.kind.word, "name": region.name, "read_only": region.read_only,
        "volume": region.volume or None, "key": _key_document(region.key), "create": region.create,
        "root": "broker" if region.root_at_broker else str(region.root) if region.root else None,
        "cache": region.cache or None,
    }  # fmt: skip


def _key_document(key: KeyAt | None) -> dict[str, str] | None:
    if key is None:
        return None
    return {"secret": key.secret} if key.secret else {"unsafe_key_file": key.unsafe_file}


def _identity_document(identity: IdentityAt | None) -> dict[str, str] | None:
    if identity is None:
        return None
    if identity.secret:
        return {"secret": identity.secret}
    return {
        "unsafe_certificate_file": identity.unsafe_certificate_file, "unsafe_key_file": identity.unsafe_key_file
    }  # fmt: skip


def _pin_text(pin: Pin) -> str:
    return f"sha256:{pin.digest.hex()}" if pin.digest else pin.certificate_file


def policy_of_document(value: object, name: str) -> ShieldPolicy:
    """The policy that such a document was made of. PolicyError if it is none, or another one's."""
    found = _said(value)
    for key, completed in (("files", _region), ("listen", _end), ("connect", _end)):
        if isinstance(found, dict) and isinstance(found.get(key), list):
            found[key] = [completed(one) if isinstance(one, dict) else one for one in found[key]]
    return shield_policy_of(Document(name, found if isinstance(found, dict) else {"": found}, {}), ())


def _region(found: dict[str, Any]) -> dict[str, Any]:
    return found | ({"unsafe_plain": True} if found.get("kind") == FileKind.PLAIN.word else {})


def _end(found: dict[str, Any]) -> dict[str, Any]:
    if found.get("protocol") == Transport.PLAIN.word:
        return found | {"unsafe_plain": True}
    return found | ({"unsafe_any_server": True} if "address" in found and "pins" not in found else {})


def _said(value: object) -> Any:  # noqa: ANN401 - JSON
    """As a file says it: what is not there is not said, and `{"secret": NAME}` is the name."""
    if isinstance(value, dict):
        if value.keys() == {"secret"}:
            return value["secret"]
        return {key: _said(one) for key, one in value.items() if one or isinstance(one, dict)}
    return [_said(one) for one in value] if isinstance(value, list) else value
