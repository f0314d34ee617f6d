"""Matrix products as Julia code: calls of a BLAS, or of loops for the small ones."""

from __future__ import annotations

from .loops import Statement
from .memory import View

# Below this many multiplications a product is a loop in Julia: calling a BLAS costs more.
SMALL_PRODUCT = 1 << 15


def has_rows(x: View) -> bool:
    """Tell whether the elements of a row lie together, as small products read their right factor."""
    return x.strides[-1] == 1 or x.shape[-1] == 1


def blas_form(x: View) -> tuple[str, int] | None:
    """Return how a column-major BLAS reads the transpose of a matrix, "N" or "T", and its leading dimension."""
    rows, columns = x.shape[-2:]
    s0, s1 = x.strides[-2:]
    if (s1 == 1 or columns == 1) and (s0 >= columns or rows == 1):
        return "N", max(s0, columns, 1)
    return ("T", max(s1, rows, 1)) if (s0 == 1 or rows == 1) and (s1 >= rows or columns == 1) else None


def small_product(to: View, left: View, right: View) -> Statement:
    """Write ``to`` = ``left`` ``right`` as a call of gemm_small!."""
    (m, k), n = left.shape[-2:], right.shape[-1]
    (a0, a1), b0 = left.strides[-2:], right.strides[-2]
    pointers = ", ".join(_pointer(x, len(to.shape) > 2) for x in (to, left, right))
    return _call(f"gemm_small!({pointers}, {a0}, {a1}, {b0}, Val({m}), Val({n}), Val({k}))", to, left, right)


def blas_product(to: View, left: View, right: View) -> Statement:
    """Write ``to`` = ``left`` ``right`` as a call of a BLAS. Row-major C = A B is column-major C' = B' A'."""
    (m, k), n = left.shape[-2:], right.shape[-1]
    (how_b, ld_b), (how_a, ld_a) = (blas_form(x) or ("", 0) for x in (right, left))
    c, a, b = (_pointer(x, len(to.shape) > 2) for x in (to, left, right))
    return _call(f"gemm!('{how_b}', '{how_a}', {n}, {m}, {k}, {b}, {ld_b}, {a}, {ld_a}, {c}, {n})", to, left, right)


def _call(call: str, to: View, left: View, right: View) -> Statement:
    """Return a call, or a loop of calls over the leading dimension."""
    lines = [call] if len(to.shape) == 2 else [f"for j in 0:{to.shape[0] - 1}", f"    {call}", "end"]
    return Statement(lines, others=[x.buffer.name for x in (to, left, right)])


def _pointer(x: View, batched: bool) -> str:
    if batched and x.strides[0]:
        return f"at({x.buffer.name}, {x.offset} + {x.strides[0]}j)"
    return f"at({x.buffer.name}, {x.offset})" if x.offset else x.buffer.name
