"""The flow of an attestation, drawn from what was really sent (`cloister run --flow FILE`, cloister.attest.flow)."""
