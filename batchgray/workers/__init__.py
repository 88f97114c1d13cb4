"""The other side of the pipes: the fork server, the workers that convert, and what they put on disk."""
