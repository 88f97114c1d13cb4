"""`python -m batchgray` is the same program as `batchgray`."""

from batchgray.cli.main import main

if __name__ == "__main__":
    main()
