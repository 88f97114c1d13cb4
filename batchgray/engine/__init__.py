"""A run from beginning to end: the supervisor, its workers as it sees them, the books, what is in flight."""
