"""``python -m layerlab``."""

import sys

from layerlab.cli import main

if __name__ == "__main__":
    sys.exit(main())
