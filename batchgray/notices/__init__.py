"""Interruption notices: listeners put them into one inbox, and decide nothing."""
