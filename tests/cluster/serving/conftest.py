"""Makes the worlds of tests/semrec/online importable here, too."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "semrec" / "online"))
