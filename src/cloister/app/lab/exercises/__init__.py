"""Seven attacks and defences on emulated machines, done by hand and graded by what the machines saw happen."""
