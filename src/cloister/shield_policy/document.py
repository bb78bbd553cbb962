"""A shield policy as JSON: for `--json`, and for the canonical form of a session. Nothing in it is secret."""

from typing import Any

from cloister.shield_policy.policy import IdentityAt, KeyAt, Pin, Region, ShieldPolicy

__all__ = ["policy_document"]


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
