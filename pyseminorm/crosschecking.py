"""`crosscheck`: one problem by every engine and adjoint, ours and SciMLSensitivity's, against a tight reference."""

from __future__ import annotations

import copy
import functools
import math
import platform
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from .adjoints import Adjoint, BacksolveAdjoint, DiscreteAdjoint, GaussAdjoint, InterpolatingAdjoint
from .engines.select import select_engine
from .errors import BackendUnavailableError, InvalidInputError, SolveError
from .methods.tableaus import ADAPTIVE_METHODS, TABLEAUS
from .passes.problems import PassOptions
from .problem.parameters import as_real
from .problem.state import StateSpec
from .problem.times import check_times
from .problem.vector_field import EagerVectorField
from .solving import DEFAULT_MAX_STEPS, solve
from .stats import PassStats
from .torch_internals import pytree
from .version import __version__

ADJOINTS: dict[str, Adjoint] = {
    "BacksolveAdjoint": BacksolveAdjoint(verbose=False),
    "InterpolatingAdjoint": InterpolatingAdjoint(verbose=False),
    "GaussAdjoint": GaussAdjoint(verbose=False),
    "GaussAdjoint(interpolate=False)": GaussAdjoint(interpolate=False, verbose=False),
    "DiscreteAdjoint": DiscreteAdjoint(verbose=False),
}
_REFERENCE = {torch.float64: 1e-11, torch.float32: 1e-6}  # by what the dtype can resolve


@dataclass(frozen=True)
class Row:
    """One adjoint on one engine: relative errors (Euclidean) of the gradients, and what the backward pass cost.

    Attributes:
        adjoint: its name, with what differs from its defaults.
        engine: "torch", "julia" (both ours) or "SciMLSensitivity".
        error_y0: of dL/dy0.
        error_params: of dL/dtheta, all parameters as one vector; NaN where there are none.
        evaluations: calls of func and of its products in the backward pass, as `PassStats` counts them.
        naccept: accepted steps of the backward pass.
        seconds: wall time of the backward pass, run a second time.
    """

    adjoint: str
    engine: str
    error_y0: float
    error_params: float
    evaluations: int
    naccept: int
    seconds: float


@dataclass(frozen=True)
class CrossCheck:
    """What `crosscheck` found; `str()` of it is a Markdown table.

    Attributes:
        rows: a `Row` for each adjoint and engine.
        settings: method and tolerances of the rows.
        reference: how the reference was made.
        versions: of everything that took part.
        notes: which rows are missing and why, and solves that failed.
    """

    rows: tuple[Row, ...]
    settings: str
    reference: str
    versions: dict[str, str]
    notes: tuple[str, ...] = ()

    @property
    def worst(self) -> float:
        """The largest relative error of all rows; infinite where a solve failed."""
        errors = [e for row in self.rows for e in (row.error_y0, row.error_params)]
        return max((e for e in errors if not math.isnan(e)), default=0.0)

    def __str__(self) -> str:
        head = ("adjoint", "engine", "error dL/dy0", "error dL/dθ", "backward evaluations", "accepted steps", "seconds")
        lines = [[*head], *([*_format(row)] for row in self.rows)]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        lines.insert(1, ["-" * widths[0], "-" * widths[1], *("-" * (w - 1) + ":" for w in widths[2:])])
        table = ["| " + " | ".join(_pad(line, widths)) + " |" for line in lines]
        versions = ", ".join(f"{name} {version}" for name, version in self.versions.items())
        notes = [f"Note: {note}" for note in self.notes]
        return "\n".join([*table, "", f"{self.settings}; {self.reference}.", *notes, f"Versions: {versions}."])


def _format(row: Row) -> Iterator[str]:
    yield from (row.adjoint, row.engine)
    yield from ("-" if math.isnan(e) else f"{e:.1e}" for e in (row.error_y0, row.error_params))
    yield from (f"{row.evaluations:,}", f"{row.naccept:,}", f"{row.seconds:.3f}")


def _pad(line: Sequence[str], widths: Sequence[int]) -> list[str]:
    return [c.ljust(w) if i < 2 else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths, strict=True))]


