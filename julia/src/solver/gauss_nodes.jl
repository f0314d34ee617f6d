"Writes y at a time into a vector."
const StateAt{V} = FunctionWrapper{Nothing, Tuple{V, Float64}}

"""
    Evaluator

Evaluates the first `count` nodes that wait; gives 1, or anything else where it failed.
"""
const Evaluator = FunctionWrapper{Cint, Tuple{Cint}}

struct ForeignEvaluator
    call::Ptr{Cvoid}
end

(foreign::ForeignEvaluator)(count) = call_evaluate_nodes(foreign.call, count)

evaluator(call::Integer) = Evaluator(ForeignEvaluator(Ptr{Cvoid}(UInt(call))))
evaluator(native::Evaluator) = native

"""
    Nodes{V}

Gauss nodes inside the accepted steps of a backward solve, for Python to evaluate many at a time: times, y and weighted λ
are written to memory that Python owns, and `evaluate(count)` is called when it is full. Empty `points`: no quadrature.

Behind the `capacity` nodes there are those of the largest step by which its error is found: the difference of a finer rule.
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
end

no_nodes(::Type{V}) where {V} =
    Nodes{V}(Float64[], Float64[], Float64[], Float64[], 0.0, 0.0, C_NULL, 0, 0, 0, 0, evaluator(0), StateAt{V}((y, t) -> nothing), V(undef, 0))

function evaluate!(nodes::Nodes{V}) where {V}
    nodes.count == 0 && return nothing
    synchronize(V)
    ok = nodes.evaluate(nodes.count)
    nodes.count = 0
    ok == 1 || throw(CallbackFailure())
    return nothing
end

"How much larger the error of all steps is than that of the largest one; NaN: there is none."
share(nodes::Nodes) = nodes.largest > 0 ? sqrt(nodes.squares) / nodes.largest^ERROR_GROWTH : NaN

"With which power of a step's length its error grows: as pyseminorm/passes/gauss_quadrature.py has it."
const ERROR_GROWTH = 3
