"""Attacks on a program in an emulated TEE: what each kind of administrator gets, from a run just made."""

__all__: list[str] = []
