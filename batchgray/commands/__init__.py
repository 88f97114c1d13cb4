"""Commands that read what runs have made, and the machine: status, verify, doctor, report."""
