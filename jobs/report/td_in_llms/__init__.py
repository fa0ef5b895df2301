"""The whole paper on one page: Demircan et al. (2025, arXiv 2410.01280), Figs 1 to 10 and its headline numbers.

>>> write_paper(record, settings.reports / NAME)  # doctest: +SKIP
"""

from jobs.report.td_in_llms.paper_page import NAME, PUBLICATION, STUDIES, write_paper

__all__ = ["NAME", "PUBLICATION", "STUDIES", "write_paper"]
