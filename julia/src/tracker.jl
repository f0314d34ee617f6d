"""
    Evaluator

Evaluates the first `count` nodes that wait; gives 1, or anything else where it failed.
"""
const Evaluator = FunctionWrapper{Cint, Tuple{Cint}}

struct ForeignEvaluator
    call::Ptr{Cvoid}
end

(foreign::ForeignEvaluator)(count) = ccall(foreign.call, Cint, (Cint,), count)

evaluator(call::Integer) = Evaluator(ForeignEvaluator(Ptr{Cvoid}(UInt(call))))
evaluator(native::Evaluator) = native

"""
    Nodes{T}

Gauss nodes inside the accepted steps of a backward solve, for Python to evaluate many at a time: times, y and weighted λ
are written to memory that Python owns, and `evaluate(count)` is called when it is full. Empty `points`: no quadrature.
"""
mutable struct Nodes{T}
    points::Vector{Float64}     # on [0, 1]
    weights::Vector{Float64}
    times::Ptr{Float64}
    y::Ptr{T}                   # (capacity, n), row major
    λ::Ptr{T}
    capacity::Int
    count::Int
    evaluate::Evaluator
    forward!::FunctionWrapper{Nothing, Tuple{Vector{T}, Float64}}    # y from the forward solution
    z::Vector{T}                # the backward state at a node
end

no_nodes(::Type{T}) where {T} = Nodes{T}(
    Float64[], Float64[], C_NULL, C_NULL, C_NULL, 0, 0, evaluator(0), FunctionWrapper{Nothing, Tuple{Vector{T}, Float64}}((y, t) -> nothing), T[],
)

"""
    Pieces{T}

The smooth pieces of an interval in which the vector field jumps at `breaks`: steps end there, and the field sees only
times within `bounds` (low, high, low, high ..., one pair a piece) of the piece that the solve is in.
"""
mutable struct Pieces{T}
    field::VectorField{T}
    breaks::Vector{Float64}
    bounds::Vector{Float64}
    piece::Int
end

function Pieces(field::VectorField{T}, breaks, bounds) where {T}
    pieces = Pieces{T}(field, breaks, bounds, 0)
    enter_next!(pieces)
    return pieces
end

function enter_next!(pieces::Pieces)
    pieces.piece += 1
    pieces.field.low[], pieces.field.high[] = pieces.bounds[2pieces.piece - 1], pieces.bounds[2pieces.piece]
    return nothing
end

function cross_break!(pieces::Pieces, t)
    pieces.piece <= length(pieces.breaks) && pieces.breaks[pieces.piece] == t || return false
    enter_next!(pieces)
    return true
end

"""
    Tracker{T}

What happens after every accepted step: the time is recorded; outputs that the step passed are written from dense output
into memory that Python owns; at a stop with a jump, λ gains the cotangent of that output and y is set back to its forward
value. One concrete type serves forward and backward solves.
"""
mutable struct Tracker{T}
    accepted::Vector{Float64}
    outputs::Vector{Float64}    # forward: times wanted, in order
    ys::Ptr{T}                  # forward values, one row of `n` per time of the problem, row major
    n::Int
    reached::Int                # outputs written
    stops::Vector{Float64}      # backward: times of jumps, in order
    rows::Vector{Int64}         # their rows (from 0) in ys and cotangents
    cotangents::Ptr{T}
    anchored::Bool              # whether y is part of the state
    jumped::Int                 # jumps made
    dir::Float64
    nodes::Nodes{T}
    pieces::Pieces{T}
    working::Bool               # between the acceptance of a step and the end of what happens after it
end

function forward_tracker(outputs::Vector{Float64}, ys::Ptr{T}, n, dir, pieces) where {T}
    return Tracker{T}(Float64[], outputs, ys, n, 0, Float64[], Int64[], Ptr{T}(C_NULL), false, 0, dir, no_nodes(T), pieces, false)
end

function backward_tracker(stops, rows, ys::Ptr{T}, cotangents::Ptr{T}, n, anchored, dir, nodes::Nodes{T}, pieces) where {T}
    return Tracker{T}(Float64[], Float64[], ys, n, 0, stops, rows, cotangents, anchored, 0, dir, nodes, pieces, false)
end

row(pointer::Ptr{T}, index, n) where {T} = unsafe_wrap(Array, pointer + index * n * sizeof(T), n)

# A DiscreteCallback's condition and effect are this one object: the effect decides whether the state was changed.
(tracker::Tracker)(u, t, integrator) = true

function (tracker::Tracker)(integrator)
    t = integrator.t
    tracker.working = true
    push!(tracker.accepted, t)
    write_outputs!(tracker, integrator, t)
    collect_nodes!(tracker, tracker.nodes, integrator, t)
    jumped, crossed = jump!(tracker, integrator, t), cross_break!(tracker.pieces, t)
    derivative_discontinuity!(integrator, jumped | crossed)
    tracker.working = false
    return nothing
end

function write_outputs!(tracker::Tracker, integrator, t)
    tracker.reached < length(tracker.outputs) || return nothing
    extended = false
    while tracker.reached < length(tracker.outputs)
        wanted = tracker.outputs[tracker.reached + 1]
        tracker.dir * wanted <= tracker.dir * t || break
        out = row(tracker.ys, tracker.reached + 1, tracker.n)    # row 0 is y0
        if wanted == t
            copyto!(out, integrator.u)
        else
            extended || SciMLBase.addsteps!(integrator)
            extended = true
            integrator(out, wanted)
        end
        tracker.reached += 1
    end
    extended && resize!(integrator.k, integrator.kshortsize)
    return nothing
end

# dL/dθ gains -h Σ wⱼ λⱼᵀ ∂f/∂θ of a step of size h (negative for increasing times).
function collect_nodes!(tracker::Tracker, nodes::Nodes, integrator, t)
    isempty(nodes.points) && return nothing
    n, t0 = tracker.n, integrator.tprev
    h = t - t0
    SciMLBase.addsteps!(integrator)
    for (point, weight) in zip(nodes.points, nodes.weights)
        at = clamp(t0 + point * h, min(t0, t), max(t0, t))
        integrator(nodes.z, at)
        y, λ = row(nodes.y, nodes.count, n), row(nodes.λ, nodes.count, n)
        tracker.anchored ? copyto!(y, 1, nodes.z, n + 1, n) : nodes.forward!(y, at)
        λ .= (-h * weight) .* view(nodes.z, 1:n)
        unsafe_store!(nodes.times, at, nodes.count + 1)
        nodes.count += 1
        nodes.count == nodes.capacity && evaluate!(nodes)
    end
    resize!(integrator.k, integrator.kshortsize)
    return nothing
end

function evaluate!(nodes::Nodes)
    nodes.count == 0 && return nothing
    ok = nodes.evaluate(nodes.count)
    nodes.count = 0
    ok == 1 || throw(CallbackFailure())
    return nothing
end

function jump!(tracker::Tracker, integrator, t)
    next = tracker.jumped + 1
    next <= length(tracker.stops) && tracker.stops[next] == t || return false
    tracker.jumped = next
    λ, g = view(integrator.u, 1:tracker.n), row(tracker.cotangents, tracker.rows[next], tracker.n)
    λ .+= g
    if tracker.anchored
        copyto!(integrator.u, tracker.n + 1, row(tracker.ys, tracker.rows[next], tracker.n), 1, tracker.n)
    end
    return true
end

callback(tracker::Tracker) = DiscreteCallback(tracker, tracker; save_positions = (false, false))
