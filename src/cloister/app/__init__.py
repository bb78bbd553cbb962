"""Composition root: the only package that wires launching and observing together."""
