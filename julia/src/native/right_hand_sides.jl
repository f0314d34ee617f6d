# Solves of a native field: what the solver calls.

"""
    NativeSide{T}

What a solve of a [`NativeField`](@ref) calls: the right-hand side, forward or backward, which looks for signals.
"""
abstract type NativeSide{T} end

right_hand_side(::Type{Vector{T}}, side::NativeSide{T}, _) where {T} = RightHandSide{Vector{T}}(side)

function fail!(field::NativeField, error)
    error isa Union{CallbackFailure, InterruptException, NotFinite} && rethrow()
    field.failure = failure_message(error, catch_backtrace())
    throw(CallbackFailure())
end

"""
    NativeForward{T}

The right-hand side of a forward solve.
"""
struct NativeForward{T} <: NativeSide{T}
    field::NativeField{T}
    poll::Poll
    jacobians::Base.RefValue{Int}       # made
    stages::Union{StageRecord{T}, Nothing}      # to keep every evaluation in, with what its products read
end

function (side::NativeForward{T})(du::Vector{T}, u::Vector{T}, t::Float64) where {T}
    side.poll()
    try
        evaluate!(side, du, u, t, side.stages)
    catch error
        fail!(side.field, error)
    end
    return nothing
end

evaluate!(side::NativeForward, du, u, t, ::Nothing) = side.field.evaluate!(du, u, t)

# An evaluation at no time keeps the others in their places.
skip!(side::NativeForward) = side.stages === nothing ? nothing : (next!(side.stages.attempts, NaN); nothing)

function evaluate!(side::NativeForward, du, u, t, record::StageRecord)
    stage = next!(record.attempts, t)
    copyto!(stage.u, u)
    value!(stage, side.field, side.field.source)
    copyto!(du, stage.k)
    return nothing
end

"""
    Scatter(moves, size)

How a gradient by θ is spread on the parameters that gradients are wanted for: every move (from, to, length) adds to `size`
elements. Parameters can be shared, frozen, or in another order.
"""
struct Scatter
    moves::Vector{NTuple{3, Int}}
    size::Int
end

"From `count` rows of three Int64 in Python's memory."
function Scatter(moves, count, size)
    rows = reshape(wrap(Vector{Int64}, moves, 3count), 3, count)
    return Scatter(NTuple{3, Int}[(r[1], r[2], r[3]) for r in eachcol(rows)], size)
end

function add!(out, offset, dθ, scatter::Scatter)
    for (from, to, length) in scatter.moves
        view(out, (offset + to + 1):(offset + to + length)) .+= view(dθ, (from + 1):(from + length))
    end
    return nothing
end

"""
    NativeBackward{T}

The backward right-hand side d/dt of [λ; y; a_t; μ], without the parts that the adjoint does not have; where y is not part of
the state, the workspace's `u` holds it. With an [`Integral`](@ref) μ is not part of the state.
"""
struct NativeBackward{T} <: NativeSide{T}
    field::NativeField{T}
    poll::Poll
    jacobians::Base.RefValue{Int}       # made
    anchored::Bool
    timed::Bool
    scatter::Union{Scatter, Nothing}    # nothing: μ is not made
    integral::Union{Integral{T}, Nothing}
end

function (side::NativeBackward{T})(dz::Vector{T}, z::Vector{T}, t::Float64) where {T}
    side.poll()
    try
        backward!(side, dz, z, t)
    catch error
        fail!(side.field, error)
    end
    return nothing
end

skip!(side::NativeBackward) = side.integral === nothing ? nothing : (next!(side.integral, NaN); nothing)

function backward!(side::NativeBackward{T}, dz, z, t) where {T}
    field, work, scatter = side.field, side.field.work, side.scatter
    n = length(work.u)
    work.λ .= .-view(z, 1:n)
    side.anchored && copyto!(work.u, 1, z, n + 1, n)
    done = (side.anchored ? 2n : n) + side.timed
    if scatter === nothing
        (field.vjp!::Vjp)(t, side.anchored, true, false)
    elseif side.integral === nothing
        fill!(view(dz, (done + 1):(done + scatter.size)), zero(T))
        add_vjp!(dz, done, field, field.source, scatter, t, side.anchored, true)
    else
        integrate_vjp!(side, side.integral, t)
    end
    copyto!(dz, 1, work.dλ, 1, n)
    side.anchored && copyto!(dz, n + 1, work.du, 1, n)
    side.timed && (dz[done] = (field.vjp_time::VjpTime)(t))
    return nothing
end

function integrate_vjp!((; field, scatter, anchored)::NativeBackward, integral, t)
    derivative = next!(integral, t)
    if weighs(integral, t) || !makes_parts(field.source)
        add_vjp!(zero!(derivative), 0, field, field.source, scatter, t, anchored, true)
    else
        postpone!(derivative, field.work.u, field.work.λ)
        (field.vjp!::Vjp)(t, anchored, true, false)
    end
    return nothing
end

