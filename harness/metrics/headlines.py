"""What is looked at first in each family."""

from collections.abc import Mapping

HEADLINES: Mapping[str, tuple[str, ...]] = {
    "ucg": (
        "in_language_standardised", "mauve", "frechet", "judge_ppl", "sample_entropy", "human_entropy", "rep_4", "distinct_2",
        "in_language", "true_nll", "mean_words", "own_bits_per_byte",
    ),
    "a2t": ("correct", "slots_right", "chrf", "chrf++", "bleu", "judge_ppl", "length_ratio"),
    "t2t": ("correct", "chrf", "chrf++", "bleu", "bertscore_r", "exact_copy_rate", "judge_ppl", "length_ratio"),
}  # fmt: skip
"""Family -> values; a section of a table is sorted by the first of these that it has."""
