"""One entry of `services` -> a Service. Secrets are refused where the host would see them."""

import re
from typing import Final

from cloister._yaml import wrong
from cloister.broker.session.grammar import Found, Word
from cloister.broker.session.read_attestation import rule_of
from cloister.broker.session.read_shield import shield_of
from cloister.broker.session.references import LOOKS_LIKE, WELL_FORMED, Template, template_of
from cloister.broker.session.session import InjectedFile, Service

__all__ = ["service_of"]

SHELL: Final = re.compile(r"""['"\\|&;<>()*?\[\]~`#$!{}\n\t]""")
"""What a shell would act on. There is none, so that whoever writes it expects something that does not happen."""
HOST_WORD: Final = re.compile(r"@@\w+")
"""SCONE's way to take in the host's arguments and environment."""


def service_of(found: Found) -> Service:
    """The service, or PolicyError."""
    command = (*_command(found), *found.words("arguments"))
    if "arguments" in found and "command" not in found:
        raise wrong(found.at("arguments"), "arguments of which program? Add `command:`")
    environment = {name: one for name, one in found.pairs("environment").items() if isinstance(one, Word)}
    for one in (*command, *environment.values()):
        if HOST_WORD.fullmatch(one.text):
            raise wrong(one.place, "arguments and variables of the host are not let in here; write the value itself")
    for hidden, what in (
        (found.word("pwd"), "the working directory"),
        (command[0] if command else None, "the program"),
    ):
        if hidden is not None:
            refuse_secret(hidden, what)
    files = tuple(_file(one) for one in found.records("injection_files"))
    paths = [one.path for one in files]
    if len(set(paths)) != len(paths):
        raise wrong(found.at("injection_files"), "one path stands twice; keep one of them")
    return Service(
        name=found.text("name"), place=found.place, command=tuple(map(template_of, command)), pwd=found.text("pwd"),
        attestation=tuple(rule_of(one) for one in found.records("attestation")),
        environment={name: template_of(one) for name, one in environment.items()},
        files=files, asks_for=tuple(sorted({one.text for one in found.words("secrets")})),
        shield=shield_of(found.record("shield")),
    )  # fmt: skip


def refuse_secret(word: Word, what: str) -> None:
    """The host sees this: no reference to a secret may stand in it."""
    if LOOKS_LIKE.search(word.text):
        raise wrong(
            word.place, f"the host sees {what}: a secret has no place here; put it into an argument, the environment "
            "or an injected file"
        )  # fmt: skip


def _file(found: Found) -> InjectedFile:
    path = found.word("path") or Word("", found.place)
    refuse_secret(path, "the names of files")
    if {"..", "."} & set(path.text.split("/")):
        raise wrong(path.place, "a path without . and .. has one reading; write it so")
    return InjectedFile(path=path.text, content=_content(found))


def _content(found: Found) -> Template:
    return template_of(found.word("content") or Word("", found.place))


def _command(found: Found) -> tuple[Word, ...]:
    """The words of a command. A text is parted at spaces, and only if a shell would do the same."""
    words = found.words("command")
    if isinstance(found.values.get("command"), tuple) or not words:
        return words
    if SHELL.search(WELL_FORMED.sub("", words[0].text)):
        raise wrong(
            words[0].place, "there is no shell, so quotes and signs have no effect; write the words as a list: "
            "[program, argument, ...]"
        )  # fmt: skip
    parts = tuple(Word(one, words[0].place) for one in words[0].text.split(" ") if one)
    if not parts:
        raise wrong(words[0].place, "an empty command; name the program, or remove the key")
    return parts
