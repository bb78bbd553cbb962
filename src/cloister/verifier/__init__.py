"""The Verifier of RFC 9334: the verifier side's stages, put together, for those who use Cloister as a library.

`cloister.verify` is `verify` of this package.
"""

from cloister.verifier.defaults import verify, verify_many
from cloister.verifier.verdict import Authentic, Verdict
from cloister.verifier.verifier import Verifier

__all__ = ["Authentic", "Verdict", "Verifier", "verify", "verify_many"]
