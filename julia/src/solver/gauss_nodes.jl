"Writes y at a time into a vector."
const StateAt{V} = FunctionWrapper{Nothing, Tuple{V, Float64}}

"""
    Evaluator

Adds the first `count` nodes that wait to the sums. With a negative number it adds so many of those behind the capacity, and gives the
2-norm of what they add over that of the sums (NaN: both are zero). Negative: it failed.
"""
const Evaluator = FunctionWrapper{Float64, Tuple{Cint}}

struct ForeignEvaluator
    call::Ptr{Cvoid}
end

(foreign::ForeignEvaluator)(count) = call_evaluate_nodes(foreign.call, count)

evaluator(call::Integer) = Evaluator(ForeignEvaluator(Ptr{Cvoid}(UInt(call))))
evaluator(native::Evaluator) = native

"A part of an accepted step, from `a` to `b`; `step!` writes the backward state at a time in it."
struct Part{V}
    step!::StateAt{V}
    a::Float64
    b::Float64
    length::Float64     # equal for halves to the last digit
end

length_of(part::Part) = part.length

"""
    Nodes{V}

Gauss nodes inside the accepted steps of a backward solve, for Python to evaluate many at a time: times, y and weighted λ
are written to memory that Python owns, and `evaluate(count)` is called when it is full. Empty `points`: no quadrature.

Behind the `capacity` nodes there are those by which the error of the largest step is found: those of a finer rule, then those of
the rule with negative weights. With an `rtol` all steps are kept as `parts`, to be refined when the solve is over.
"""
mutable struct Nodes{V}
    points::Vector{Float64}     # on [0, 1]
    weights::Vector{Float64}
    check_points::Vector{Float64}
    check_weights::Vector{Float64}
    largest::Float64            # length of a step
    squares::Float64            # of the lengths of all steps to the power `ERROR_GROWTH`
    times::Ptr{Float64}
    y::UInt                     # address of (capacity, n), row major
    λ::UInt
    capacity::Int
    count::Int
    evaluate::Evaluator
    forward!::StateAt{V}        # y from the forward solution
    z::V                        # the backward state at a node
    rtol::Float64               # 0: nothing is refined
    parts::Vector{Part{V}}      # the shortest first
    left::Float64               # the error after refinement; NaN: none was made
end

no_nodes(::Type{V}) where {V} = Nodes{V}(
    Float64[], Float64[], Float64[], Float64[], 0.0, 0.0, C_NULL, 0, 0, 0, 0, evaluator(0), StateAt{V}((y, t) -> nothing), V(undef, 0),
    0.0, Part{V}[], NaN,
)

function evaluate!(nodes::Nodes{V}) where {V}
    nodes.count == 0 && return nothing
    synchronize(V)
    count, nodes.count = nodes.count, 0
    return call_evaluator(nodes, count)
end

function call_evaluator(nodes::Nodes, count)
    found = nodes.evaluate(count)
    found < 0 && throw(CallbackFailure())
    return found
end

"How much larger the error of all steps is than that of the largest one; NaN: there is none."
share(nodes::Nodes) = nodes.largest > 0 ? sqrt(nodes.squares) / nodes.largest^ERROR_GROWTH : NaN

"With which power of a step's length its error grows: as pyseminorm/passes/gauss_quadrature.py has it."
const ERROR_GROWTH = 3
