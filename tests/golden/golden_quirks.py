"""Cases, or single fields of them, that record a quirk of released code which no design uses: by case id, with the reason."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Quirk:
    """What is not built, and why.

    Attributes:
        reason: why nothing computes it.
        fields: the fields concerned, as paths; empty means the whole case.
    """

    reason: str
    fields: frozenset[str] = frozenset()


QUIRKS = {
    "bd3lm.sample_entropy-01": Quirk(
        "the rule by which the released sampler rejects texts of low unigram entropy; no text is rejected here"
    ),
    "bd3lm.schedule-02": Quirk(
        "the coded loss scaling of the cosine divides by p + eps, where alpha-bar and its derivative give p",
        frozenset({"loss_scaling"}),
    ),
    "duo.noise-02": Quirk(
        "the coded derivative of the cosine leaves out the factor 1 - eps; the curve itself is compared", frozenset({"dalpha"})
    ),
    "dinoiser.schedules-01": Quirk(
        "the coded inverse of the linear schedule does not invert it, and no published setting calls it",
        frozenset({"linear.rev_std_of_std_AS_CODE"}),
    ),
    "precision.max_gumbel-01": Quirk(
        "how far Gumbel noise of float32 draws reaches; draws here invert a sum in float64, and no noise of that kind is made"
    ),
    "sedd.exponential_race-01": Quirk(
        "a race in float32 whose constants cut off rare tokens; samplers here invert a float64 sum (randomness.categorical)"
    ),
    "seqdiffuseq.logvar_quirk-01": Quirk("np.append flattens the variance table of the released sampler"),
    "seqdiffuseq.std_quirk-01": Quirk("np.append flattens the variance table of the released sampler"),
}
