"""A device that is not the CPU, for machines without one: it keeps its data in the CPU's memory, and is as strict as CUDA.

`register()` sets it up as torch's PrivateUse1 backend: `torch.device('elsewhere')`. Its kernels look at the devices of all tensors first, then run on the CPU:
copies between the devices work, operations that mix them raise. Training, views, operations in place, pickles, `map_location`, optimisers and the RNNs work.

What it cannot stand in for: mixed precision, streams and pinned memory, generators of its own, compiled kernels.
It belongs to the whole process, so it is used in a process of its own: see `test_devices.py`."""
import ctypes
from contextlib import contextmanager, nullcontext
from functools import partial

import torch
from torch.utils import backend_registration
from torch.utils._pytree import tree_iter, tree_map
from torch.utils.dlpack import from_dlpack, to_dlpack

NAME = 'elsewhere'
available = hasattr(backend_registration, '_setup_privateuseone_for_python_backend')    # torch 2.10 or later
_present = True


# the same memory under another device's name: torch's DLPack knows PrivateUse1 as device type 12
class _DLTensor(ctypes.Structure): _fields_ = [('data', ctypes.c_void_p), ('type', ctypes.c_int32), ('id', ctypes.c_int32)]
_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_pointer.restype, _pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]

def _renamed(t, kind):
    capsule = to_dlpack(t)
    head = _DLTensor.from_address(_pointer(capsule, b'dltensor'))
    head.type, head.id = kind, 0
    return from_dlpack(capsule)

def is_there(o): return isinstance(o, torch.Tensor) and o.device.type == NAME
def _here(o): return _renamed(o.detach(), 1) if is_there(o) else torch.device('cpu') if isinstance(o, torch.device) else o
def _there(o): return _renamed(o, 12) if isinstance(o, torch.Tensor) and not is_there(o) else o


# kernels
_WITH_INDICES = ('aten::index', 'aten::index_put_', 'aten::_index_put_impl_', 'aten::_unsafe_index')

def _check(op, name, args, tensors, written):
    "As on CUDA: a CPU tensor takes part only where it has no dimensions, or is an index, and is not written to"
    cpu = [o for o in tensors if not is_there(o) and (o.ndim or any(o is w for w in written))]
    if name in _WITH_INDICES and is_there(args[0]): cpu = [o for o in cpu if not any(o is i for i in args[1])]
    if cpu and any(map(is_there, tensors)): raise RuntimeError(f"Expected all tensors to be on the same device, but found at least two devices, {NAME}:0 and cpu! ({name})")

def _kernel(op, *args, **kwargs):
    # what comes out of DLPack counts its versions, which inference mode does not allow
    with torch.inference_mode(False), torch.no_grad(): return _run(op, *args, **kwargs)

def _run(op, *args, **kwargs):
    name, schema = op.name().split('.')[0], op._schema
    if name == 'aten::_copy_from': _here(args[1]).copy_(_here(args[0])); return args[1]
    if name == 'aten::set_': return _set(*args)
    if name == 'aten::resize_': return _resize(*args)
    given = {**dict(zip((a.name for a in schema.arguments), args)), **kwargs}
    written = {next(iter(a.alias_info.before_set)): given.get(a.name) for a in schema.arguments if a.alias_info is not None and a.alias_info.is_write}
    if name != 'aten::copy_': _check(op, name, args, [o for o in tree_iter((args, kwargs)) if isinstance(o, torch.Tensor)], [o for o in tree_iter(list(written.values())) if o is not None])
    # an empty tensor that is written to may grow
    fresh = [(o, torch.empty(0, dtype=o.dtype)) for o in written.values() if is_there(o) and o.numel() == 0]
    here = lambda o: next((f for w, f in fresh if w is o), None) if any(w is o for w, _ in fresh) else _here(o)
    args, kwargs = tree_map(here, args), {k: False if k == 'pin_memory' else tree_map(here, v) for k, v in kwargs.items()}
    out = op(*args, **kwargs)
    for o, f in fresh:
        if f.shape != o.shape: o.data = _there(f)
    # what is written in place is given back as the object that it was
    give = lambda r, o: written[next(iter(r.alias_info.before_set))] if r.alias_info is not None and r.alias_info.is_write else tree_map(_there, o)
    if len(schema.returns) < 2: return give(schema.returns[0], out) if schema.returns else None
    return tuple(give(r, o) for r, o in zip(schema.returns, out))

