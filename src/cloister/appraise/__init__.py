"""Verified evidence + reference values + policy -> an appraisal.

Never raises for poor evidence: a poor appraisal is a finding that must reach the relying party.
"""

__all__: list[str] = []