"Make a derivative that was postponed, at the state of the workspace that goes with it."
function make_late!(derivative::ParameterDerivative, field, scatter)
    copyto!(field.work.u, derivative.u)
    copyto!(field.work.λ, derivative.λ)
    add_vjp!(zero!(derivative), 0, field, field.source, scatter, derivative.t, false, false)
    return nothing
end

"Whether products by the state alone take less than both: a user's own function makes both at once."
makes_parts(source) = true
makes_parts(::Source) = false

"Products of the workspace's λ at its u, those by the parameters added to `out` from `offset`."
function add_vjp!(out, offset, field, ::Source, scatter, t, value, state)
    (field.vjp!::Vjp)(t, value, state, true)
    add!(out, offset, field.work.dθ, scatter)
    return nothing
end

"""
    NativeNodes{T}

Evaluates Gauss nodes (see [`Nodes`](@ref)) and sums their parameter products in `total`.
"""
mutable struct NativeNodes{T}
    const field::NativeField{T}
    const poll::Poll
    const times::Ptr{Float64}
    const y::UInt
    const λ::UInt
    const scatter::Scatter
    const total::Vector{T}
    evaluated::Int
end

function (nodes::NativeNodes{T})(count::Cint) where {T}
    work = nodes.field.work
    n = length(work.u)
    for j in 1:count
        nodes.poll()
        copyto!(work.u, row(Vector{T}, nodes.y, j - 1, n))
        copyto!(work.λ, row(Vector{T}, nodes.λ, j - 1, n))
        try
            (; field, total, scatter) = nodes
            add_vjp!(total, 0, field, field.source, scatter, unsafe_load(nodes.times, j), false, false)
        catch error
            fail!(nodes.field, error)
        end
        nodes.evaluated += 1
    end
    all_finite(nodes.total) || throw(NotFinite(first_not_finite!(nodes, count)))
    return Cint(1)
end

"The time of the first node whose product is not finite, where their sum is not."
function first_not_finite!((; field, total, scatter, times, y, λ)::NativeNodes{T}, count) where {T}
    n = length(field.work.u)
    for j in 1:count
        copyto!(field.work.u, row(Vector{T}, y, j - 1, n))
        copyto!(field.work.λ, row(Vector{T}, λ, j - 1, n))
        add_vjp!(fill!(total, zero(T)), 0, field, field.source, scatter, unsafe_load(times, j), false, false)
        all_finite(total) || return unsafe_load(times, j)
    end
    return unsafe_load(times, 1)
end

evaluator(nodes::NativeNodes) = Evaluator(nodes)

"Python's entries: the sides of a solve of `field`, with the address of a poll of signals."
native_forward(field::NativeField{T}, poll, steps = nothing) where {T} =
    clear_failure(NativeForward{T}(field, Poll(poll), Ref(0), steps === nothing ? nothing : steps.stages))

"""
    native_steps(field, tableau) -> Steps

Where a forward solve of a field records its steps; with a `tableau` (else `nothing`) their stages too.
"""
native_steps(field::NativeField{T}, ::Nothing) where {T} = Steps{Vector{T}}()
native_steps(field::NativeField{T}, tableau::Tableau) where {T} =
    Steps{Vector{T}}(StageRecord{T}(tableau, () -> new_stage(field)))

native_backward(field::NativeField{T}, poll, anchored, timed, scatter, integral = nothing) where {T} =
    clear_failure(NativeBackward{T}(field, Poll(poll), Ref(0), anchored, timed, scatter, integral))

"""
    native_integral(field, tableau, μ, scatter) -> Integral

For a backward solve by the method of a `tableau`, with μ at an address of Python's.
"""
native_integral(field::NativeField{T}, tableau::Tableau, μ, scatter::Scatter) where {T} = Integral{T}(
    tableau, wrap(Vector{T}, μ, scatter.size), () -> new_derivative(field, scatter.size),
    derivative -> make_late!(derivative, field, scatter),
)

function new_derivative(field::NativeField{T}, m) where {T}
    filter!(derivative -> length(derivative.θ) == m, field.spare)      # gradients can be wanted for other parameters than before
    return isempty(field.spare) ? ParameterDerivative{T}(m) : pop!(field.spare)
end

integral(side::NativeBackward) = side.integral

function release!((; field, integral)::NativeBackward)
    integral === nothing || keep!(field.spare, memory(integral), sizeof(integral.total))
    return nothing
end

const KEPT_BYTES = 2^26

"Memory that nobody reads any more waits for the next solve: as many of the `found` as are not too large, all with the `waiting`."
function keep!(waiting, found, bytes)
    append!(waiting, Iterators.take(found, max(0, KEPT_BYTES ÷ max(1, bytes) - length(waiting))))
    return nothing
end

native_nodes(side::NativeBackward{T}, times, y, λ, scatter, total) where {T} = NativeNodes{T}(
    side.field, side.poll, Ptr{Float64}(UInt(times)), UInt(y), UInt(λ), Scatter(scatter...),
    wrap(Vector{T}, total, last(scatter)), 0,
)

count_evaluated(nodes::NativeNodes) = nodes.evaluated

clear_failure(side::NativeSide) = (side.field.failure = ""; side)