@dataclass
class _Problem:
    """The problem and its loss: a sum of the flat outputs times ``cotangents`` (times, size)."""

    func: Callable[..., Any]
    y0: Any
    t: Tensor
    args: tuple[Any, ...]
    params: list[Tensor] | None
    cotangents: Tensor

    def __post_init__(self) -> None:
        self.spec = StateSpec(self.y0)
        self.field = EagerVectorField(self.func, self.args, self.spec, self.params)

    def gradients(self, **settings: Any) -> tuple[Tensor, Tensor, PassStats]:
        """Return (dL/dy0, dL/dtheta, the cost of the backward pass) by `solve`, as flat vectors."""
        y0 = pytree.tree_map(lambda x: x.detach().requires_grad_(), self.y0)
        inputs = [*pytree.tree_leaves(y0), *self.field.inputs]
        with torch.enable_grad():
            s = solve(self.func, y0, self.t, args=self.args, params=self.params, **settings)
            loss = (self._flat(s.ys) * self.cotangents).sum()
        grads = torch.autograd.grad(loss, inputs, allow_unused=True, materialize_grads=True)
        n = len(self.spec.sizes)
        assert s.stats.backward is not None
        return self.spec.join(list(grads[:n])), _join(grads[n:], self.cotangents), s.stats.backward

    def _flat(self, ys: Any) -> Tensor:
        return torch.stack([self.spec.flatten(_take_output(ys, i)) for i in range(len(self.t))])

    def make_double(self) -> _Problem | None:
        """Return a copy in float64, or None where that cannot be made (the problem's tensors are not all in reach)."""
        if self.spec.real_dtype == torch.float64:
            return self
        if not isinstance(self.func, nn.Module):
            return None
        args = pytree.tree_map(_detach, self.args)
        func, params, args = copy.deepcopy((self.func, self.params, args))  # together: what they share stays shared
        args = pytree.tree_map(_double, args)
        made = _Problem(
            func.double(), pytree.tree_map(_double, self.y0), self.t.double(), args, params, self.cotangents.double()
        )
        return made if all(p.real.dtype == torch.float64 for p in made.field.inputs) else None


def crosscheck(
    func: Callable[..., Any],
    y0: Any,
    t: Tensor | Sequence[float],
    *,
    args: tuple[Any, ...] = (),
    params: Iterable[Tensor] | None = None,
    cotangents: Any = None,
    method: str = "tsit5",
    rtol: float = 1e-3,
    atol: float = 1e-6,
    backend: Literal["auto", "torch", "julia"] = "auto",
    max_steps: int = DEFAULT_MAX_STEPS,
) -> CrossCheck:
    """Compare the gradients of one problem by every engine and adjoint at hand, with their errors and costs.

    The adjoints are `BacksolveAdjoint`, `InterpolatingAdjoint`, `GaussAdjoint` and its ``interpolate=False``, and
    `DiscreteAdjoint`, on both engines, and, where the Julia project has SciMLSensitivity, its BacksolveAdjoint,
    InterpolatingAdjoint, GaussAdjoint and QuadratureAdjoint with the products of torch plugged in. The reference is the
    embedded engine with vern7 at rtol = atol = 1e-11, on a float64 copy of a float32 problem whose ``func`` is an
    nn.Module.

    Args:
        func, y0, t, args, params: as for `solve`.
        cotangents: dL/dys in the structure of ``ys``; None takes fixed ones, sin(5.3 i + 1.7).
        method: "tsit5", "dopri5", "bosh3" or "vern7".
        rtol, atol: tolerances of the forward and the backward solves. All cotangents are divided by their largest rms,
            for SciMLSensitivity too, so that ``atol`` means the same for all.
        backend: "auto" (what there is), "torch" (only the embedded engine), or "julia" (an error where there is none).
        max_steps: limit of attempted steps, for each pass.

    Returns:
        A `CrossCheck`.

    Raises:
        InvalidInputError: bad input, or a method with fixed steps.
        BackendUnavailableError: ``backend="julia"`` where Julia cannot run this problem.
        SolveError: the reference could not be made.

    Examples:
        >>> import torch, pyseminorm
        >>> net, y0 = torch.nn.Linear(2, 2), torch.ones(2)
        >>> settings = {"params": net.parameters(), "backend": "torch"}
        >>> found = pyseminorm.crosscheck(lambda t, y: torch.tanh(net(y)), y0, [0.0, 0.5, 1.0], **settings)
        >>> len(found.rows), found.worst < 1e-2
        (5, True)
    """
    if method not in ADAPTIVE_METHODS:
        raise InvalidInputError(f"method={method!r}: crosscheck takes one of {', '.join(ADAPTIVE_METHODS)}.")
    problem = _problem(func, y0, t, args, params, cotangents)
    options = PassOptions(method, TABLEAUS[method].traits, rtol, atol, max_steps)
    exact, reference = _reference(problem)
    rows: list[Row] = []
    notes: list[str] = []
    versions = {"pyseminorm": __version__, "torch": torch.__version__, "Python": platform.python_version()}
    julia, missing = _julia(problem, options, backend)
    ours = {name: getattr(options, name) for name in ("method", "rtol", "atol", "max_steps")}
    for engine in ("torch", "julia") if julia else ("torch",):
        for name, adjoint in ADJOINTS.items():
            gradients = functools.partial(problem.gradients, backend=engine, adjoint=adjoint, **ours)
            rows.append(_make_row(name, engine, exact, notes, gradients))
    if julia:
        rows += _sciml_rows(julia, problem, options, exact, notes)
        versions.update(julia.versions)
    settings = f"{method}, rtol {rtol:g}, atol {atol:g}, {problem.spec.real_dtype}".replace("torch.", "")
    return CrossCheck(tuple(rows), settings, reference, versions, (*missing, *notes))


