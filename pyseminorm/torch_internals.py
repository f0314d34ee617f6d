"""The names of PyTorch that it does not promise to keep; tests/test_torch_internals.py and its neighbour try each."""

from __future__ import annotations

import contextlib
import operator
import warnings
from collections.abc import Callable, Iterator, Sequence
from types import CodeType
from typing import Any, NamedTuple

import torch
from torch import fx
from torch._guards import TracingContext, tracing
from torch.nn.modules import module as nn_module
from torch.utils import _pytree

from .imports import import_whole

# Trees of tuples, lists, dicts and what is registered.
pytree = _pytree

# One call for many tensors: a call for each costs as much as a small layer.
increment_all: Any = torch._foreach_add_
copy_all: Any = torch._foreach_copy_
multiply_all: Any = torch._foreach_mul_

# (flat, tensors) -> views of the flat tensor in the shapes of the others, all in one call.
unflatten: Any = torch._C._nn.unflatten_dense_tensors

# torch.autograd.grad without its handling of arguments, which takes as long as a small layer:
# (outputs, cotangents, retain_graph, create_graph, inputs, allow_unused, accumulate_grad=False) -> gradients.
run_backward: Any = torch.autograd.Variable._execution_engine.run_backward

# A tensor that has left a transform of torch.func, as itself.
unwrap_if_dead: Any = torch._C._functorch.unwrap_if_dead
is_wrapped: Any = torch._C._functorch.is_functorch_wrapped_tensor  # by a transform of torch.func, dead or alive
# A context that leaves the thread's dispatch as it was.
keeping_dispatch: Any = getattr(torch._C, "_PreserveDispatchKeyGuard", contextlib.nullcontext)

# The number of the backward pass that runs here; every one has its own, whatever thread it goes through.
backward_pass_number: Any = torch._C._current_graph_task_id

# How many nodes of graphs this thread has made; the next one gets this number.
count_nodes: Any = torch._C._autograd._get_sequence_nr


def get_number(x: torch.Tensor) -> int | None:
    """Return the number of the node that a tensor comes from, or None for a leaf."""
    node: Any = x.grad_fn
    return None if node is None else int(node._sequence_nr())


def count_writes(x: torch.Tensor) -> int:
    """Return how often the memory of a tensor was changed in place; 0 for an inference tensor, which does not count."""
    return 0 if x.is_inference() else x._version


_version = operator.attrgetter("_version")


def count_all_writes(tensors: Sequence[torch.Tensor]) -> list[int]:
    """Return `count_writes` of each tensor, which a solve asks in both passes."""
    try:
        return list(map(_version, tensors))
    except RuntimeError:  # an inference tensor
        return list(map(count_writes, tensors))


def has_hooks(x: torch.Tensor) -> bool:
    """Tell whether hooks act on the gradient by a leaf, however it is asked for."""
    return bool(x._backward_hooks)


_LEAF = pytree.tree_flatten(0)[1]


def flatten_tree(tree: Any) -> tuple[list[Any], Any]:
    """Return the leaves and the structure of a tree, as pytree.tree_flatten, which leaves a reference cycle."""
    leaves: list[Any] = []
    return leaves, _flatten_node(tree, leaves)


def _flatten_node(node: Any, leaves: list[Any]) -> Any:
    kind = pytree._get_node_type(node)
    if kind not in pytree.SUPPORTED_NODES:
        leaves.append(node)
        return _LEAF
    children, context = pytree.SUPPORTED_NODES[kind].flatten_fn(node)
    return pytree.TreeSpec(kind, context, [_flatten_node(child, leaves) for child in children])


