"""How PyTorch's inductor is asked to compile the kernels of a graph: together, and for the processor that runs it."""

import shutil

import pytest
import torch

from pyseminorm import torch_internals

needs_compiler = pytest.mark.skipif(
    shutil.which("g++") is None and shutil.which("clang++") is None, reason="inductor needs a C++ compiler"
)


def _three_kernels(x, y):
    return [((x.sin() @ y).cos() @ y).tanh()]


@pytest.mark.slow
@needs_compiler
@pytest.mark.parametrize("joins", [True, False])
def test_kernels_of_a_graph_are_compiled_in_one_call_or_each_by_itself_where_they_do_not_join(joins, monkeypatch):
    from torch._inductor import async_compile, codecache
    from torch._inductor.exc import CppCompileError

    def compile_kernels(kernels):
        joined.append(len(kernels))
        if not joins:
            raise CppCompileError(["c++"], "redefinition of a helper")
        return together(kernels)

    def load(cls, types, code, *arguments, **named):
        loaded.append(code)
        return plain(cls, types, code, *arguments, **named)

    joined, loaded, single = [], [], async_compile.AsyncCompile
    together, plain = (
        torch_internals._compile_kernels,
        codecache.CppPythonBindingsCodeCache.load_pybinding_async.__func__,
    )
    monkeypatch.setattr(torch_internals, "_compile_kernels", compile_kernels)
    monkeypatch.setattr(codecache.CppPythonBindingsCodeCache, "load_pybinding_async", classmethod(load))
    x, y = torch.rand(48, 40, dtype=torch.float64), torch.rand(40, 40, dtype=torch.float64)
    compiled = torch_internals.compile_graph(_three_kernels, [x, y])
    torch.testing.assert_close(list(compiled([x + 1, y])), _three_kernels(x + 1, y))
    assert joined == [3] and len(loaded) == (1 if joins else 3) and async_compile.AsyncCompile is single


@pytest.mark.slow
@needs_compiler
def test_an_error_in_a_kernel_is_raised():
    compiled = torch_internals.compile_graph(
        lambda x, y: [x // y], [torch.ones(40, dtype=int), torch.ones(1, dtype=int)]
    )
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        compiled([torch.ones(40, dtype=int), torch.zeros(1, dtype=int)])


@pytest.mark.parametrize("knows", [True, False])
def test_vector_instructions_are_tried_out_only_where_the_compiler_does_not_know_them(knows):
    from torch._inductor import config, cpu_vec_isa
    from torch._inductor.exc import CppCompileError

    trusted = []

    def compile():
        trusted.append(config.cpp.vec_isa_ok)
        if not knows and config.cpp.vec_isa_ok:
            raise CppCompileError(["c++"], "unknown option")
        return "compiled"

    cpu_vec_isa.valid_vec_isa_list.cache_clear()
    with config.patch({"cpp.vec_isa_ok": None}):
        assert torch_internals._with_known_vectors(compile) == "compiled"
        assert config.cpp.vec_isa_ok is None
    assert trusted == ([True] if knows else [True, None])
    assert cpu_vec_isa.valid_vec_isa_list.cache_info().currsize == 0


def test_vector_instructions_that_were_told_or_tried_out_are_taken_as_they_are():
    from torch._inductor import config, cpu_vec_isa

    try:
        with config.patch({"cpp.vec_isa_ok": False}):
            assert torch_internals._with_known_vectors(lambda: config.cpp.vec_isa_ok) is False
            cpu_vec_isa.valid_vec_isa_list()  # which remembers what it has found
        with config.patch({"cpp.vec_isa_ok": None}):
            assert torch_internals._with_known_vectors(lambda: config.cpp.vec_isa_ok) is None
    finally:
        cpu_vec_isa.valid_vec_isa_list.cache_clear()
