"""The judge: a language model that scores the texts of others and competes with no one.

It is trained on a fold that no contestant sees, on targets alone: a condition is never read.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float32

from baselines.autoregressive.gpt import GPT
from baselines.autoregressive.model import SCORED_TOGETHER, right_padded
from harness.contracts import Example, Likelihood, Request
from harness.design import Design
from harness.tokenizer import BOS, EOS, PAD

EMBEDDED_TOGETHER = 64  # texts whose features are computed at once


class Judge(GPT):
    """A larger `gpt` over texts without conditions."""

    design = Design(
        name="judge", kind="autoregressive", families=("ucg", "a2t", "t2t"), predicts="next token",
        conditioning="none: targets alone", loss_mask="target up to and including EOS", length="EOS", likelihood="exact",
    )  # fmt: skip
    defaults: ClassVar[Mapping[str, Any]] = {**GPT.defaults, "width": 192, "heads": 6}

    def prefixes(self, items: Sequence[Example] | Sequence[Request]) -> list[list[int]]:
        """BOS, whatever the condition is."""
        return [[BOS] for _ in items]

    def likelihood_of_texts(self, texts: Sequence[str]) -> Likelihood:
        """Exact likelihood of whole texts, EOS included; nothing is cut.

        Args:
            texts: any texts; unknown words count as UNK.
        """
        ids = [[*text, EOS] for text in self.task.tokenizer.encode_batch(list(texts))]
        examples = [Example(id=str(place), target=text) for place, text in enumerate(texts)]
        return self._likelihood(ids, examples, [len(text.encode()) for text in texts])

    @torch.inference_mode()
    def likelihood_after_first(self, texts: Sequence[str]) -> Likelihood:
        """Likelihood of every token after the first, given BOS and the first; EOS is not scored.

        Parts of the literature define perplexity so, since their scorers read no BOS.

        Args:
            texts: any texts; those of fewer than two tokens have 0 nats and 0 tokens.
        """
        self.eval()
        ids = self.task.tokenizer.encode_batch(list(texts))
        nats = torch.zeros(len(ids), dtype=torch.float64)
        order = sorted((place for place in range(len(ids)) if len(ids[place]) > 1), key=lambda place: len(ids[place]))
        for start in range(0, len(order), SCORED_TOGETHER):
            part = order[start : start + SCORED_TOGETHER]
            batch = self.tensors([ids[place] for place in part], [Example(id=str(place), target="") for place in part])
            batch["ends"][:, 0] += 1
            nats[part] = self.nats({name: tensor.to(self._device) for name, tensor in batch.items()}).cpu().double()
        tokens = tuple(max(len(text) - 1, 0) for text in ids)
        sizes = tuple(len(text.encode()) for text in texts)
        return Likelihood(nats=tuple(nats.tolist()), tokens=tokens, bytes=sizes, kind="exact", estimator="ar-exact")

    @torch.inference_mode()
    def features(self, texts: Sequence[str]) -> Float32[np.ndarray, "n D"]:
        """One vector per text: the mean of the final hidden states over its tokens and EOS.

        Args:
            texts: any texts.
        """
        self.eval()
        found = np.zeros((len(texts), self.measures["width"]), dtype=np.float32)
        ids = [[BOS, *text, EOS] for text in self.task.tokenizer.encode_batch(list(texts))]
        order = sorted(range(len(ids)), key=lambda place: len(ids[place]))
        for start in range(0, len(order), EMBEDDED_TOGETHER):
            part = order[start : start + EMBEDDED_TOGETHER]
            tokens = right_padded([ids[place] for place in part]).long().to(self._device)
            hidden = self.network.hidden(tokens)[:, 1:]
            real = (tokens[:, 1:] != PAD).unsqueeze(-1)
            found[part] = ((hidden * real).sum(1) / real.sum(1)).float().cpu().numpy()
        return found

    @property
    def signature(self) -> str:
        """Name, version and the start of the sha256 of the weights: what must agree before two scores are compared."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.state_dict().items()):
            digest.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
        return f"{self.design.name} v{self.design.version} {digest.hexdigest()[:12]}"
