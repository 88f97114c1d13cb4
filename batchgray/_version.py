"""The version, said once: `setup.cfg` reads it, and what is below `cli` has it from here."""

__version__ = "0.1.0"
