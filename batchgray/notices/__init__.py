"""Interruption notices: sources put them into one inbox, and never decide anything."""
