"""A device that is not the CPU, on any machine: `sim:0`. An operator that gets tensors of both devices raises, as on a GPU.

    import tests.simulated_device as sim; device = sim.install()     # once per process; in a process of its own, best

torch keeps one dispatch key, PrivateUse1, for devices that it does not know, and lets Python register one. A tensor of the device
is a plain `torch.Tensor` whose storage has a size and no memory. The storage's Python object lives as long as the storage; its
attribute `data` is the CPU storage with the numbers. Views and `detach` share the storage, and so the numbers. Every operator
that a GPU has is computed on CPU tensors laid over that data: results are the CPU's bit for bit.

Private interfaces of torch are used (tested with torch 2.11 and 2.14). Branches for `device.type == "cuda"` are not taken.
"""

from __future__ import annotations

from functools import partial, reduce, wraps
from typing import Any
from weakref import WeakValueDictionary

import torch
from torch import Tensor
from torch.utils import backend_registration
from torch.utils._pytree import tree_leaves, tree_map_only

NAME = "sim"
_aten = torch.ops.aten
_libraries: list[Any] = []
_generators: WeakValueDictionary[int, Any] = WeakValueDictionary()  # operators get another Python object for a generator
_keys = reduce(
    lambda found, key: found | torch._C.DispatchKeySet(getattr(torch._C.DispatchKey, key)),
    ("ADInplaceOrView", "AutogradCPU", "AutogradPrivateUse1", "AutogradOther"),
    torch._C.DispatchKeySet(torch._C.DispatchKey.Python),
)
_on_cpu = partial(torch._C._ExcludeDispatchKeyGuard, _keys)
"""Within it an operator goes straight to the CPU's kernel: autograd has seen the simulated tensors already."""
SCALARS = {"index", "index_put", "index_put_", "fill", "fill_", "masked_fill", "masked_fill_", "index_fill", "index_fill_"}
"""Operators that take a CPU tensor without dimensions for a number, beside the elementwise ones."""
INDEXED = {"index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index", "_unsafe_index_put"}
"""Operators whose indices may lie on the CPU."""


class MixedDevicesError(RuntimeError):
    """Tensors, or a generator, of the CPU and of the device met in one operator."""


class _Shell(Tensor):
    """A wrapper subclass: torch's way to make a storage of some size without memory on any device."""

    __torch_dispatch__ = classmethod(lambda cls, operator, *rest: NotImplemented)


class _Generator(torch._C.Generator):
    """torch.Generator that also knows the device; its numbers are the CPU's."""

    def __new__(cls, device: Any = "cpu") -> Any:
        if torch.device(device).type != NAME:
            return super().__new__(cls, device)
        made = super().__new__(cls, "cpu")
        return _generators.setdefault(made._cdata, made)

    @property
    def device(self) -> torch.device:
        return torch.device(NAME, 0) if self._cdata in _generators else torch._C.Generator.device.__get__(self)


class _Module(backend_registration._DummyBackendModule):
    """What torch asks a device's module."""

    get_rng_state = staticmethod(lambda device=0: torch.get_rng_state())
    set_rng_state = staticmethod(lambda state, device=0: torch.set_rng_state(state))
    get_amp_supported_dtype = staticmethod(list)


def there(x: Tensor) -> bool:
    """Return whether a tensor is on the simulated device."""
    return x.device.type == NAME


def data_of(x: Tensor) -> Tensor:
    """Return the CPU tensor of the same sizes and strides that holds a simulated tensor's data."""
    return torch.empty(0, dtype=x.dtype).set_(x.untyped_storage().data, x.storage_offset(), x.size(), x.stride())


def placed(data: Tensor, relatives: list[Tensor]) -> Tensor:
    """Return the simulated tensor over `data`; where one of `relatives` has that storage, it is shared, as views do."""
    storage = data.untyped_storage()
    with _on_cpu():
        for other in relatives:
            own = other.untyped_storage()
            if other.dtype == data.dtype and own.data._cdata == storage._cdata and own.nbytes() == storage.nbytes():
                return _aten.as_strided_.default(_aten.alias.default(other), data.size(), data.stride(), data.storage_offset())
        shape = {"strides": data.stride(), "storage_offset": data.storage_offset(), "storage_size": storage.nbytes()}
        shell = torch.Tensor._make_wrapper_subclass(_Shell, data.size(), dtype=data.dtype, device=torch.device(NAME, 0), **shape)
        plain = _aten.alias.default(shell)
    plain.untyped_storage().data = storage
    return plain


