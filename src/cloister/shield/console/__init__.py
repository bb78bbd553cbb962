"""The console shield: what a person types and reads, encrypted between `cloister attach` and the enclaved program."""
