"""Capture a function as a graph by TorchDynamo, whose guards say at every later use whether the graph still holds."""

from __future__ import annotations

# The module signal makes an enumeration member of every number, which takes longer than the work.
import _signal  # type: ignore[import-not-found]
import contextlib
import gc
import itertools
import linecache
import logging
import re
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from types import CodeType
from typing import Any

import torch
from torch import Tensor, fx

from ..errors import UnsupportedError
from ..problem.state import StateSpec
from ..torch_internals import (
    dynamo_has_seen,
    dynamo_settings,
    has_saved_tensors_hooks,
    keeping_dispatch,
    leaving_transforms,
    number_of_global_hooks,
    pytree,
    source_of,
    transform_is_active,
)


class CaptureError(Exception):
    """Why a function has no graph; the message is for the log line of the fallback."""


class Captured:
    """A function as TorchDynamo's graph ``module``, in which every tensor that the function reads is an input.

    ``spec``: of the state; ``lifted``: which inputs are such tensors (parameters, buffers, what it closes over,
    ``args``); ``names``: where they are found, as expressions of ``L`` (func and args) and ``G`` (globals, the
    ``scope``); ``traces``: what was made of the graph, by the targets of its products.
    """

    def __init__(
        self, received: _Received, spec: StateSpec, inputs: Sequence[Any], t: Tensor, y: list[Tensor], value: Any
    ) -> None:
        self.module, self.scope, self.spec = received.module, received.scope, spec
        roles = {id(t): 0, **{id(leaf): i for i, leaf in enumerate(y, 1)}}
        self._roles = [roles.get(id(x)) for x in inputs]
        self.lifted = [i for i, role in enumerate(self._roles) if role is None]
        self.names = [received.names[i] for i in self.lifted]
        self._values = [_place(leaf, received.values, inputs) for leaf in pytree.tree_leaves(value)]
        self.traces: dict[Any, Any] = {}
        self._enters_transforms = any("increment_nesting" in str(node.target) for node in received.module.graph.nodes)

    def call(self, t: Tensor, y: Sequence[Tensor], tensors: Sequence[Tensor]) -> list[Tensor]:
        """Evaluate the leaves of f at (t, y), with ``tensors`` in the places of `lifted`."""
        if self._enters_transforms and transform_is_active():  # the graph has the levels that they had at its capture
            raise UnsupportedError(
                "func enters transforms of torch.func: its graph cannot be run inside of another (vmap, jacfwd). Where "
                'a method needs the Jacobian, give jacobian="reverse".'
            )
        state, rest = (t, *y), iter(tensors)
        inputs = [next(rest) if role is None else state[role] for role in self._roles]
        with leaving_transforms() if self._enters_transforms else contextlib.nullcontext():
            made = self.module.forward(*inputs)  # a call prints where an error came from
        return [made[i] if of_graph else inputs[i] for of_graph, i in self._values]

    def bound(self, tensors: Sequence[Tensor]) -> Callable[[Tensor, Any], Any]:
        """Return f as a function of (t, y) in the user's structure, with ``tensors`` in the places of `lifted`."""
        return lambda t, y: self.spec.build(self.call(t, pytree.tree_leaves(y), tensors))


class _Received:
    """A graph by TorchDynamo. Called in its place, it keeps the tensors that it would read, and computes nothing."""

    def __init__(self, mailbox: list[Any], scope: dict[str, Any], module: fx.GraphModule) -> None:
        self.module, self.scope, self._mailbox = module, scope, mailbox
        inputs = [node for node in module.graph.nodes if node.op == "placeholder"]
        self.names = [source_of(node) for node in inputs]
        (output,) = (node for node in module.graph.nodes if node.op == "output")
        self.values = [torch.empty(()) for _ in output.args[0]]
        self.captured: Captured | None = None

    def __call__(self, *inputs: Any) -> list[Tensor]:
        self._mailbox.append((self, inputs))
        return self.values


