"""The paper that the reports on its tasks follow."""

PAPER = (
    "Demircan, Saanum, Jagadish, Binz & Schulz: Sparse Autoencoders Reveal Temporal Difference Learning in Large "
    "Language Models, ICLR 2025, arXiv 2410.01280 (version 1)"
)
