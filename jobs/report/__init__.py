"""A study as one self-contained page: its figures, the published curves, and a verdict on every claim.

>>> write_report(record, "two_step_demo", settings.reports / "two_step_demo")  # doctest: +SKIP
"""

from jobs.report.page import write_report

__all__ = ["write_report"]
