"""The Verifier and the key broker as one service: `cloister serve`.

    attester ──▶ kbs.py, veraison.py ──▶ appraiser.py (the verifier) ──▶ an attestation result
                                    ──▶ cloister.broker.flow (the relying party) ──▶ a secret for the attested key

The protocols are translated here, and nothing is decided: what evidence is worth is `cloister.verifier`'s answer, who
gets what is `cloister.broker`'s.
"""
