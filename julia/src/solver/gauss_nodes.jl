"Writes y at a time into a vector."
const StateAt{V} = FunctionWrapper{Nothing, Tuple{V, Float64}}

"""
    Evaluator

Adds the first `count` nodes that wait to the sums. With a negative number it adds so many of those behind the capacity, and gives the
2-norm of what they add over that of the sums (NaN: both are zero). With zero it adds the step that is held back, and gives the error
of its rule over that of the sums. With `LOOKED_SIZE` it gives the norms of what finer rules have made of parts,
all together, over that of the sums. Negative: it failed.
"""
const Evaluator = FunctionWrapper{Float64, Tuple{Cint}}

const LOOKED_SIZE = typemin(Cint)

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

Behind the `capacity` nodes there are those of the largest step, which is held back: of the rule, and of those by which its error is
found (`check_rules` in pyseminorm/passes/gauss_quadrature.py). Without `check_points` no error is found. Where these are of a
difference (a finer rule, then the rule with negative weights), the step is not held back, and the finer rule takes the place of its
own in the end. With an `rtol` all steps are kept as `parts`, to be refined when the solve is over, by such a difference.
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
    left::Float64               # the error of the sums; NaN: not found
    cancellation::Float64       # what all would add like the parts looked at, in one direction, over the sums; NaN: not found
end

no_nodes(::Type{V}) where {V} = Nodes{V}(
    Float64[], Float64[], Float64[], Float64[], 0.0, 0.0, C_NULL, 0, 0, 0, 0, evaluator(0), StateAt{V}((y, t) -> nothing), V(undef, 0),
    0.0, Part{V}[], NaN, NaN,
)

function evaluate!(nodes::Nodes{V}) where {V}
    synchronize(V)
    nodes.count == 0 && return nothing
    count, nodes.count = nodes.count, 0
    return call_evaluator(nodes, count)
end

function call_evaluator(nodes::Nodes, count)
    found = nodes.evaluate(count)
    found < 0 && throw(CallbackFailure())
    return found
end

"Let the step that is held back wait like others."
function release!(nodes::Nodes{V}, n) where {V}
    nodes.largest > 0 || return nothing
    for i in 0:(length(nodes.points) - 1)
        from, to = nodes.capacity + i, nodes.count
        copyto!(row(V, nodes.y, to, n), row(V, nodes.y, from, n))
        copyto!(row(V, nodes.λ, to, n), row(V, nodes.λ, from, n))
        unsafe_store!(nodes.times, unsafe_load(nodes.times, from + 1), to + 1)
        count!(nodes)
    end
    return nothing
end

"Count a node that waits; evaluate them when the memory is full."
function count!(nodes::Nodes)
    nodes.count += 1
    nodes.count == nodes.capacity && evaluate!(nodes)
    return nothing
end

"Find the error of the sums, and lower it to what is asked for."
function settle!(tracker, nodes::Nodes)
    evaluate!(nodes)
    nodes.rtol > 0 && return refine!(tracker, nodes)
    nodes.largest > 0 && !isempty(nodes.check_points) && (nodes.left = share(nodes) * check!(nodes))
    return nothing
end

"Whether the largest step waits for the rules by which its error is found; else one of more nodes takes the place of its own."
holds_back(nodes::Nodes) = all(>(0), nodes.check_weights)

"The error of the largest step's rule, over the sums."
check!(nodes::Nodes) = holds_back(nodes) ? call_evaluator(nodes, 0) : OF_THE_RULE * call_evaluator(nodes, -length(nodes.check_points))

"How much larger the error of all steps is than that of the largest one."
share(nodes::Nodes) = sqrt(nodes.squares) / nodes.largest^ERROR_GROWTH

"With which power of a step's length its error grows: as pyseminorm/passes/gauss_quadrature.py has it."
const ERROR_GROWTH = 3

"Of the tolerance, and of an error: see `check_step` there."
const HARMLESS = 0.2
const OF_THE_RULE = 1.2

"A step this much longer than the ones before is held back: steps of one length differ by rounding."
const LONGER = 1.000001
