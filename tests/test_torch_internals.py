"""Every private name of PyTorch that the package uses does what the package takes it to do; no other file uses one."""

import ast
import gc
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

import pyseminorm
from pyseminorm import torch_internals

PACKAGE = Path(pyseminorm.__file__).parent

needs_compiler = pytest.mark.skipif(
    shutil.which("g++") is None and shutil.which("clang++") is None, reason="inductor needs a C++ compiler"
)


def test_increment_all_adds_in_place_with_a_factor():
    totals = [torch.ones(2), torch.ones(3)]
    torch_internals.increment_all(totals, [torch.ones(2), torch.full((3,), 2.0)], alpha=0.5)
    assert torch.equal(totals[0], torch.full((2,), 1.5)) and torch.equal(totals[1], torch.full((3,), 2.0))


def test_multiply_all_multiplies_in_place():
    tensors = [torch.ones(2), torch.full((3,), 2.0, dtype=torch.float64)]
    torch_internals.multiply_all(tensors, 0.5)
    assert torch.equal(tensors[0], torch.full((2,), 0.5)) and torch.equal(tensors[1], torch.ones(3).double())


def test_copy_all_copies_and_broadcasts():
    into = [torch.zeros(2), torch.zeros(3)]
    torch_internals.copy_all(into, [torch.tensor([1.0, 2.0]), torch.ones(()).expand(3)])
    assert torch.equal(into[0], torch.tensor([1.0, 2.0])) and torch.equal(into[1], torch.ones(3))


def test_unflatten_gives_views():
    flat = torch.arange(5.0)
    first, second = torch_internals.unflatten(flat, [torch.empty(2), torch.empty(1, 3)])
    flat[0] = 7.0
    assert torch.equal(first, torch.tensor([7.0, 1.0])) and second.shape == (1, 3) and second[0, 2] == 4.0


def test_run_backward_gives_gradients_and_none_for_what_is_not_used():
    x, unused = torch.tensor([1.0, 2.0], requires_grad=True), torch.ones(1, requires_grad=True)
    found = torch_internals.run_backward(
        (x**2,), (torch.ones(2),), False, False, (x, unused), True, accumulate_grad=False
    )
    assert torch.equal(found[0], 2 * x.detach()) and found[1] is None and x.grad is None


def test_the_dispatch_is_kept():
    guard = torch._C._ExcludeDispatchKeyGuard(torch._C.DispatchKeySet(torch._C.DispatchKey.AutogradCPU))
    with torch_internals.keeping_dispatch():
        guard.__enter__()
        assert not (torch.ones(1, requires_grad=True) * 2).requires_grad
    assert (torch.ones(1, requires_grad=True) * 2).requires_grad


def test_unwrap_if_dead_gives_a_usable_tensor():
    escaped = []
    torch.func.vmap(lambda x: (escaped.append(x), x * 2)[1])(torch.arange(3.0))
    with pytest.raises(RuntimeError):
        escaped[0] + 1
    assert torch.equal(torch_internals.unwrap_if_dead(torch.ones(2)), torch.ones(2))
    assert isinstance(torch_internals.unwrap_if_dead(escaped[0]), torch.Tensor)


@pytest.mark.parametrize("transform", [torch.func.vmap, torch.func.grad])
def test_is_wrapped_tells_what_a_transform_has_left_behind(transform):
    escaped = []

    def f(x):
        escaped.append(x * 2)
        return escaped[0].sum()

    transform(f)(torch.ones(2))
    assert torch_internals.is_wrapped(escaped[0]) and not torch_internals.is_wrapped(torch.ones(2))


def test_a_transform_is_seen_from_inside():
    seen = []
    torch.func.grad(lambda x: (seen.append(torch_internals.transform_is_active()), x.sum())[1])(torch.ones(2))
    assert seen == [True] and not torch_internals.transform_is_active()


@pytest.mark.capture
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch's own code
def test_an_export_is_seen_by_its_own_thread():
    class Model(torch.nn.Module):
        def forward(self, x):
            with ThreadPoolExecutor(1) as others:
                seen.extend([torch_internals.is_exporting(), others.submit(torch_internals.is_exporting).result()])
            return x + 1

    seen = []
    torch.export.export(Model(), (torch.ones(2),), strict=False)
    assert seen[:2] == [True, False] and not torch_internals.is_exporting()