def vmap(function: Any, *tensors: torch.Tensor) -> torch.Tensor:
    """Return what a function gives for each row of tensors, in one call, as torch.func.vmap, which leaves cycles."""
    from torch._functorch import vmap as implementation

    implementation.lazy_load_decompositions()  # type: ignore[attr-defined]
    functorch, rows = torch._C._functorch, len(tensors[0])
    level = functorch._vmap_increment_nesting(rows, "error")
    try:
        value = function(*(functorch._add_batch_dim(x, 0, level) for x in tensors))
        return functorch._remove_batch_dim(value, level, rows, 0)
    finally:
        functorch._vmap_decrement_nesting()


def aten_operations(**names: str) -> list[Any]:
    """Return operations of ATen: of each overload, those with the names in a text."""
    aten = torch.ops.aten
    return [getattr(getattr(aten, name), overload) for overload, listed in names.items() for name in listed.split()]


def get_decompositions(operations: list[Any]) -> dict[Any, Any]:
    """Return torch's functions that write operations by smaller ones."""
    from torch._decomp import get_decompositions  # which takes long to import

    return get_decompositions(operations)


def transform_is_active() -> bool:
    """Tell whether this runs inside a transform of torch.func (grad, vmap, jvp ...)."""
    return torch._C._functorch.peek_interpreter_stack() is not None


def vmap_is_active() -> bool:
    """Tell whether one of the transforms that this runs inside is vmap."""
    stack: Any = torch._C._functorch.get_interpreter_stack()
    return any(level.key() == torch._C._functorch.TransformType.Vmap for level in stack or ())


def is_recorded_or_fake() -> bool:
    """Tell whether this thread's operations go into a graph of torch.jit.trace or make_fx, or are of fake tensors."""
    if torch._C._is_tracing():
        return True
    if not torch._C._len_torch_dispatch_stack():
        return False
    key, mode = torch._C._TorchDispatchModeKey, torch._C._get_dispatch_mode
    return mode(key.PROXY) is not None or mode(key.FAKE) is not None


def forward_mode_is_active() -> bool:
    """Tell whether this runs inside a level of forward-mode automatic differentiation."""
    return bool(torch.autograd.forward_ad._current_level >= 0)


def is_exporting() -> bool:
    """Tell whether this thread's operations go into the graph of torch.export; its flags are those of all threads."""
    flag: Any = getattr(torch.compiler, "is_exporting", torch.compiler.is_compiling)  # since torch 2.7
    return bool(flag() and torch._C._len_torch_dispatch_stack())


def has_saved_tensors_hooks() -> bool:
    """Tell whether hooks of the user's see what autograd saves."""
    return torch._C._autograd._top_saved_tensors_default_hooks(False) is not None


@contextlib.contextmanager
def leaving_transforms() -> Iterator[None]:
    """Leave, after an error, the transforms of torch.func that a graph has entered and would have left."""
    functorch: Any = torch._C._functorch
    depth = functorch.get_dynamic_layer_stack_depth()
    try:
        yield
    except BaseException:
        functorch.pop_dynamic_layer_stack_and_undo_to_depth(depth)
        raise


def number_of_global_hooks() -> int:
    """Return how many hooks there are on all modules, which TorchDynamo does not guard."""
    return sum(map(len, _GLOBAL_HOOKS))


_GLOBAL_HOOKS: list[Any] = [
    getattr(nn_module, f"_global_{kind}_hooks") for kind in ("forward", "forward_pre", "backward", "backward_pre")
]


def dynamo_refuses_side_effects() -> bool:
    """Tell whether TorchDynamo can refuse functions that change what they did not make, as it can in torch 2.13."""
    return hasattr(import_whole("torch._dynamo.config"), "side_effect_replay_policy")


def dynamo_has_seen(code: CodeType) -> bool:
    """Tell whether TorchDynamo has looked at a piece of code since the process began, or since it was reset."""
    from torch._dynamo.convert_frame import input_codes

    return code in input_codes


def dynamo_settings(settings: dict[str, Any]) -> Any:
    """Return a context in which TorchDynamo has these settings, as far as it knows them, in this thread."""
    import torch._dynamo.config as config

    return config.patch({name: value for name, value in settings.items() if hasattr(config, name)})


