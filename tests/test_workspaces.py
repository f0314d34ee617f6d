"""Buffers of inductor's code that are made once: which ones, and that no result is a part of them."""

import threading

import pytest
import torch

from pyseminorm.graphs.workspaces import keep_buffers
from pyseminorm.torch_internals import compile_graph

made = []


def empty_strided_cpu(shape, stride, dtype):
    made.append(shape)
    return torch.empty_strided(shape, stride, dtype=dtype)


def reinterpret_tensor(x, shape, stride, offset):
    return x.as_strided(shape, stride, offset)


def kernel(x, *outs):
    for i, out in enumerate(outs):
        out.copy_(x + i)


class Runner:
    """Code in the way that inductor writes it."""

    def call(self, args):
        (x,) = args
        args.clear()
        buf0 = empty_strided_cpu((2,), (1,), torch.float32)
        buf1 = empty_strided_cpu((4,), (1,), torch.float32)
        buf2 = reinterpret_tensor(buf1, (2,), (1,), 2)  # alias
        buf3 = empty_strided_cpu((2, 2048), (2048, 1), torch.float32)
        kernel(x, buf0, buf2)
        buf4 = buf0
        del buf0  # reuse
        buf5 = empty_strided_cpu((4,), (1,), torch.float32)
        buf6 = reinterpret_tensor(buf5, (2,), (1,), 0)  # alias
        buf7 = buf6.sin()
        kernel(buf4, buf6)
        buf8 = buf4.cos()
        del buf4, buf3
        buf9 = buf8
        del buf8  # reuse
        kernel(buf9, buf2)
        return (reinterpret_tensor(buf5, (2,), (1,), 0), buf2 * 2, buf7)


def test_small_buffers_that_no_result_is_a_part_of_are_made_once():
    made.clear()
    run, x = keep_buffers(Runner().call), torch.tensor([1.0, 2.0])
    results = run([x])
    first = [y.clone() for y in results]
    assert made == [(2,), (4,), (2, 2048), (4,)]
    again = run([x + 1])
    assert made[4:] == [(4,), (2, 2048), (4,)]  # the second is too large, of the others the results are made
    for a, b, c in zip(results[:2], first[:2], again[:2], strict=True):
        assert torch.equal(a, b) and not torch.equal(a, c)


def test_calls_at_the_same_time_have_buffers_each(monkeypatch):
    both, seen, write = threading.Barrier(2), [], kernel

    def wait(x, *outs):
        seen.append(outs[0].data_ptr())
        both.wait(10)
        write(x, *outs)

    monkeypatch.setitem(globals(), "kernel", wait)
    run = keep_buffers(Runner().call)
    threads = [threading.Thread(target=run, args=([torch.ones(2)],)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(seen[:2])) == 2


@pytest.mark.capture
def test_what_inductor_compiles_keeps_buffers_and_gives_new_results():
    def function(x, weight):
        hidden = torch.tanh(torch.linalg.vector_norm(x) + weight @ x)
        norm = torch.linalg.vector_norm(hidden)
        return [hidden / norm, norm, torch.cat([hidden, weight.t() @ hidden])[:3]]

    x, weight = torch.randn(3, dtype=torch.float64), torch.randn(3, 3, dtype=torch.float64)
    call = compile_graph(function, [x, weight])
    run = keep_buffers(call)
    assert run is not call
    first, expected = run([x, weight]), function(x, weight)
    second = run([2 * x, weight])
    torch.testing.assert_close(list(first), expected)
    torch.testing.assert_close(list(second), function(2 * x, weight))


def test_code_without_buffers_on_the_cpu_or_in_parts_stays_as_it_is():
    class Other:
        def call(self, args):
            return (args[0] + 1,)

    class Partitioned:
        def call(self, args):
            buf0 = empty_strided_cpu((2,), (1,), torch.float32)
            return self.partitions[0]([*args, buf0])

    for call in (Other().call, Partitioned().call):
        assert keep_buffers(call) == call
