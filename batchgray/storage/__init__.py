"""Everything that touches the disk: durable writes, safe opening, checksums and seals, names."""
