"""The report: one self-contained page, its charts and its pictures."""
