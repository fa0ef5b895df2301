"""The command line. One module a group of commands; heavy libraries are imported inside commands."""

import os

# Read when torch is loaded, so set before anything can load it. Threads that spin while they wait for a core that is
# busy made a run on two threads many times slower than on one; on an idle machine the difference is in the noise.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from jobs.cli.app import app, main

__all__ = ["app", "main"]
