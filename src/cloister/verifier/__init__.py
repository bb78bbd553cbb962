"""The Verifier of RFC 9334: the verifier side's stages, put together, for those who use Cloister as a library.

`cloister.verify` is `verify` of this package.
"""

from cloister.verifier.defaults import verify, verify_many
from cloister.verifier.trust_files import read_anchors, read_endorsements
from cloister.verifier.verdict import Authentic, Verdict
from cloister.verifier.verifier import Verifier

__all__ = ["Authentic", "Verdict", "Verifier", "read_anchors", "read_endorsements", "verify", "verify_many"]
