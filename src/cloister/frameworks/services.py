"""What sessions of SCONE and of Cloister have alike: services, of which a configuration is one, commands, secrets."""

import shlex

from cloister.errors import PolicyError
from cloister.frameworks.draft import Draft
from cloister.frameworks.model import Identity
from cloister.frameworks.table import Key, Kind, Sheet

__all__ = [
    "add_identity", "begin_secret", "begin_service", "chosen_service", "command_words", "session_keys", "texts",
]  # fmt: skip


def session_keys(page: str) -> tuple[Key, ...]:
    """The keys that mean the same in both, which `page` documents."""
    concepts = {
        "name": "name", "version": "", "predecessor": "", "salt": "salt",
        "services[].name": "service", "services[].command": "arguments", "services[].command[]": "arguments",
        "services[].pwd": "working_directory",
        "secrets[].name": "secrets", "secrets[].kind": "secrets", "secrets[].value": "secrets",
        "access_policy.read[]": "readers", "access_policy.update[]": "updaters",
    }  # fmt: skip
    return tuple(Key(path, Kind.TEXT, concept, page) for path, concept in concepts.items())


def chosen_service(sheet: Sheet, wanted: str | None) -> int | None:
    """The number of the service called `wanted`, or of the only one; None for a session without any."""
    names = [sheet.text("services", number, "name") or "" for number in range(sheet.count("services"))]
    for number in range(len(names)):
        sheet.release("services", number, "name")
    if wanted is None and len(names) > 1:
        raise sheet.document.error(
            ("services",), f"there are several services, and a configuration is of one: choose {' or '.join(names)}"
        )
    if wanted is not None and wanted not in names:
        raise PolicyError(
            f"{sheet.place('services')}: there is no service {wanted}; there is {', '.join(names) or 'none'}"
        )
    if not names:
        return None
    return 0 if wanted is None else names.index(wanted)


def begin_service(draft: Draft, *at: str | int) -> None:
    """Its name and where it starts."""
    draft.element(*at)
    draft.set("service", draft.sheet.text(*at, "name"), *at)
    draft.set("working_directory", draft.sheet.text(*at, "pwd"), *at, "pwd")


def texts(sheet: Sheet, *at: str | int) -> tuple[str, ...]:
    """One text, or a list of texts."""
    one = sheet.text(*at)
    return sheet.texts(*at) if one is None else (one,)


def command_words(sheet: Sheet, *at: str | int) -> tuple[str, ...]:
    """A command, as one text or as a list of words. PolicyError for a text that no shell would take."""
    text = sheet.text(*at)
    try:
        return sheet.texts(*at) if text is None else tuple(shlex.split(text))
    except ValueError as error:
        raise sheet.error(at, f"is no command: {error}") from None


def add_identity(draft: Draft, identity: Identity, *at: str | int) -> None:
    """One more alternative of who may be the service."""
    draft.add("identities", str(len(draft.get("identities")) + 1), identity, *at)


def begin_secret(draft: Draft, *at: str | int) -> tuple[str, str]:
    """Name and kind of a secret. PolicyError if it lacks one of them."""
    name, kind = draft.sheet.text(*at, "name"), draft.sheet.text(*at, "kind")
    if name is None or kind is None:
        raise draft.sheet.error(at, "needs a name and a kind")
    draft.element(*at)
    return name, kind