def guard_tensors(tensors: Sequence[torch.Tensor]) -> Callable[..., bool]:
    """Return TorchDynamo's check, in one call, that tensors are of the types, dtypes, devices and layouts of these."""
    from torch._C._dynamo.guards import TensorGuards

    sizes: Any = [list(x.shape) for x in tensors]
    strides: Any = [list(x.stride()) for x in tensors]
    check: Callable[..., bool] = TensorGuards(*tensors, dynamic_dims_sizes=sizes, dynamic_dims_strides=strides).check
    return check


def source_of(node: fx.Node) -> str:
    """Return where TorchDynamo found an input of its graph: a Python expression of ``L``, the arguments, and ``G``."""
    found = node.meta.get("grapharg")
    name = "" if found is None else found.source.name
    return name() if callable(name) else str(name)


def batch_level() -> int:
    """Return how deep this runs inside batched gradients (torch.autograd.grad with is_grads_batched=True)."""
    level = torch._C._vmapmode_increment_nesting() - 1
    torch._C._vmapmode_decrement_nesting()
    return int(level)


def is_batched(x: torch.Tensor) -> bool:
    """Tell whether a tensor inside batched gradients stands for a row of them."""
    return "Batched" in str(torch._C._dispatch_keys(x))


def split_batch(*tensors: torch.Tensor) -> list[tuple[torch.Tensor, ...]]:
    """Return the rows of batched tensors; one that is not batched is the same in every row."""
    level = batch_level()
    split = [torch._remove_batch_dim(x, level, 1, 0) for x in tensors]
    count = max(map(len, split))
    return list(zip(*(x.expand(count, *x.shape[1:]) for x in split), strict=True))


def join_batch(rows: torch.Tensor) -> torch.Tensor:
    """Return rows as a batched tensor."""
    return torch._add_batch_dim(rows, 0, batch_level())


# Products of so few multiplications are loops of the kernel that they stand in: a call of BLAS takes longer to begin.
_SMALL_PRODUCT, _SMALL_STRIDED_PRODUCT = 32768, 16384
_VECTOR = 16  # numbers that one instruction takes


def _multiply_small(a: torch.Tensor, b: torch.Tensor) -> Any:
    columns = b.shape[1] > 1 and b.stride(1) > 1  # which vectors of numbers are gathered from
    if a.device.type != "cpu" or a.numel() * b.shape[1] > (_SMALL_STRIDED_PRODUCT if columns else _SMALL_PRODUCT):
        return NotImplemented
    if a.shape[1] == 1:
        return a * b
    if b.shape[1] < _VECTOR <= a.shape[0] and a.stride(0) == 1:  # whose rows lie side by side, as columns of b do not
        return (b.t().unsqueeze(2) * a.t().unsqueeze(0)).sum(1).t()
    return (a.unsqueeze(2) * b.unsqueeze(0)).sum(1)


def _multiply_and_add(c: torch.Tensor, a: torch.Tensor, b: torch.Tensor, *, beta: float = 1, alpha: float = 1) -> Any:
    if a.device.type != "cpu" or not beta == alpha == 1:
        return NotImplemented
    product = _multiply_small(a, b)
    # The sum is to be a part of the kernel that reads it; inductor makes an addmm of a sum, but not of a difference.
    return (torch.mm(a, b) if product is NotImplemented else product) - (-c)


def _approximate_tanh(x: torch.Tensor) -> Any:
    """Return tanh to 4e-7 of its value, in a quarter of the time of the function rounded right.

    Source: the rational function of degrees 9 and 8 of Eigen (ptanh_float), as XLA computes it.
    """
    if x.device.type != "cpu" or x.dtype != torch.float32:
        return NotImplemented
    z = x.clamp(-8.5, 8.5)
    numerator, denominator = (_polynomial(z * z, c) for c in _TANH)
    return (z * numerator / denominator).clamp(-1.0, 1.0)


