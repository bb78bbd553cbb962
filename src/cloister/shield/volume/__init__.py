"""Volumes: a tree of files in one file of ciphertext, whose every change by others is noticed.

layout      the records of the format (docs/formats/volume.md)
keys        the volume's key in a file, and the cipher of its blocks
container   the file of blocks: which superblock counts, what a pointer leads to
reading     inodes, directories, contents, paths
building    a new volume from what is given, in one go
checking    whether a whole volume is right: every block, entry and link
importing   a directory of the host as what `building` is given
"""
