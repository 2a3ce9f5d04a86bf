"""A stand-in for an accelerator: the device "meta", whose tensors hold their values on the CPU and meet no tensor of the CPU.

What CUDA allows is allowed: copies from device to device, tensors of the CPU without dimensions among others, indices on the CPU
into a tensor that is away. Mixed precision, fused optimisers and inference mode are not imitated.
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter, tree_map

AWAY = torch.device("meta")
_COPIES = (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default)
_INDEXINGS = (torch.ops.aten.index.Tensor, torch.ops.aten.index_put_.default, torch.ops.aten.index_put.default)
_MAKERS = (torch.tensor, torch.as_tensor, torch.asarray)
_AdamW, _RealGenerator = torch.optim.AdamW, torch.Generator


class Away(Tensor):
    """A tensor on the device, with its values."""

    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, values):
        return Tensor._make_wrapper_subclass(
            cls, values.size(), strides=values.stride(), storage_offset=values.storage_offset(), dtype=values.dtype,
            device=AWAY, requires_grad=values.requires_grad,
        )  # fmt: skip

    def __init__(self, values):
        self.values_here = values

    def __tensor_flatten__(self):
        return ["values_here"], None

    @staticmethod
    def __tensor_unflatten__(inner, context, size, stride):
        return Away(inner["values_here"])

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return _called(func, args, kwargs or {})

    def tolist(self):
        return self.values_here.tolist()


class _Operations(TorchDispatchMode):
    """Operations without a tensor among their arguments too."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return _called(func, args, kwargs or {})


class _Makers(TorchFunctionMode):
    """Tensors of given values, which come into being without an operation."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        named = dict(kwargs or {})
        device = named.pop("device", None) if func in _MAKERS else None
        made = func(*args, **named)
        return made if device is None else made.to(device)


class _Generator(_RealGenerator):
    """Says that it is on the device that was asked for; draws on the CPU."""

    def __new__(cls, device="cpu"):
        return _RealGenerator.__new__(cls, "cpu")

    def __init__(self, device="cpu"):
        self.asked = torch.device(device)

    @property
    def device(self):
        return self.asked


@contextmanager
def fake_device(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of the device, while it is there."""
    monkeypatch.setattr(torch, "Generator", _Generator)
    monkeypatch.setattr(torch, "autocast", lambda *args, **kwargs: nullcontext())
    monkeypatch.setattr(torch.optim, "AdamW", lambda weights, **keys: _AdamW(weights, **{**keys, "fused": False}))
    swapped = torch.__future__.get_swap_module_params_on_conversion()
    torch.__future__.set_swap_module_params_on_conversion(True)
    try:
        with _Operations(), _Makers():
            yield AWAY.type
    finally:
        torch.__future__.set_swap_module_params_on_conversion(swapped)


def _called(func, args, kwargs):
    given = [item for item in tree_iter((args, kwargs)) if isinstance(item, Tensor)]
    away = [tensor for tensor in given if isinstance(tensor, Away)]
    if away and func not in _COPIES:
        _check(func, args, given)
    asked = kwargs.get("device")
    here = kwargs if asked is None else {**kwargs, "device": torch.device("cpu")}
    result = func(*tree_map(_values, args), **tree_map(_values, here))
    goes_away = bool(away) if asked is None else torch.device(asked) == AWAY
    if func is torch.ops.aten.copy_.default:
        return args[0]
    known = {id(tensor.values_here): tensor for tensor in away}
    return tree_map(lambda item: _sent(item, known), result) if goes_away else result


def _check(func, args, given):
    strangers = [tensor for tensor in given if not isinstance(tensor, Away) and tensor.dim()]
    if func in _INDEXINGS and isinstance(args[0], Away):
        strangers = [tensor for tensor in strangers if not any(tensor is index for index in args[1])]
    if strangers or (func in _INDEXINGS and not isinstance(args[0], Away)):
        raise RuntimeError(f"{func}: tensors of two devices: {[(tensor.device.type, tuple(tensor.shape)) for tensor in given]}")


def _values(item):
    return item.values_here if isinstance(item, Away) else item


def _sent(item, known):
    """A result on the device; one that was there is itself, so that changes in place are seen."""
    return known[id(item)] if id(item) in known else Away(item) if isinstance(item, Tensor) else item
