"""`JuliaFunction`: a vector field written in Julia, as a torch module."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from .engines.julia.calls.settings import ELTYPES
from .engines.julia.native.compiled_function import Code, NativeField
from .engines.julia.native.vector_field import JuliaVectorField
from .errors import InvalidInputError
from .problem.state import StateSpec
from .problem.vector_field import FieldSource

_MOST_SHAPES = 8  # of the state, that a function stays ready for


class JuliaFunction(FieldSource, nn.Module):
    r"""A function written in Julia, with torch parameters: a vector field for `solve`, or a module in a torch model.

    On the engine "julia", `solve` runs it without calling Python: forward, backward, and all products inside. On the
    engine "torch", or as a part of another module, every call goes to Julia and back.

    **Arrays keep torch's memory, so their dimensions are reversed**: a state of shape (batch, d) is a d×batch matrix in
    Julia, a weight of shape (out, in) an in×out matrix. The layer ``y @ W.T + b`` reads ``p.W' * u .+ p.b``.

    Args:
        function: Julia source text, which ends in an in-place function of ``(du, u, p, t)``; or a Julia function as
            juliacall gives it. Text is evaluated at the first use, in a module of its own that has Base (write
            ``using LinearAlgebra`` for more); equal texts are evaluated once. ``u`` and ``du`` are arrays in the dtype
            of the state, float32 or float64; ``t`` is a number in it. ``f!`` must write all of ``du``.
        params: a tensor, ``p`` is then an array; or a dict of tensors, ``p`` is then a NamedTuple of arrays; or None,
            ``p`` is then nothing. A leaf becomes an nn.Parameter (a given one stays the same object); a tensor that
            was computed is kept as it is, and gradients flow on into what computed it. They are read at every solve.
        vjp: where products with the Jacobians come from. "auto": SciMLSensitivity's own choice (Enzyme where it can,
            else ReverseDiff), then Zygote; "enzyme", "reversediff", "zygote": that one; all need SciMLSensitivity in
            the Julia project, and an ``f!`` that takes other element types and array types than it is solved with
            (``similar(u)``, broadcasts and ``*``; no loop is fast there). Or Julia source (or a function) of
            ``(dλ, dp, λ, u, p, t)``, which writes λᵀ∂f/∂u to ``dλ`` and λᵀ∂f/∂p to ``dp``, both zero before: it
            needs no other package. Its source sees what the function's source defines.

    Raises:
        InvalidInputError: of the arguments, here; of the source and the shapes, at the first use.
        BackendUnavailableError: at the first use without Julia; at the first gradient without SciMLSensitivity.
        UnsupportedError: no way to differentiate the function, a gradient by t with a ``vjp`` of your own.
        JuliaFunctionError: the Julia code raised.

    Examples:
        >>> import torch, pyseminorm
        >>> decay = pyseminorm.JuliaFunction("(du, u, p, t) -> (du .= .-p.rate .* u)", {"rate": torch.ones(3)})
        >>> [(name, tuple(p.shape)) for name, p in decay.named_parameters()]
        [('params.rate', (3,))]
    """

    params: Any
    """What was given: a parameter, an nn.ParameterDict (without tensors that were computed), or None."""

    def __init__(
        self, function: Any, params: Tensor | Mapping[str, Tensor] | None = None, *, vjp: Any = "auto"
    ) -> None:
        super().__init__()
        self._code = Code(function, vjp)
        self._names: tuple[str, ...] | None = None
        self._computed: dict[str, Tensor] = {}
        if isinstance(params, Mapping):
            named = {_check_name(name): _check_tensor(f"params[{name!r}]", x) for name, x in params.items()}
            self._names = tuple(named)
            self._computed = {name: x for name, x in named.items() if not x.is_leaf}
            self.params = nn.ParameterDict()  # given a dict, it would sort the names
            self.params.update([(name, _parameter(x)) for name, x in named.items() if x.is_leaf])
        else:
            self.params = None if params is None else _parameter(_check_tensor("params", params))
        self._ready: dict[Any, NativeField] = {}

    def tensors(self) -> list[Tensor]:
        """Return all parameters, in the order in which they were given."""
        if self._names is not None:
            return [self._computed[name] if name in self._computed else self.params[name] for name in self._names]
        return [] if self.params is None else [self.params]

    def forward(self, t: Tensor | float, y: Tensor) -> Tensor:
        r"""Return dy/dt, of the shape of ``y``, by one call of Julia; differentiable by ``y``, the parameters and
        ``t``.

        Args:
            t: a number or a tensor with one element.
            y: float32 or float64, of any shape, on the CPU.
        """
        if not isinstance(y, Tensor):
            raise InvalidInputError(f"y is a {type(y).__name__}: a JuliaFunction takes one tensor.")
        if isinstance(t, Tensor) and t.numel() != 1:
            raise InvalidInputError(f"t has shape {tuple(t.shape)}: a JuliaFunction takes one time for all of y.")
        tensors = self.tensors()
        native = self._native(y.dtype, y.shape, tensors)
        value: Tensor = _Evaluate.apply(native, t, y, *tensors)  # type: ignore[no-untyped-call]
        return value

    def _native(self, dtype: torch.dtype, shape: Sequence[int], tensors: list[Tensor]) -> NativeField:
        """Return the function, ready for one dtype and shape of the state."""
        _check_dtypes(dtype, tensors)
        key = (dtype, tuple(shape), tuple(x.shape for x in tensors))
        if key not in self._ready:
            if len(self._ready) == _MOST_SHAPES:
                del self._ready[next(iter(self._ready))]
            self._ready[key] = NativeField(self._code, dtype, shape, self._names, tensors)
        return self._ready[key]

    def vector_field(self, args: tuple[Any, ...], spec: StateSpec, params: Iterable[Tensor] | None) -> JuliaVectorField:
        """Return this function on flat vectors, for `solve`."""
        if args:
            raise InvalidInputError(
                "args= is for Python functions: give a JuliaFunction its constants as params (with "
                "requires_grad=False), or write them in its source."
            )
        if not spec.is_tensor:
            raise InvalidInputError(
                "y0 is nested: a JuliaFunction takes one tensor. Concatenate the parts, and take views of u in Julia."
            )
        if spec.device.type != "cpu":
            raise InvalidInputError(f"y0 is on {spec.device}: a JuliaFunction works on CPU memory.")
        tensors = self.tensors()
        return JuliaVectorField(self, self._native(spec.dtype, spec.shapes[0], tensors), tensors, spec, params)

    def extra_repr(self) -> str:
        """Return the first line of the source."""
        return str(self._code.function).strip().splitlines()[0]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_ready": {}}  # what lives in Julia is made again after copying or loading


class _Evaluate(torch.autograd.Function):
    """f(t, y) in Julia, with its product in Julia as the derivative."""

    @staticmethod
    def forward(ctx: Any, native: NativeField, t: Any, y: Tensor, *tensors: Tensor) -> Tensor:
        native.load(tensors)
        ctx.native, ctx.moment = native, float(t)
        ctx.t_like = t.detach() if isinstance(t, Tensor) else None
        ctx.save_for_backward(y, *tensors)
        return native.value(ctx.moment, y).view(y.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        native: NativeField = ctx.native
        y, *tensors = ctx.saved_tensors
        native.load(tensors)
        _, state, theta, at = native.vjp(
            ctx.moment, y, grad, value=False, params=any(ctx.needs_input_grad[3:]), time=ctx.needs_input_grad[1]
        )
        parts = torch.split(theta, [x.numel() for x in tensors]) if tensors else ()
        by_time = torch.full_like(ctx.t_like, at) if ctx.needs_input_grad[1] else None
        return (None, by_time, state.view(y.shape), *(p.view(x.shape) for p, x in zip(parts, tensors, strict=True)))


def _parameter(x: Tensor) -> Tensor:
    return x if isinstance(x, nn.Parameter) or not x.is_leaf else nn.Parameter(x)


def _check_tensor(name: str, x: Any) -> Tensor:
    if not isinstance(x, Tensor):
        raise InvalidInputError(f"{name} is a {type(x).__name__}: expected a tensor (or, for params, a dict of them).")
    if x.dtype not in ELTYPES:
        raise InvalidInputError(f"{name} has dtype {x.dtype}: expected float32 or float64.")
    if x.device.type != "cpu":
        raise InvalidInputError(f"{name} is on {x.device}: a JuliaFunction works on CPU memory.")
    return x


def _check_name(name: Any) -> str:
    if not isinstance(name, str) or not name.isidentifier() or hasattr(nn.ParameterDict(), name):
        raise InvalidInputError(
            f"params has the name {name!r}: expected one that Julia can write as p.name, and that nn.ParameterDict "
            "does not use itself."
        )
    return name


def _check_dtypes(dtype: torch.dtype, tensors: Sequence[Tensor]) -> None:
    if dtype not in ELTYPES:
        raise InvalidInputError(f"y0 has dtype {dtype}: a JuliaFunction works on float32 and float64.")
    for x in tensors:
        if x.dtype != dtype:
            raise InvalidInputError(
                f"a parameter of shape {tuple(x.shape)} has dtype {x.dtype} and y0 {dtype}: give them one "
                f"(function.to({dtype}))."
            )
