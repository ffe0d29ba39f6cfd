"""The Space's entry: the page."""

import sys

from charlm.ui.app import main

if __name__ == "__main__":
    sys.exit(main())
