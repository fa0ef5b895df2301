"""Headline numbers of Han, Chalmers & Izmailov (2026, arXiv 2605.30232): the functional welfare axis."""

from jobs.published.headline import Headline

TEXT, DATA = "text", "figure data"
"""The paper and its site; the files behind the site's figures, at commit 28f1ad5."""


def _headline(name: str, value: float, unit: str, source: str, description: str) -> Headline:
    return Headline("welfare_axis", name, value, unit, source, description)


HEADLINES_OF_WELFARE = (
    # The vectors of the primary run, Qwen3-4B-Instruct-2507
    _headline("cosine_least", -0.947, "cosine", TEXT, "Mold's and Gold's vector in the block where it is least (35)"),
    _headline("cosine_mean", -0.210, "cosine", TEXT, "The same, mean over blocks"),
    _headline("cosine_centred", -0.813, "cosine", TEXT, "The same of centred class means, two thirds up"),
    _headline("cosine_centred_untrained", 0.086, "cosine", TEXT, "The same before training"),
    _headline("cosine_less_path", -0.60, "cosine", TEXT, "The same of class means less Path's, last block"),
    _headline("untrained_cosine_least_low", -0.229, "cosine", TEXT, "Least cosine before training, lowest of all runs"),
    _headline(
        "untrained_cosine_least_high", -0.125, "cosine", TEXT, "Least cosine before training, highest of all runs"
    ),
    _headline("norm_mold", 4.07, "norm", TEXT, "Mold's vector at its block, 20"),
    _headline("norm_gold", 14.37, "norm", TEXT, "Gold's vector at its block, 22"),
    _headline("emotions_r", -0.948, "r", DATA, "Of the emotion words' cosines with Gold against those with Mold"),
    _headline("emotions_r_base", -0.992, "r", DATA, "The same in Qwen3-4B-Base"),
    _headline("pc1_explained", 0.462, "share", TEXT, "Variance of emotion vectors on their first component: valence"),
    _headline("pc1_mold", -3.05, "projection", DATA, "Mold's vector on it"),
    _headline("pc1_gold", 2.96, "projection", DATA, "Gold's vector on it"),
    _headline("finals_d_mold", 2.44, "Cohen's d", DATA, "Trajectories that end on Mold, by Mold's vector"),
    _headline("finals_d_mold_naive", 0.60, "Cohen's d", DATA, "The same before training, by the vector of then"),
    _headline("finals_d_gold", 2.47, "Cohen's d", DATA, "Trajectories that end on Gold, by Gold's vector"),
    _headline("finals_d_gold_naive", 0.37, "Cohen's d", DATA, "The same before training, by the vector of then"),
    # Steering of the maze-naive primary model, from alpha -4 to 4
    _headline("sentiment_gold_low", -0.60, "rating", DATA, "Sentiment, -5 to 5, at alpha -4 of Gold"),
    _headline("sentiment_gold_high", 4.73, "rating", DATA, "The same at 4"),
    _headline("sentiment_mold_low", 2.31, "rating", DATA, "Sentiment at alpha -4 of Mold"),
    _headline("sentiment_mold_high", 0.64, "rating", DATA, "The same at 4"),
    _headline("mmlu_gold_low", 0.005, "probability", DATA, "Normalised P(True), MMLU, at alpha -4 of Gold"),
    _headline("mmlu_gold_high", 1.0, "probability", DATA, "The same at 4"),
    _headline("mmlu_mold_low", 0.964, "probability", DATA, "Normalised P(True), MMLU, at alpha -4 of Mold"),
    _headline("mmlu_mold_high", 0.056, "probability", DATA, "The same at 4"),
    _headline("backtracking_mold_low", 0.013, "share", DATA, "Backtracking at alpha -4 of Mold"),
    _headline("backtracking_mold_high", 0.944, "share", DATA, "The same at 4"),
    _headline(
        "backtracking_untrained_gold", 0.706, "share", DATA, "Control: backtracking at alpha 4 of untrained Gold"
    ),
    _headline("refusal_gold_low", 0.640, "share", DATA, "Refusals at alpha -4 of Gold (.751 at -2)"),
    _headline("refusal_gold_high", 0.377, "share", DATA, "The same at 4"),
    _headline("refusal_mold_low", 0.500, "share", DATA, "Refusals at alpha -4 of Mold"),
    _headline("refusal_mold_high", 0.716, "share", DATA, "The same at 4"),
    # How far a second judge agrees with the first
    _headline("judges_sentiment_r", 0.83, "r", TEXT, "Two judges' sentiment; 87.6 % within one point"),
    _headline("judges_refusal_kappa", 0.868, "kappa", TEXT, "Two judges' refusals"),
    _headline("judges_backtracking_kappa", 0.681, "kappa", TEXT, "Two judges' backtracking"),
)
"""First those of the vectors, then those of steering, then those of the judges."""