def test_forward_mode_is_seen_from_inside():
    with torch.autograd.forward_ad.dual_level():
        assert torch_internals.forward_mode_is_active()
    assert not torch_internals.forward_mode_is_active()


def test_nodes_are_numbered_in_the_order_in_which_they_are_made():
    leaf = torch.ones(2, requires_grad=True)
    before = 2 * leaf
    start = torch_internals.count_nodes()
    after = 2 * leaf
    assert torch_internals.get_number(before) < start <= torch_internals.get_number(after)
    assert torch_internals.get_number(leaf) is None


def test_writes_into_the_memory_of_a_tensor_are_counted_by_all_that_share_it():
    x = torch.ones(2)
    twin, count = x.detach(), torch_internals.count_writes(x)
    x[0] = 3.0
    assert torch_internals.count_writes(twin) == torch_internals.count_writes(x) > count
    with torch.inference_mode():
        assert torch_internals.count_writes(torch.ones(2)) == 0


def test_hooks_on_the_gradient_by_a_leaf_are_seen():
    x = torch.ones(2, requires_grad=True)
    assert not torch_internals.has_hooks(x)
    handle = x.register_hook(lambda g: 2 * g)
    assert torch_internals.has_hooks(x)
    handle.remove()
    assert not torch_internals.has_hooks(x)


def test_decompositions_write_an_operation_by_smaller_ones():
    operation = torch.ops.aten.addcmul.default
    decomposed = torch_internals.get_decompositions([operation])[operation]
    x = torch.arange(3.0)
    assert torch.equal(decomposed(x, x, x, value=2), x + 2 * x * x)


@pytest.mark.capture
def test_a_reset_of_dynamo_forgets_the_code_that_it_has_seen():
    def double(x):
        return 2 * x

    assert not torch_internals.dynamo_has_seen(double.__code__)
    torch.compile(double, backend="eager")(torch.ones(2))
    assert torch_internals.dynamo_has_seen(double.__code__)
    torch.compiler.reset()
    assert not torch_internals.dynamo_has_seen(double.__code__)


def test_operations_of_aten_have_names_by_overload():
    aten = torch.ops.aten
    found = torch_internals.aten_operations(default="abs mm", Tensor="add")
    assert found == [aten.abs.default, aten.mm.default, aten.add.Tensor]


def test_pytree_flattens_in_order_and_builds_again():
    pytree = torch_internals.pytree
    leaves, tree = pytree.tree_flatten({"a": (1, 2), "b": [3]})
    assert leaves == pytree.tree_leaves({"a": (1, 2), "b": [3]}) == [1, 2, 3]
    assert pytree.tree_unflatten([2, 4, 6], tree) == pytree.tree_map(lambda x: 2 * x, {"a": (1, 2), "b": [3]})


def test_flatten_tree_is_pytrees_without_cycles():
    tree = (1, {"b": [2, None], "a": (3,)})
    leaves, spec = torch_internals.flatten_tree(tree)
    expected, same = torch_internals.pytree.tree_flatten(tree)
    assert leaves == expected and spec == same and torch_internals.pytree.tree_unflatten(leaves, spec) == tree
    assert _garbage(lambda: torch_internals.flatten_tree(tree)) == 0


def test_vmap_is_torchs_without_cycles():
    weight, x = torch.ones(2, 3, requires_grad=True), torch.arange(8.0).view(4, 2)
    found = torch_internals.vmap(lambda a, b: (a @ weight).sin() * b, x, torch.arange(4.0))
    expected = torch.func.vmap(lambda a, b: (a @ weight).sin() * b)(x, torch.arange(4.0))
    assert torch.equal(found, expected) and found.requires_grad
    assert torch.equal(torch_internals.vmap(lambda a: torch.ones(2), x), torch.ones(4, 2))
    assert _garbage(lambda: torch_internals.vmap(torch.sin, x)) == 0
    with pytest.raises(RuntimeError, match="random"):
        torch_internals.vmap(torch.rand_like, x)
    assert not torch_internals.transform_is_active()


