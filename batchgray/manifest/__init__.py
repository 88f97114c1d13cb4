"""The manifest: its records, the journal beside it, its lock, and what it came to."""
