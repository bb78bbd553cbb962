"""Cloister: run a program where even the machine's administrator cannot read its secrets, and verify that others do.

`cloister.verify` verifies evidence of any TEE; `cloister.verify_many` a lot of it. `cloister.launch` starts programs in
the software enclave; `cloister.observe` dumps, scans and traces what an administrator can see; `cloister.app` wires the
two into controlled experiments.
"""

TYPE_CHECKING = False  # type checkers take it as true; importing typing would cost `cloister run` milliseconds
if TYPE_CHECKING:
    from cloister.appraise.vector import Tier
    from cloister.endorse.anchors import TrustAnchors
    from cloister.endorse.store import Endorsements
    from cloister.model import Tee, Unchecked
    from cloister.verification.recipe import Allowances
    from cloister.verifier import Verdict, Verifier, verify, verify_many
    from cloister.verifier.many import Answer, Record

__all__ = [
    "Allowances",
    "Answer",
    "Endorsements",
    "Record",
    "Tee",
    "Tier",
    "TrustAnchors",
    "Unchecked",
    "Verdict",
    "Verifier",
    "__version__",
    "verify",
    "verify_many",
]

__version__ = "0.1.0"

HOMES = {
    "Allowances": "cloister.verification.recipe",
    "Answer": "cloister.verifier.many",
    "Endorsements": "cloister.endorse.store",
    "Record": "cloister.verifier.many",
    "Tee": "cloister.model",
    "Tier": "cloister.appraise.vector",
    "TrustAnchors": "cloister.endorse.anchors",
    "Unchecked": "cloister.model",
    "Verdict": "cloister.verifier",
    "Verifier": "cloister.verifier",
    "verify": "cloister.verifier",
    "verify_many": "cloister.verifier",
}
"""Where each public name lives. They are imported when first used: `cloister run` must start in milliseconds."""


def __getattr__(name: str) -> object:
    """Import a public name on first use."""
    if name not in HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib  # noqa: PLC0415 - costs more than all that `cloister run` does before it execs

    value: object = getattr(importlib.import_module(HOMES[name]), name)
    globals()[name] = value
    return value