class GuardedFunction:
    """Functions of one kind (made by one piece of code) and form, with what TorchDynamo has captured of them."""

    def __init__(self, spec: StateSpec) -> None:
        with torch.inference_mode(False):  # t and y of the form that func gets; nothing is computed with them
            zeros = torch.zeros(spec.size, dtype=spec.real_dtype, device=spec.device)
            self._leaves = [leaf.clone().requires_grad_() for leaf in spec.split(zeros)]
            self._t, self._y = zeros.new_zeros(()), spec.build(self._leaves)
        self._spec = spec
        self._refused: bool | None = None  # whether TorchDynamo had seen the code then
        self._mailbox: list[tuple[_Received, tuple[Any, ...]]] = []  # what TorchDynamo hands over at every use
        self.has_captured = self._open = False  # whether there is a graph, and whether one is asked for
        # A piece of code of its own, since what is captured, and the limit of how much, belongs to the code.
        self._scope: dict[str, Any] = {}
        define(_CALL, self._scope)
        call = self._scope["call"]
        self._code: CodeType = call.__code__
        self._call: Any = torch.compile(call, backend=self._receive, fullgraph=True, dynamic=False)

    @property
    def refused(self) -> bool:
        """Whether they stay eager; a reset of TorchDynamo forgets that."""
        return self._refused is not None and self._refused == dynamo_has_seen(self._code)

    def refuse(self) -> None:
        """Let them stay eager from now on."""
        self._refused = dynamo_has_seen(self._code)

    def __call__(self, func: Callable[..., Any], args: tuple[Any, ...]) -> tuple[Captured, list[Tensor]]:
        """Return the graph that holds for a function now, and what it reads; a CaptureError where there is none."""
        with capturing():
            value = self._guarded_call(func, self._t, self._y, args, number_of_global_hooks())
            received, inputs = self._mailbox.pop()
        if received.captured is None:
            self._refuse_shared(func, args, sum(isinstance(x, Tensor) for x in inputs))
            received.captured = Captured(received, self._spec, inputs, self._t, self._leaves, value)
        captured: Captured = received.captured
        return captured, list(map(inputs.__getitem__, captured.lifted))

    def _guarded_call(self, *arguments: Any) -> Any:
        """Return what func returns, made of placeholders, with a graph and its inputs in the mailbox."""
        self._mailbox.clear()
        if self.has_captured:
            # Without our settings, which take as long as all guards; nothing new is captured so.
            with contextlib.suppress(Exception):
                value = self._call(*arguments)
                if self._mailbox:
                    return value
        try:
            self._open = True
            with dynamo_settings(_SETTINGS), warnings.catch_warnings():
                # TorchDynamo looks whether a tensor that was computed before the solve has a gradient.
                warnings.filterwarnings("ignore", message="The .grad attribute of a Tensor that is not a leaf")
                value = self._call(*arguments)
        except Exception as error:
            raise CaptureError(_reason(error)) from error
        finally:
            self._open = False
        if not self._mailbox:
            raise CaptureError("TorchDynamo is switched off, or finds no operation in it")
        return value

    def _refuse_shared(self, func: Callable[..., Any], args: tuple[Any, ...], count: int) -> None:
        """Refuse a function that reads a tensor of ``args`` in another place, too, where it may come to be another one.

        TorchDynamo has one input for both, and guards none. Of others in ``args`` it would have more inputs than the
        ``count`` that it has.
        """
        twins: dict[int, Tensor] = {}

        def twin(x: Any) -> Any:
            return twins.setdefault(id(x), x.detach().requires_grad_(x.requires_grad)) if isinstance(x, Tensor) else x

        others, found = pytree.tree_map(twin, args), list[int]()
        if not twins:
            return

        def receive(module: fx.GraphModule, examples: Sequence[Any]) -> Callable[..., Any]:
            found.append(sum(isinstance(x, Tensor) for x in examples))
            return module.forward

        scope: dict[str, Any] = {}
        define(_CALL, scope)
        with capturing(), dynamo_settings(_SETTINGS), warnings.catch_warnings(), contextlib.suppress(Exception):
            warnings.simplefilter("ignore")
            again: Any = torch.compile(scope["call"], backend=receive, fullgraph=True, dynamic=False)
            again(func, self._t, self._y, others, number_of_global_hooks())
        if found and found[0] != count:
            raise CaptureError("it reads a tensor of args in another place, too, which TorchDynamo does not tell apart")

    def _receive(self, module: fx.GraphModule, examples: Sequence[Any]) -> _Received:
        """Take a graph; the backend of `torch.compile`."""
        if not self._open:
            raise CaptureError("it was captured without our settings")
        if any(_of_unknown_shape(node) for node in module.graph.nodes):
            raise CaptureError("a number that it takes, or the shape of a tensor, depends on values")
        self.has_captured = True
        return _Received(self._mailbox, self._scope, module)


# ``hooks`` is read so that it is guarded.
_CALL = """
def call(func, t, y, args, hooks):
    if hooks < 0:
        raise ValueError
    return func(t, y, *args)
"""


