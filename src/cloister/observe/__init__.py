"""Observing: what an administrator can read of a process: memory, system calls, /proc, core files."""
