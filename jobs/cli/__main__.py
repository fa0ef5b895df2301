"""``python -m jobs.cli``: the command line where its script isn't on the path."""

from jobs.cli import main

main()
