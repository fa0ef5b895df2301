"""The stages: one module each, registered in ``jobs.pipeline``."""
