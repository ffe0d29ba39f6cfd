"""`python -m charlm`: the command line."""

import sys

from charlm.cli import main

if __name__ == "__main__":
    sys.exit(main())
