"""The command line. One module a group of commands; heavy libraries are imported inside commands."""

from jobs.cli.app import app, main

__all__ = ["app", "main"]
