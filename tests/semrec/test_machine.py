"""What a process is told of its own memory."""

from __future__ import annotations

import subprocess
import sys

LARGE, SMALL = 400 << 20, 200 << 20
STARTED = "from semrec.machine import resident_bytes; print(resident_bytes()['peak_resident_bytes'])"
STARTER = f"""
import subprocess, sys
held = bytearray(b"1" * {LARGE})
subprocess.run([sys.executable, "-c", {STARTED!r}], check=True)
print(len(held))
"""


def test_the_peak_of_a_process_is_not_that_of_who_started_it() -> None:
    done = subprocess.run([sys.executable, "-c", STARTER], capture_output=True, text=True, check=True)
    assert int(done.stdout.split()[0]) < SMALL
