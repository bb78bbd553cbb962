"""Programs on SGX hardware by the framework that is installed: what is written, what is started, what is missing.

plan       what is to be done, as data: files that are written, commands that are started, the last one in their place
needs      what this machine lacks for it, all at once
carry_out  doing it
gramine, ego, occlum, scone    a framework's plan, by its own documentation

Written to the frameworks' documentation and sources, not yet run on hardware.
"""
