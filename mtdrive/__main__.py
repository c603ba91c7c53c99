"""`python -m mtdrive` is the command `mtdrive`."""

import sys

from mtdrive.cli import main

if __name__ == "__main__":
    sys.exit(main())
