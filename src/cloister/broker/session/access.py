"""Who may read and change a session that is in effect: its `access_policy`, applied to whoever proved who they are.

CREATOR is the key that signed the request by which the first session of that name came; or, if none signed it, the
broker's administrator. A first session takes the administrator, because names and space are the broker's.
"""

from dataclasses import dataclass
from typing import Final

from cloister.broker.session.session import Session
from cloister.errors import Denied, NotAttested

__all__ = ["NOBODY", "Caller", "check_access"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who asks. `key` is the SHA-256 of a public key whose holder signed the request; empty if nobody did."""

    administrator: bool = False
    key: str = ""

    def created(self, creator: str) -> bool:
        """Whether this is a session's CREATOR; `creator` is empty for the administrator."""
        return self.key == creator if creator else self.administrator


NOBODY: Final = Caller()


def check_access(action: str, session: Session | None, creator: str, caller: Caller) -> None:
    """Whether the caller may `read` or `update`; NotAttested for nobody, Denied for somebody else.

    Whoever may not has one answer, whether there is such a session (`session` is None) or not.
    """
    if session is not None:
        allowed = session.access.allows(action, fingerprint=caller.key, is_creator=caller.created(creator))
    else:
        allowed = caller.administrator
    if allowed:
        return
    if caller == NOBODY:
        raise NotAttested(f"who wants to {action} this session? Sign the request, or show the administrator's token")
    if caller.administrator:
        raise Denied(f"the session's access_policy does not let the administrator {action} it", set_by="access_policy")
    raise Denied(
        f"there is no session of this name that this key may {action}; a first one needs the administrator's token too",
        set_by="access_policy",
    )