def _set(t, storage, offset=0, size=None, stride=None):
    "`t` becomes a view of `storage`: deep copies and pickles build tensors so"
    n = storage.nbytes()
    if n:
        memory = type('_Memory', (ctypes.Array,), dict(_type_=ctypes.c_char, _length_=n)).from_address(storage.data_ptr())
        memory.owner = storage    # lives as long as the tensor
        flat = torch.frombuffer(memory, dtype=t.dtype)
    else: flat = torch.empty(0, dtype=t.dtype)
    if size is not None: flat = flat.as_strided(size, stride or torch.empty(size, device='meta').stride(), offset)
    t.data = _there(flat)
    return t

def _resize(t, size):
    new, old = torch.empty(size, dtype=t.dtype), _here(t).flatten()[:torch.Size(size).numel()]
    new.view(-1)[:len(old)] = old
    t.data = _there(new)
    return t

def _storages():
    "Storages on the device, which torch leaves to C++"
    cls, make, copy = torch.UntypedStorage, torch.UntypedStorage.__new__, torch.UntypedStorage.copy_
    def __new__(kind, *args, device=None, **kwargs):
        if device is not None and torch.device(device).type == NAME: return torch.empty(*args or (0,), dtype=torch.uint8, device=NAME).untyped_storage()
        return make(kind, *args, **kwargs) if device is None else make(kind, *args, device=device, **kwargs)
    def copy_(self, source, non_blocking=None):
        if NAME not in (self.device.type, source.device.type): return copy(self, source, non_blocking)
        ctypes.memmove(self.data_ptr(), source.data_ptr(), self.nbytes())
        return self
    cls.__new__, cls.copy_ = __new__, copy_

def _conversions():
    "`Module.to` keeps its parameters, as it does from CPU to CUDA. Not in `load_state_dict`, where the weak references of an RNN to its weights stand against it"
    apply, future = torch.nn.Module._apply, torch.__future__
    def _apply(self, *args, **kwargs):
        was = future.get_swap_module_params_on_conversion()
        future.set_swap_module_params_on_conversion(True)
        try: return apply(self, *args, **kwargs)
        finally: future.set_swap_module_params_on_conversion(was)
    torch.nn.Module._apply = _apply

def register():
    "Make the device known to this process, before the first backward pass"
    class Module(backend_registration._DummyBackendModule):
        def is_available(self): return _present
        def device_count(self): return int(_present)
        def device(self, device): return nullcontext()
    class Hook(backend_registration._DummyPrivateUse1Hook):
        def is_available(self): return _present
    backend_registration._setup_privateuseone_for_python_backend(NAME, Module(), Hook())
    _conversions()
    _storages()
    register.libs = every, aten = torch.library.Library('_', 'IMPL'), torch.library.Library('aten', 'IMPL')    # alive as long as they are used
    every.fallback(_kernel, 'PrivateUse1')
    # with the kernels of the CPU where it has any: what torch puts together from others for a device without them differs, as the mean of mse_loss does
    for name in torch._C._dispatch_get_all_op_names():
        has = lambda key: torch._C._dispatch_has_kernel_for_dispatch_key(name, key)
        if name.startswith('aten::') and has('CompositeExplicitAutogradNonFunctional') and has('CPU'):
            packet, _, overload = name[6:].partition('.')
            aten.impl(name[6:], partial(_kernel, getattr(getattr(torch.ops.aten, packet), overload or 'default')), 'PrivateUse1')
    from torch._decomp import decompositions
    for name, f in (('lstm.input', decompositions.lstm_impl), ('gru.input', decompositions.gru_impl), ('rnn_tanh.input', decompositions.rnn_tanh_input)):
        for key in ('PrivateUse1', 'AutogradPrivateUse1'): aten.impl(name, f, key)
    conv = torch.ops.aten
    aten.impl('convolution_overrideable', lambda *args: _kernel(conv.convolution.default, *args), 'PrivateUse1')
    aten.impl('convolution_backward_overrideable', lambda g, x, w, *args: _kernel(conv.convolution_backward.default, g, x, w, [w.shape[0]], *args), 'PrivateUse1')

@contextmanager
def absent():
    "Inside, this is a machine without the device: what was pickled with its tensors cannot be read, but with `map_location`"
    global _present
    _present = False
    try: yield
    finally: _present = True