def _of_unknown_shape(node: fx.Node) -> bool:
    """Return whether a value of TorchDynamo's graph, or its shape, is a number that only a call would tell."""
    value = node.meta.get("example_value")
    shape = value.shape if isinstance(value, Tensor) else (value,)
    return any(isinstance(x, (torch.SymInt, torch.SymFloat, torch.SymBool)) for x in shape)


def _place(leaf: Any, values: Sequence[Tensor], inputs: Sequence[Any]) -> tuple[bool, int]:
    """Return where a leaf of f is: (True, its place among the graph's outputs) or (False, among its inputs)."""
    for of_graph, tensors in ((True, values), (False, inputs)):
        if (place := next((i for i, x in enumerate(tensors) if x is leaf), None)) is not None:
            return of_graph, place
    raise CaptureError("it returns what its graph does not compute")


# What Dynamo must see, and what it must refuse, whatever the user's process has set.
_SETTINGS = {
    "trace_autograd_ops": True,  # torch.autograd.grad inside func
    "side_effect_replay_policy": "error",
    "skip_nnmodule_hook_guards": False,
    "skip_no_tensor_aliasing_guards_on_parameters": False,
    "capture_scalar_outputs": False,
    "capture_dynamic_output_shape_ops": False,
    "suppress_errors": False,
}


_LOCK = threading.RLock()
_LOGGERS = [logging.getLogger(name) for name in ("torch._dynamo.convert_frame", "torch._guards")]


@contextlib.contextmanager
def capturing() -> Iterator[None]:
    """Hold everything still that a capture depends on: one thread, gradients on, and no interrupt inside.

    TorchDynamo and make_fx leave their modes switched on where they are interrupted, so Ctrl-C waits. What TorchDynamo
    logs we keep to ourselves: our own line says what matters.
    """
    came: list[Any] = []
    outside = torch.inference_mode(False) if torch.is_inference_mode_enabled() else contextlib.nullcontext()
    with _LOCK, outside, torch.enable_grad():
        handler, loud = None, [logger for logger in _LOGGERS if not logger.disabled]
        if threading.current_thread() is threading.main_thread():
            handler = _signal.signal(_signal.SIGINT, lambda *given: came.append(given))
        for logger in loud:
            logger.disabled = True
        try:
            yield
        finally:
            for logger in loud:
                logger.disabled = False
            if handler is not None:  # else another thread, which gets none; or a handler that Python did not set
                _signal.signal(_signal.SIGINT, handler)
            if came and callable(handler):
                handler(*came[-1])


def drop_failed_capture() -> None:
    """Free what a capture that failed has left in cycles, some of which changes torch's dispatch when it is freed.

    After a refused vmap of hessian (torch 2.13), operations had no gradient from the next collection on.
    """
    with keeping_dispatch():
        gc.collect()


def without_saved_tensors_hooks() -> Any:
    """Return a context in which no hook of the user's (offloading, checkpoints) sees what autograd saves.

    Autograd gives the detached tensor its graph again; an output that is kept with it would never be freed.
    """
    if not has_saved_tensors_hooks():  # transforms of torch.func refuse any
        return contextlib.nullcontext()
    return torch.autograd.graph.saved_tensors_hooks(lambda x: x.detach(), lambda x: x)


def _reason(error: Exception) -> str:
    """Return what TorchDynamo says of an error, in a sentence."""
    error = getattr(error, "inner_exception", error)  # of our backend
    text = f"{type(error).__name__}: {error}"
    for sign, reason in _REASONS.items():
        if sign in text:
            return reason
    found = re.search(r"Explanation: *(.+)", text) or re.search(r": (\S.*)", text)
    return found[1].strip() if found else type(error).__name__


_REASONS = {
    "data-dependent": "its control flow (or a number that it takes) depends on the values of y or t",
    "FailOnRecompileLimitHit": "what it reads changes again and again, up to TorchDynamo's recompile limit: "
    "numbers that change belong in tensors",
    "found no exception handler": "it formats an object as text, or raises an error of its own",
    "side effects": "it changes what it did not make, such as an attribute or a list",
}

_NUMBERS = itertools.count()


def define(source: str, scope: dict[str, Any]) -> Any:
    """Run ``source`` in a scope as a file of its own, so that tracebacks show its lines; return the file's name."""
    name = f"<pyseminorm graph {next(_NUMBERS)}>"
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    exec(compile(source, name, "exec"), scope)
    return name