_TANH = (  # of x², highest powers first
    (1.394553628e-8, 2.102733560e-5, 3.520756727e-3, 1.340216100e-1, 1.0),
    (8.015776984e-7, 3.326951409e-4, 2.597254514e-2, 4.673548340e-1, 1.0),
)


def _polynomial(x: torch.Tensor, coefficients: tuple[float, ...]) -> Any:
    value: Any = coefficients[0]
    for c in coefficients[1:]:
        value = value * x + c
    return value


# Of the elements of the largest tensor: threads that divide less wait for each other longer than they compute; and code
# for vectors takes as long as that for single numbers to write, twice over, and gains nothing.
_ONE_THREAD, _NO_VECTORS = 32768, 512
_SCATTERS = {getattr(torch.ops.aten, x) for x in ("scatter", "scatter_add", "scatter_reduce", "index_put", "index_add")}


def compile_graph(function: Any, examples: Sequence[torch.Tensor]) -> Callable[[list[torch.Tensor]], Any]:
    """Return a function of a list of flat tensors as inductor compiles it for tensors like the examples.

    Inputs must be of the examples' forms, as `guard_tensors` tells, which nothing looks at here: the fronts of
    torch.compile and AOTAutograd are left out, since each costs as much as a kernel at every call. ``function`` changes
    no input.
    """
    with warnings.catch_warnings():
        for category in (DeprecationWarning, FutureWarning):  # of torch's own code
            warnings.filterwarnings("ignore", category=category)
        compile_fx_inner = import_whole("torch._inductor.compile_fx").compile_fx_inner
        from torch._inductor import config
        from torch._inductor.decomposition import select_decomp_table
        from torch.fx.experimental.proxy_tensor import make_fx

        ours: dict[Any, Any] = {
            torch.ops.aten.mm.default: _multiply_small,
            torch.ops.aten.addmm.default: _multiply_and_add,
            torch.ops.aten.tanh.default: _approximate_tanh,
        }
        graph = make_fx(function, {**select_decomp_table(), **ours}, "fake", _allow_non_fake_inputs=True)(*examples)
        fakes = [node.meta["val"] for node in graph.graph.nodes if node.op == "placeholder"]
        made = [node.meta.get("val") for node in graph.graph.nodes]
        largest = max(x.numel() for x in made if isinstance(x, torch.Tensor))
        settings: dict[str, Any] = {"size_asserts": False, "triton.cudagraphs": False}
        if largest <= _ONE_THREAD:
            settings["cpp.threads"] = 1
        if largest <= _NO_VECTORS:
            settings["cpp.simdlen"] = 1
        if any(getattr(node.target, "overloadpacket", None) in _SCATTERS for node in graph.graph.nodes):
            settings["max_fusion_size"] = 1  # kernels that hold a scatter and more are wrong in torch 2.13
        with config.patch(settings), tracing(TracingContext(fakes[0].fake_mode)), _kernels_together():
            compiled: Any = _with_known_vectors(lambda: compile_fx_inner(graph, fakes, is_inference=True))
    call: Callable[[list[torch.Tensor]], Any] = compiled.current_callable
    return call


def _with_known_vectors(compile: Callable[[], Any]) -> Any:
    """Compile for the vector instructions that the system tells of, and for those that inductor has tried out, which
    takes ten seconds on a new machine, only where the compiler does not know the former.
    """
    from torch._inductor import config
    from torch._inductor.cpu_vec_isa import valid_vec_isa_list
    from torch._inductor.exc import CppCompileError

    if config.cpp.vec_isa_ok is not None or valid_vec_isa_list.cache_info().currsize:
        return compile()
    try:
        with config.patch({"cpp.vec_isa_ok": True}):
            return compile()
    except CppCompileError:
        valid_vec_isa_list.cache_clear()
        return compile()
    finally:
        valid_vec_isa_list.cache_clear()  # what the rest of the process compiles is tried out as ever


