"""Launching: a program becomes a running software enclave."""
