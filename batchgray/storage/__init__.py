"""Places, in folders and object stores, and everything that touches the disk.

Durable writes, safe opening, checksums and seals, names.
"""
