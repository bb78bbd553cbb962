"""Shields: what keeps a program's files, connections and console from whoever runs the machine."""
