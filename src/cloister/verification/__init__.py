"""Parsed evidence + trust anchors + endorsements + challenge + time -> VerifiedEvidence, or an exception.

One numbered recipe per TEE (`recipe.py` runs them). Nothing here touches a clock, a file or the network. What a
verified measurement *means* is not decided here: that is `cloister.appraise`.
"""

__all__: list[str] = []
