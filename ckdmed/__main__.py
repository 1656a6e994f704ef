"""`python -m ckdmed <command>`: the same as the console script `ckdmed`."""

from __future__ import annotations

import sys

from ckdmed.cli import main

if __name__ == "__main__":
    sys.exit(main())