def _refuse_mixing(operator: Any, name: str, args: Any, leaves: list[Any]) -> None:
    tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
    indices = {id(x) for x in tree_leaves(args[1])} if name in INDEXED else set()
    numbers = torch.Tag.pointwise in operator.tags or name in SCALARS or name.startswith(("_foreach", "_fused_"))
    foreign = [x for x in tensors if not there(x) and id(x) not in indices and (x.dim() > 0 or not numbers)]
    strange = [g for g in leaves if isinstance(g, torch._C.Generator) and g._cdata not in _generators]
    if (foreign and any(there(x) for x in tensors)) or strange:
        devices = [f"{tuple(x.shape)} on {x.device}" for x in tensors] + [f"a generator on {g.device}" for g in strange]
        raise MixedDevicesError(f"{operator}: expected all tensors on one device, found {', '.join(devices)}")


def _compute(operator: Any, *args: Any, **kwargs: Any) -> Any:
    """Execute an operator for the device."""
    name = operator._schema.name.removeprefix("aten::")
    leaves = tree_leaves((args, kwargs))
    _refuse_mixing(operator, name, args, leaves)
    tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
    own = [x for x in tensors if there(x)]
    datas = {id(x): data_of(x) for x in own}

    def lower(x: Any) -> Any:
        if isinstance(x, torch.device):
            return torch.device("cpu") if x.type == NAME else x
        return datas.get(id(x), x) if isinstance(x, Tensor) else getattr(x, "data", x)

    # `x % 20` arrives with a plain 20 where the schema says Tensor: torch must choose the overload again.
    plain = any(
        type(x) in (int, float, complex, bool) and isinstance(argument.type, torch._C.TensorType)
        for x, argument in zip(args, operator._schema.arguments, strict=False)
    )
    with _on_cpu():
        low = tree_map_only((Tensor, torch.device, torch.UntypedStorage), lower, (args, kwargs))
        found = (operator._overloadpacket if plain else operator)(*low[0], **low[1])
        for x in own if operator._schema.is_mutable else ():  # an output may have been resized, or set to other data
            data, storage = datas[id(x)], x.untyped_storage()
            now = data.untyped_storage()
            moved = now._cdata != storage.data._cdata or now.nbytes() != storage.nbytes()
            if moved or data.size() != x.size() or data.stride() != x.stride():
                x.data = placed(data, [other for other in own if other is not x])
        written = {id(lower(x)): x for x in tensors}
        return tree_map_only(Tensor, lambda x: written[id(x)] if id(x) in written else placed(x, own), found)


def _copy(target: Tensor, source: Tensor, non_blocking: bool = False) -> Tensor:
    """aten::copy_, the one operator that goes from one device to the other."""
    with _on_cpu():
        (data_of(target) if there(target) else target).copy_(data_of(source) if there(source) else source)
    return target


def _patch(owner: Any, name: str, simulated: Any) -> None:
    """Let `owner.name` be `simulated` for what is on the device."""
    before = getattr(owner, name)
    setattr(owner, name, wraps(before)(lambda x, *args, **options: (simulated if there(x) else before)(x, *args, **options)))


def install() -> torch.device:
    """Register the device, once per process, and return it."""
    if _libraries:
        return torch.device(NAME, 0)
    backend_registration._setup_privateuseone_for_python_backend(NAME, _Module())
    rest, own = torch.library.Library("_", "IMPL"), torch.library.Library("aten", "IMPL")
    _libraries.extend([rest, own])
    rest.fallback(_compute, "PrivateUse1")
    rest.fallback(torch.library.fallthrough_kernel, "AutocastPrivateUse1")
    has = torch._C._dispatch_has_kernel_for_dispatch_key
    like = "CUDA" if has("aten::mm", "CUDA") else "CPU"  # in a build without CUDA the CPU's list is near enough
    special = {
        "copy_": _copy,
        "_fused_sdp_choice": lambda *args, **options: 0,
        "_efficientzerotensor": lambda size, dtype=None, **options: placed(torch.zeros(size, dtype=dtype), []),
    }
    for full in torch._C._dispatch_get_all_op_names():
        name = full.removeprefix("aten::")
        if full.startswith("aten::") and (name in special or has(full, like) or name in ("convolution", "_convolution")):
            packet, _, overload = name.partition(".")
            operator = getattr(getattr(_aten, packet), overload or "default")
            own.impl(name, special.get(name, partial(_compute, operator)), "PrivateUse1")
    torch.Generator = _Generator  # type: ignore[misc]
    torch.__future__.set_swap_module_params_on_conversion(True)  # Module.to keeps its Parameter objects, as for CUDA
    _patch(Tensor, "data_ptr", lambda x: data_of(x).data_ptr())
    _patch(Tensor, "__deepcopy__", lambda x, memo: memo.setdefault(id(x), x.detach().clone().requires_grad_(x.requires_grad)))
    _patch(torch.UntypedStorage, "data_ptr", lambda storage: storage.data.data_ptr())
    _patch(torch.UntypedStorage, "cpu", lambda storage: storage.data.clone())
    return torch.device(NAME, 0)
