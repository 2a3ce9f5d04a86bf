"""Starting weights from a generator: the same on every device, whatever the global random state is."""

import torch
from torch import Tensor, nn


def initialise(module: nn.Module, generator: torch.Generator) -> None:
    """Draw all weights anew, in the order in which modules were registered.

    Linear weights are normal with variance 1 / (3 fan_in), embeddings normal with standard deviation 0.02 (GPT-2), biases
    0, norms the identity. A module that wants something else has a method `initialise_own(generator)`, which runs after
    its children are done.

    Args:
        module: the network, changed in place.
        generator: a CPU generator.
    """
    for child in module.children():
        initialise(child, generator)
    if isinstance(module, nn.Linear):
        _normal(module.weight, (3 * module.in_features) ** -0.5, generator)
        if module.bias is not None:
            module.bias.data.zero_()
    elif isinstance(module, nn.Embedding):
        _normal(module.weight, 0.02, generator)
    elif isinstance(module, nn.LayerNorm) and module.elementwise_affine:
        module.weight.data.fill_(1.0)
        module.bias.data.zero_()
    own = getattr(module, "initialise_own", None)
    if own is not None:
        own(generator)


def _normal(parameter: Tensor, deviation: float, generator: torch.Generator) -> None:
    drawn = torch.randn(parameter.shape, generator=generator, dtype=torch.float32)
    parameter.data.copy_(drawn * deviation)