def _garbage(call):
    """How many objects a call leaves to the garbage collector; other tests' garbage may come in between, once."""
    found = []
    for _ in range(3):
        gc.collect()
        call()
        found.append(gc.collect())
    return min(found)


def test_every_backward_pass_has_a_number():
    x, seen = torch.ones(2, requires_grad=True), []
    y, z = x * 2, x * 3
    for value in (y, z):
        value.register_hook(lambda grad: seen.append(torch_internals.backward_pass_number()))
    (y + z).sum().backward(retain_graph=True)
    (y + z).sum().backward()
    assert seen[0] == seen[1] and seen[2] == seen[3] and seen[0] < seen[2]


def test_batched_gradients_are_taken_apart_and_joined():
    class Triple(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return 3 * x

        @staticmethod
        def backward(ctx, grad):
            assert torch_internals.batch_level() == 1 and torch_internals.is_batched(grad)
            rows = torch_internals.split_batch(grad, same := torch.ones(2))
            assert len(rows) == 3 and not torch_internals.is_batched(rows[0][0])
            assert all(row.shape == (2,) and torch.equal(other, same) for row, other in rows)
            return torch_internals.join_batch(torch.stack([3 * row for row, _ in rows]))

    x, cotangents = torch.ones(2, requires_grad=True), torch.arange(6.0).view(3, 2)
    (found,) = torch.autograd.grad(Triple.apply(x), x, cotangents, is_grads_batched=True)
    assert torch.equal(found, 3 * cotangents)
    assert torch_internals.batch_level() == 0 and not torch_internals.is_batched(cotangents)


def _private_names(file: Path) -> list[str]:
    """The private names of torch in a file, as attributes and as imports."""
    found = []
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Attribute):
            chain = ast.unparse(node)
            found += [chain] if chain.replace(".", "").replace("_", "").isalnum() else []
        elif isinstance(node, ast.ImportFrom) and node.module:
            found += [f"{node.module}.{name.name}" for name in node.names]
        elif isinstance(node, ast.Import):
            found += [name.name for name in node.names]
    found = [x for x in found if x.startswith("torch.") and not x.startswith("torch.ops.")]
    return [x for x in found if any(_is_private(part) for part in x.split("."))]


def _is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__")


def test_no_other_file_uses_a_private_name_of_torch():
    files = [
        file for file in PACKAGE.rglob("*.py") if file.name != "torch_internals.py" and file.parent.name != "graphs"
    ]
    assert {str(f.relative_to(PACKAGE)): names for f in files if (names := _private_names(f))} == {}


def test_hooks_of_all_modules_are_counted():
    before = torch_internals.number_of_global_hooks()
    hook = torch.nn.modules.module.register_module_full_backward_pre_hook(lambda *_: None)
    assert torch_internals.number_of_global_hooks() == before + 1
    hook.remove()


def test_settings_of_dynamo_hold_inside_only():
    import torch._dynamo.config as config

    with torch_internals.dynamo_settings({"suppress_errors": True, "no such setting": 1}):
        assert config.suppress_errors
    assert not config.suppress_errors


@pytest.mark.capture
def test_sources_of_dynamo_are_python_expressions():
    net, found = torch.nn.Linear(2, 2), []

    def backend(module, examples):
        found.extend(torch_internals.source_of(n) for n in module.graph.nodes if n.op == "placeholder")
        return module.forward

    def call(net, y):
        return net(y)

    y = torch.ones(2)
    torch.compile(call, backend=backend, fullgraph=True)(net, y)
    values = [eval(name, {"L": {"net": net, "y": y}}) for name in found]
    assert {id(x) for x in values} == {id(net.weight), id(net.bias), id(y)}


@pytest.mark.capture
def test_hooks_on_what_autograd_saves_are_seen():
    assert not torch_internals.has_saved_tensors_hooks()
    with torch.autograd.graph.saved_tensors_hooks(lambda x: x, lambda x: x):
        assert torch_internals.has_saved_tensors_hooks()


@pytest.mark.capture
def test_transforms_that_an_error_has_left_on_are_left():
    with pytest.raises(RuntimeError, match="mine"), torch_internals.leaving_transforms():
        torch._C._functorch._vmap_increment_nesting(2, "error")
        raise RuntimeError("mine")
    assert not torch_internals.transform_is_active()


