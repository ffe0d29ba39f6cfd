"""The Space's entry: the page."""

import sys

from charlm.ui.launch import main

if __name__ == "__main__":
    sys.exit(main())
