"""Latency of a model beside that of the autoregressive baseline: warm, in turn, with raw values and evidence.

What is done:

- Warm-up at the timed shape until stable; its seconds are a value of their own.
- The device synchronised around every reading of a nanosecond clock; on CUDA, events as a second reading, and a flag where the
  two differ by more than 2 %.
- Both systems in interleaved blocks (A B B A ...) on one device. A faster system makes more calls in a block; a scenario ends
  when each has its requests and the slower its seconds.
- Three scenarios: one request at a time and many together, both at a fixed length that everyone writes to its end, and one at a
  time at natural length, where everyone stops as it likes and only what it wrote up to its first EOS counts.
- All candidates of a request are inside, and the baseline decodes as the candidate does. The batch counts requests: they go
  through the network together with all their candidates and beams.
- What is timed at natural length is what was scored, asked once more: texts that differ are counted.
- A fixed piece of work, the canary kernel, before, between and after: when its speed drifts, the machine was not steady. Other
  processes are looked for on CPUs and GPUs. What fails such a check is measured once more, and stays visible but greyed where it
  fails again (`harness.latency.integrity`).
- Percentiles, medians and their ratios only where there are enough readings; ratios of medians with an interval that resamples
  blocks, then requests.

Where this departs from the usual window (ids in, ids out): a model takes text and gives text, so tokenising and detokenising are
inside. What they take by themselves is measured outside and stands beside (`latency_tokenising_ms`). The hook by which a
diffusion model counts its network calls stays on in timed calls: 4 microseconds a call, below 0.1 % of a step of 140,000
parameters on one CPU thread. Single contaminated readings are not discarded: the median bears some, and the check sees many.
"""

from harness.latency.contestants import Contestant
from harness.latency.passes import Latency, measure

__all__ = ["Contestant", "Latency", "measure"]
