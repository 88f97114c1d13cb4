"""The command line: click commands and flags, exit codes, and which words go where. No logic."""