def test_vmap_is_seen_from_inside():
    seen = []

    def look(x):
        seen.append(torch_internals.vmap_is_active())
        return x.sum()

    torch.func.grad(look)(torch.ones(2))
    torch.func.vmap(torch.func.grad(look))(torch.ones(2, 2))
    assert seen == [False, True] and not torch_internals.vmap_is_active()


@pytest.mark.slow
@needs_compiler
@pytest.mark.parametrize("size", [3, 64], ids=["as a loop", "by a library"])
def test_inductor_compiles_a_function_of_flat_tensors(size):
    x, y = torch.linspace(0, 1, size * size).view(size, size), torch.ones(size, size)
    compiled = torch_internals.compile_graph(lambda x, y: [x.sin() @ y, torch.addmm(y, x, x), (x * y).sum()], [x, y])
    expected = [(2.0 * x).sin() @ y, torch.addmm(y, 2.0 * x, 2.0 * x), (2.0 * x).sum()]
    torch.testing.assert_close(list(compiled([2.0 * x, y])), expected)


@pytest.mark.slow
@needs_compiler
def test_inductor_computes_tanh_in_float32_to_a_few_units_of_the_last_place():
    ends = torch.tensor([0.0, -0.0, torch.inf, -torch.inf, torch.nan])
    x = torch.cat([ends, torch.linspace(-12, 12, 200_000), torch.logspace(-38, 1, 200_000)])
    compiled = torch_internals.compile_graph(lambda x: [x.tanh()], [x])
    (found,), expected = compiled([x]), x.double().tanh()
    torch.testing.assert_close(found.double(), expected, rtol=4e-7, atol=0, equal_nan=True)
    assert found[5:].abs().max() == 1.0
    wide = torch.linspace(-12, 12, 1001, dtype=torch.float64)
    (exact,) = torch_internals.compile_graph(lambda x: [x.tanh()], [wide])([wide])
    torch.testing.assert_close(exact, wide.tanh(), rtol=1e-14, atol=0)


@pytest.mark.slow
@needs_compiler
def test_inductor_multiplies_narrow_matrices_of_every_layout():
    x, y, weight = torch.randn(64, 4), torch.randn(64, 32), torch.randn(4, 32)

    def products(x, y, weight):
        return [y.t() @ x, x.t() @ y, y @ weight.t(), x @ weight, (y.t() @ x) @ weight, y[:, :1] @ x[:1]]

    torch.testing.assert_close(
        list(torch_internals.compile_graph(products, [x, y, weight])([x, y, weight])), products(x, y, weight)
    )


@pytest.mark.slow
@needs_compiler
def test_inductor_adds_a_bias_in_the_kernel_that_reads_the_sum():
    bias, x, weight = torch.ones(64), torch.randn(200, 64), torch.randn(64, 64)
    compiled = torch_internals.compile_graph(lambda b, x, w: [torch.addmm(b, x, w.t()).relu()], [bias, x, weight])
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        (found,) = compiled([bias, x, weight])
    torch.testing.assert_close(found, torch.nn.functional.linear(x, weight, bias).relu())
    assert [event.name for event in profile.events() if "mm" in event.name] == ["aten::mm"]


def test_tensors_of_other_forms_are_told_from_those_that_are_guarded():
    weight, bias = torch.nn.Linear(3, 2).parameters()
    same = torch_internals.guard_tensors([weight, bias])
    assert same(weight, bias)
    with torch.no_grad():
        assert same(weight, bias)
    assert same(torch.nn.Parameter(torch.ones(2, 3)), bias)
    for other in (
        torch.nn.Parameter(torch.ones(3, 2).t()),
        torch.nn.Parameter(torch.ones(3, 3)),
        torch.nn.Parameter(torch.ones(2, 3, dtype=torch.float64)),
        torch.nn.Parameter(torch.ones(2, 3), requires_grad=False),
        torch.ones(2, 3, requires_grad=True),
        torch._neg_view(torch.ones(2, 3)).requires_grad_(),
    ):
        assert not same(other, bias)