def _problem(func: Any, y0: Any, t: Any, args: Any, params: Any, cotangents: Any) -> _Problem:
    spec = StateSpec(y0)
    times = check_times(t, spec.real_dtype)[0].detach()
    if cotangents is None:
        i = torch.arange(len(times) * spec.size, dtype=torch.float64)
        flat = torch.sin(5.3 * i + 1.7).view(len(times), spec.size).to(spec.device, spec.real_dtype)
    else:
        rows = [_take_output(cotangents, i) for i in range(len(times))]
        flat = torch.stack([spec.join(spec.check_output(row)) for row in rows]).detach()
    return _Problem(func, y0, times, tuple(args), None if params is None else list(params), flat)


def _reference(problem: _Problem) -> tuple[tuple[Tensor, Tensor], str]:
    """Return the gradients to compare with, and how they were made."""
    double = problem.make_double()
    used = double or problem
    tolerance = _REFERENCE.get(used.spec.real_dtype, 1e-3)
    settings = {"method": "vern7", "rtol": tolerance, "atol": tolerance, "backend": "torch", "max_steps": 1_000_000}
    dy0, dparams, _ = used.gradients(adjoint=InterpolatingAdjoint(norm="rms"), **settings)
    dtype = str(used.spec.real_dtype).removeprefix("torch.")
    return (dy0, dparams), f"reference: torch, InterpolatingAdjoint, vern7, rtol = atol = {tolerance:g}, {dtype}"


Gradients = tuple[Tensor, Tensor, PassStats]


def _make_row(
    name: str, engine: str, exact: tuple[Tensor, Tensor], notes: list[str], gradients: Callable[[], Gradients]
) -> Row:
    """Run twice, so that ``seconds`` has no compilation in it."""
    try:
        gradients()
        dy0, dparams, stats = gradients()
    except (SolveError, BackendUnavailableError) as error:
        notes.append(f"{name} on {engine} failed: {error}")
        return Row(name, engine, math.inf, math.inf, 0, 0, math.nan)
    error_y0, error_params = _relative(dy0, exact[0]), _relative(dparams, exact[1])
    return Row(name, engine, error_y0, error_params, stats.evaluations, stats.naccept, stats.seconds)


def _julia(problem: _Problem, options: PassOptions, backend: str) -> tuple[Any, list[str]]:
    """Return the running Julia, or None and a line that says why."""
    if backend == "torch":
        return None, ['backend="torch": only the rows of the embedded engine.']
    try:
        select_engine("julia" if backend == "auto" else backend, problem.spec, (options.method,))
        from .engines.julia.session.runtime import runtime

        return runtime(), []
    except BackendUnavailableError as error:
        if backend == "julia":
            raise
        return None, [f"no rows of Julia: {error}"]


def _sciml_rows(
    julia: Any, problem: _Problem, options: PassOptions, exact: tuple[Tensor, Tensor], notes: list[str]
) -> list[Row]:
    from .engines.julia import sciml_sensitivity as sensitivity

    times, name = problem.t.double().tolist(), sensitivity.PACKAGE
    if times[-1] < times[0]:
        notes.append(f"no rows of {name}: they are made for increasing times only.")
        return []
    scale = float((torch.linalg.vector_norm(problem.cotangents, dim=1) / problem.spec.size**0.5).max()) or 1.0
    try:
        if not julia.load(name):
            notes.append(f'no rows of {name}: the Julia project lacks it; `using Pkg; Pkg.add("{name}")` adds it.')
            return []
        y0 = problem.spec.flatten(problem.y0).detach().contiguous()
        solved = sensitivity.Sensitivity(julia, problem.field, y0, times, options)
    except BackendUnavailableError as error:
        notes.append(f"no rows of {name}: {error}")
        return []

    def gradients(adjoint: str) -> Gradients:
        dy0, dparams, stats = solved.gradients(adjoint, problem.cotangents / scale)
        return dy0 * scale, dparams * scale, stats

    rows = [_make_row(a, name, exact, notes, functools.partial(gradients, a)) for a in sensitivity.ADJOINTS]
    solved.close()
    return rows


def _take_output(ys: Any, i: int) -> Any:
    return pytree.tree_map(lambda x: x[i], ys)


def _join(tensors: Sequence[Tensor], like: Tensor) -> Tensor:
    return torch.cat([like.new_zeros(0), *(as_real(x).reshape(-1) for x in tensors)])


def _relative(found: Tensor, wanted: Tensor) -> float:
    """Return the relative Euclidean error, absolute where the reference is zero; NaN for empty vectors."""
    if not wanted.numel():
        return math.nan
    error, size = float((found.to(wanted.dtype) - wanted).norm()), float(wanted.norm())
    relative = error / size if size else error
    return relative if math.isfinite(relative) else math.inf


def _detach(x: Any) -> Any:
    return x.detach().requires_grad_(x.requires_grad) if isinstance(x, Tensor) else x


def _double(x: Any) -> Any:
    if not isinstance(x, Tensor) or not (x.is_floating_point() or x.is_complex()):
        return x
    return x.detach().to(torch.promote_types(x.dtype, torch.float64)).requires_grad_(x.requires_grad)
