"""The person's side of a shielded console: verifies what runs, seals its key, then types and reads."""
