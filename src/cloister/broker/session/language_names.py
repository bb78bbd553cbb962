"""Names in sessions: the pattern that all of them follow."""

from typing import Final

from cloister.broker.session.grammar import Text

__all__ = ["NAME", "name"]

NAME: Final = "[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
name = Text(words="a name: letters, digits, `.`, `_`, `-`, at most 64", pattern=NAME)
