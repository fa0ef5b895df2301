"""Headline numbers of Khadka (2026, arXiv 2605.26343v1): searches for the attention heads that a task needs."""

from jobs.published.headline import Headline

FILES = "result files"
"""Of the author's repository at commit 21b1d98c."""


def _headline(name: str, value: float, unit: str, source: str, description: str) -> Headline:
    return Headline("mechrl", name, value, unit, source, description)


HEADLINES_OF_HEADS = (
    # Training
    _headline("induction_score", 3.386, "nats", FILES, "Best head's score on induction, 30 episodes, K=1 and K=5"),
    _headline("ioi_score", 3.191, "nats", FILES, "Best head's score on IOI, 30 episodes, K=1 and K=5"),
    _headline("k1_induction_first", 2.658, "nats", FILES, "K=1 on induction after 400 transitions, 8 episodes"),
    _headline("k5_induction_first", 3.253, "nats", FILES, "K=5 on induction after 400 transitions, 8 episodes"),
    _headline("k1_ioi_first", 2.318, "nats", FILES, "K=1 on IOI after 400 transitions, 8 episodes"),
    _headline("k5_ioi_first", 3.169, "nats", FILES, "K=5 on IOI after 400 transitions, 8 episodes"),
    _headline("k1_passes", 487_560, "forward passes", FILES, "Cost of training K=1 for 200,000 transitions"),
    _headline("k5_passes", 1_122_448, "forward passes", FILES, "Cost of training K=5 for 200,000 transitions"),
    _headline("induction_share", 3.408 / 3.402, "share", FILES, "K=1 of the oracle, induction; 20 and 10 episodes"),
    _headline("ioi_share", 2.976 / 2.948, "share", FILES, "K=1 of the oracle, IOI; 20 and 10 episodes"),
    # The held-out task, docstring
    _headline("docstring_oracle", 2.175, "nats", FILES, "Best head's score of all heads, 15 episodes; always 0.10"),
    _headline("docstring_random", 1.395, "nats", FILES, "Random search, 30 episodes"),
    _headline("docstring_k1", 1.467, "nats", FILES, "K=1 that is told no task, 30 episodes"),
    _headline("docstring_k1_induction", 2.178, "nats", FILES, "K=1 that is told induction"),
    _headline("docstring_k1_ioi", 1.057, "nats", FILES, "K=1 that is told IOI"),
    _headline("docstring_k5", 2.103, "nats", FILES, "K=5 that is told no task"),
    _headline("docstring_k5_induction", 2.229, "nats", FILES, "K=5 that is told induction"),
    _headline("docstring_k5_ioi", 1.689, "nats", FILES, "K=5 that is told IOI"),
    _headline("docstring_k5_share", 0.967, "share", "abstract, files", "K=5, told no task, of the oracle"),
    _headline("docstring_k5_share_matched", 0.929, "share", "recomputed", "The same in the 15 episodes of both"),
    _headline("docstring_k1_share_matched", 0.634, "share", "recomputed", "K=1, told no task, in these 15 episodes"),
    _headline("docstring_k5_over_k1", 1.43, "ratio", FILES, "K=5 to K=1, both told no task"),
    # Heads
    _headline("ioi_known", 6, "heads", FILES, "Known heads of IOI among K=1's first ten, and the oracle's"),
    _headline("ioi_known_by_chance", 1.8, "heads", "recomputed", "Of 26 known ones in a random ten of 144"),
    _headline("ioi_known_p", 0.0025, "probability", "recomputed", "That a random ten has as many"),
    _headline("sweep_drop", 3.317, "nats", "logs", "Logit difference lost without head 1.10, 100 induction sequences"),
)
"""First those of training, then those of the task that no policy was trained on, then those of single heads."""
