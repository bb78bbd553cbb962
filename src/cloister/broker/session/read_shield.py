"""`shield` of a service -> a ShieldPolicy, by the reader that shield policies in TOML have too."""

from cloister._toml import Document, Path
from cloister._yaml import wrong
from cloister.broker.session.grammar import Found, Word
from cloister.broker.session.references import LOOKS_LIKE
from cloister.broker.session.session import Generated, Given, Session
from cloister.errors import PolicyError
from cloister.shield_policy.policy import ShieldPolicy
from cloister.shield_policy.reading import shield_policy_of

__all__ = ["check_shield_secrets", "shield_of"]

KEY = 32
TABLE = "shield"


def shield_of(found: Found | None) -> ShieldPolicy | None:
    """The policy, or PolicyError."""
    if found is None:
        return None
    lines: dict[Path, int] = {}
    values = {TABLE: _value(found, (TABLE,), lines)}
    lines[TABLE,] = found.place.line
    return shield_policy_of(Document(found.place.file, values, lines), (TABLE,))


def _value(value: object, at: Path, lines: dict[Path, int]) -> object:
    """What was read as plain values; where each stands goes into `lines`."""
    if isinstance(value, Found):
        made = {}
        for key, one in value.values.items():
            lines[*at, key] = value.at(key).line
            made[key] = _value(one, (*at, key), lines)
        lines[at] = value.place.line
        return made
    if isinstance(value, tuple):
        return [_value(one, (*at, number), lines) for number, one in enumerate(value)]
    if isinstance(value, Word):
        if LOOKS_LIKE.search(value.text):
            raise wrong(
                value.place, "the host sees this, so no value of a secret stands here; a key is named: `key: NAME`"
            )
        return value.text
    return value


def check_shield_secrets(policy: ShieldPolicy, session: Session) -> None:
    """Every key is a secret of this session, of a kind that can be one. PolicyError."""
    for place, at in policy.symmetric_keys():
        _check(session, at.secret, place, {"aes-key", "binary"})
        if (size := _size(session, at.secret)) not in {0, KEY}:
            raise PolicyError(f"{place}: the secret {at.secret} has {size} bytes; a key here has {KEY}")
    for place, identity in policy.identities():
        _check(session, identity.secret, place, {"x509"})


def _check(session: Session, name: str, place: str, kinds: set[str]) -> None:
    secret = session.by_name.get(name)
    if secret is None:  # not quoted: somebody may have written a secret where its name belongs
        raise PolicyError(f"{place}: the key that is named here is no secret of this session; add it to `secrets`")
    if secret.kind not in kinds:
        raise PolicyError(
            f"{place}: the secret {name} is of kind {secret.kind}; {' or '.join(sorted(kinds))} is wanted"
        )


def _size(session: Session, name: str) -> int:
    """Bytes of a secret; 0 if another session makes it."""
    origin = session.by_name[name].origin
    if isinstance(origin, Given):
        return len(session.values[name].reveal())
    if isinstance(origin, Generated):
        return origin.size or int(origin.algorithm.removeprefix("AES-")) // 8
    return 0
