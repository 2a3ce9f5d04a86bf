"""DiffuSeq: Diffusion-LM made to rewrite a source that shares the canvas and stays clean.

Gong, Li, Feng, Wu and Kong 2023, arXiv:2210.08933.

    [x ; y] on one canvas                      -> conditioning.SourceThenTarget
    partial noising, equation 1                -> engine.Diffusion.alpha (1 where the token is given)
    L_VLB simplified, equation 2, as released  -> objectives.end_to_end over all positions
    importance sampling of t, section 3.2      -> timesteps.LossSecondMoment
    anchoring of the source at every step      -> engine.Diffusion.sample
    all T steps, each of variance beta_t       -> samplers.ancestral with gaussian.step_variance
    fewer steps, without noise, as released    -> samplers.ddim, eta = 0, to the level of the next step visited

Paper and code disagree on the loss mask (target only, against all positions) and on the source's embedding noise; this follows
the code: everything counts, and the source keeps the noise of the embedding step in training.
"""

from baselines.engine import Times
from baselines.parts.conditioning import Layout, SourceThenTarget
from baselines.parts.gaussian import step_variance
from baselines.parts.samplers import Reverse, ancestral, ddim
from baselines.parts.timesteps import LossSecondMoment
from baselines.systems.diffusion_lm import DiffusionLM
from harness.contracts import TaskView
from harness.design import Design


class DiffuSeq(DiffusionLM):
    """Text from text, or from a control's canonical text, on one canvas; sizes as in Diffusion-LM."""

    design = Design(
        name="diffuseq", kind="diffusion", families=("a2t", "t2t"), space="embedding, learned", kernel="Gaussian, target only",
        schedule="sqrt@2000", grains=("sequence",), chain=2000, predicts="x0", conditioning="source in sequence, pinned",
        posterior="plug-in", last_step="mean, then argmax of the tied head", variance="beta at all T steps, 0 at fewer (DDIM)",
        clamping=True, time_input="1000 i / T", loss_mask="all positions, source and padding included", paper="2210.08933",
        version=2,
    )  # fmt: skip
    variance = staticmethod(step_variance)

    @staticmethod
    def make_layout(task: TaskView) -> Layout:
        """Source, end, separator, target."""
        return SourceThenTarget(source=task.max_source_tokens, target=task.max_tokens)

    def reverse_for(self, steps: int) -> Reverse:
        """Variance beta_t is right for neighbouring steps only; where steps are skipped no noise is added."""
        return ancestral if steps == self.diffusion.chain else ddim

    def times(self, chain: int) -> Times:
        """Steps with large losses more often."""
        return LossSecondMoment(chain)
