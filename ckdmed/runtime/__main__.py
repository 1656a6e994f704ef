"""`python -m ckdmed.runtime`."""

from __future__ import annotations

import sys

from ckdmed.runtime.command import main

sys.exit(main())
