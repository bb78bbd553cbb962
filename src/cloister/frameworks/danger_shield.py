"""What is dangerous in a shield policy, and why: what the host still reads, changes, or puts back to an older state."""

from collections.abc import Iterator

from cloister.frameworks.findings import Finding, Severity
from cloister.shield_policy.policy import Peer, Port, Region, ShieldPolicy
from cloister.shield_policy.words import FileKind, Transport

__all__ = ["findings_of_shield", "unnoticed"]

DANGEROUS, RISKY, NOTE = Severity.DANGEROUS, Severity.RISKY, Severity.NOTE
CHANGING = ("/bin", "/etc", "/lib", "/lib64", "/opt", "/sbin", "/usr")


def findings_of_shield(policy: ShieldPolicy) -> list[Finding]:
    """All remarks, the worst first, then in the order of the file."""
    found = [*_switches(policy), *_keys(policy)]
    for region in policy.regions:
        found += [*_region(region), *_own_container(region, policy)]
    found += [remark for port in policy.ports for remark in _end(port)]
    found += [remark for peer in policy.peers for remark in _end(peer)]
    if not policy.regions and not policy.unsafe_open_files:
        found.append(_about(NOTE, policy.place, "files", "every file but the program's code is refused", "add regions"))
    order = list(Severity)
    return sorted(found, key=lambda one: (order.index(one.severity), _line(one.place), one.key))


def unnoticed(policy: ShieldPolicy) -> Iterator[str]:
    """Of each volume whose newest root nobody keeps: that older states of it pass for new ones."""
    for one in policy.regions:
        if one.kind.on_a_volume and one.root is None and not one.root_at_broker:
            yield (
                f"{one.place}: {one.path}: no root is given: between runs an older volume in place of {one.volume} "
                "would not be noticed"
            )


def _about(severity: Severity, place: str, key: str, reason: str, advice: str) -> Finding:
    return Finding(severity=severity, key=f"shield.{key}", place=place, reason=reason, advice=advice)


def _line(place: str) -> int:
    number = place.split(":")[1:2]
    return int(number[0]) if number and number[0].isdecimal() else 0


def _switches(policy: ShieldPolicy) -> Iterator[Finding]:
    if policy.unsafe_open_files:
        yield _about(
            DANGEROUS, policy.place, "unsafe_open_files", "paths in no region are plain files of the host",
            "name what it needs as regions, and remove this",
        )  # fmt: skip
    if policy.unsafe_open_network:
        yield _about(
            DANGEROUS, policy.place, "unsafe_open_network", "the program may speak to anybody, in the clear",
            "list its ports and destinations under listen and connect, and remove this",
        )  # fmt: skip


def _keys(policy: ShieldPolicy) -> Iterator[Finding]:
    for place, key in policy.symmetric_keys():
        if key.unsafe_file:
            yield _about(
                DANGEROUS, place, "unsafe_key_file", f"this machine's administrator reads the key in {key.unsafe_file}",
                'let a broker keep it: key = "NAME" of a secret of the session',
            )  # fmt: skip
    for place, identity in policy.identities():
        if identity.unsafe_key_file:
            yield _about(
                DANGEROUS, place, "unsafe_key_file",
                f"this machine's administrator reads the private key in {identity.unsafe_key_file}, and speaks for it",
                'let a broker keep it: certificate = "NAME" of an x509 secret of the session',
            )  # fmt: skip


def _region(region: Region) -> Iterator[Finding]:
    if region.kind is FileKind.PLAIN and not region.read_only:
        yield _about(
            DANGEROUS, region.place, "files", f"everything that is written below {region.path} is the host's to read",
            "read_only = true if nothing is written there; else make it encrypted",
        )  # fmt: skip
    if region.kind is FileKind.PLAIN and region.read_only:
        listed = "what becomes code is measured only in strict runs (--manifest)"
        known = region.path.startswith(CHANGING) or region.path == "/"
        yield _about(
            RISKY, region.place, "files", f"the host may change what the program reads below {region.path}",
            listed if known else "an authenticated volume cannot be changed: `cloister volume create --authenticated`",
        )  # fmt: skip
    if region.kind is FileKind.AUTHENTICATED:
        yield _about(
            RISKY, region.place, "files", f"everybody who has {region.volume} reads it; nobody changes it unnoticed",
            'kind = "encrypted" if anything in it is secret',
        )  # fmt: skip
    if region.kind.on_a_volume and region.root is None and not region.root_at_broker:
        yield _about(
            RISKY, region.place, "files.root", f"an older state of {region.volume} passes for the newest",
            'root = "broker" in a session; for data that does not change, what `cloister volume create` printed',
        )  # fmt: skip
    elif region.root and not region.read_only:
        yield _about(
            RISKY, region.place, "files.root", "any state from that generation on passes for the newest",
            'root = "broker" in a session, which follows the changes',
        )  # fmt: skip
    if region.create and not region.root_at_broker:
        yield _about(
            RISKY, region.place, "files.create", f"whoever empties {region.volume} makes the program begin anew",
            "remove it after the first run",
        )  # fmt: skip


def _own_container(region: Region, policy: ShieldPolicy) -> Iterator[Finding]:
    """A volume whose file the program reaches as a plain file."""
    around = [one for one in policy.regions if _holds(one.path, region.volume)] if region.volume else []
    nearest = max(around, key=lambda one: len(one.path), default=None)
    if (nearest.kind is FileKind.PLAIN and not nearest.read_only) if nearest else False:
        yield _about(
            RISKY, region.place, "files.volume", f"the program itself may overwrite {region.volume}",
            "keep volumes outside of plain regions",
        )  # fmt: skip


def _holds(directory: str, path: str) -> bool:
    return path == directory or path.startswith(directory.rstrip("/") + "/")


def _end(end: Port | Peer) -> Iterator[Finding]:
    key = "listen" if isinstance(end, Port) else "connect"
    if end.transport is Transport.PLAIN:
        yield _about(
            DANGEROUS, end.place, key, "everybody on the way, this machine's administrator first, reads and changes it",
            'protocol = "tls", or "ra-tls" between attested programs',
        )  # fmt: skip
    elif isinstance(end, Port) and not end.clients:
        yield _about(NOTE, end.place, key, "anybody may connect", 'clients = ["sha256:..."] admits only these')
    elif isinstance(end, Peer) and end.unsafe_any_server:
        yield _about(
            DANGEROUS, end.place, "connect.unsafe_any_server", "whoever answers gets what the program sends",
            "pins = [\"sha256:...\"] of the server's key",
        )  # fmt: skip
