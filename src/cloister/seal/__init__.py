"""Data sealed to a platform and a program: nobody else opens it, nor does the program anywhere else."""

__all__: list[str] = []
