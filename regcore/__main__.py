"""`python -m regcore`, for where the command `regcore` is not on the path."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