@contextlib.contextmanager
def _kernels_together() -> Iterator[None]:
    """Have all kernels of one graph compiled in one call of the C++ compiler, which reads the headers once.

    Inductor calls it for every kernel, and most of a call is for what the headers hold. Where a thread of the user's
    compiles at the same time, its kernels are compiled so, too.
    """
    from torch._inductor import async_compile

    single = async_compile.AsyncCompile
    async_compile.AsyncCompile = _Together.over(single)  # type: ignore[misc]
    try:
        yield
    finally:
        async_compile.AsyncCompile = single  # type: ignore[misc]


class _Kernel(NamedTuple):
    """A kernel that waits to be compiled: the C++ types of its arguments, and its code."""

    types: Sequence[str]
    code: str


class _Together:
    """What inductor's code hands its kernels to: first each by `cpp_pybinding`, then its globals by `wait`."""

    @classmethod
    def over(cls, single: Any) -> Any:
        """Return the class on top of inductor's own, which compiles what cannot be put together."""
        return type(cls.__name__, (cls, single), {"single": single})

    single: Any

    def cpp_pybinding(self, argtypes: list[str], source_code: str) -> _Kernel:
        return _Kernel(argtypes, source_code)

    def wait(self, scope: dict[str, Any]) -> None:
        from torch._inductor.exc import CppCompileError

        kernels = {name: found for name, found in scope.items() if isinstance(found, _Kernel)}
        try:
            made = _compile_kernels(list(kernels.values())) if kernels else ()
        except CppCompileError:  # such as helpers that have one name in two kernels
            made = [self.single.cpp_pybinding(self, *kernel) for kernel in kernels.values()]
        scope.update(zip(kernels, made, strict=True))
        self.single.wait(self, scope)


def _compile_kernels(kernels: Sequence[_Kernel]) -> Sequence[Any]:
    """Return the Python functions of kernels, by one library."""
    from torch._inductor.codecache import CppPythonBindingsCodeCache

    class Library(CppPythonBindingsCodeCache):
        call_entry_function = "return make_kernels();"
        extra_parse_arg = "{array_len}"  # which stands where functions can be, and may be any text

    code = "".join(f"#define kernel kernel_{i}\n{k.code}\n#undef kernel\n" for i, k in enumerate(kernels))
    made: Sequence[Any] = Library.load_pybinding([], code, num_outputs=_bind(kernels))()
    return made


def _bind(kernels: Sequence[_Kernel]) -> str:
    """Return C++ code of the Python functions of kernels, and of ``make_kernels``, which returns a tuple of these."""
    functions = [
        _FUNCTION % (i, i, ", ".join(map(_parse, k.types, range(len(k.types))))) for i, k in enumerate(kernels)
    ]
    methods = ", ".join(f'{{"kernel_{i}", python_{i}, METH_VARARGS, ""}}' for i in range(len(kernels)))
    return "".join(functions) + _MAKE % (methods, len(kernels), len(kernels))


def _parse(kind: str, place: int) -> str:
    return f"parse_arg<{kind.replace('const ', '')}>(args, {place})"


_FUNCTION = """
static PyObject* python_%d(PyObject* self, PyObject* args) {
    try {
        kernel_%d(%s);
        Py_RETURN_NONE;
    } catch (std::exception const& e) {
        PyErr_SetString(PyExc_RuntimeError, e.what());
        return nullptr;
    }
}
"""

_MAKE = """
static PyMethodDef all_kernels[] = {%s};
static PyObject* make_kernels() {
    PyObject* made = PyTuple_New(%d);
    for (int i = 0; made && i < %d; ++i) {
        PyTuple_SET_ITEM(made, i, PyCFunction_New(&all_kernels[i], nullptr));
    }
    return made;
}
"""
