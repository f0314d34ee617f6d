# Solves of a native field: what the solver calls.

"""
    NativeSide{T}

What a solve of a [`NativeField`](@ref) calls: the right-hand side, forward or backward, which looks for signals.
"""
abstract type NativeSide{T} end

right_hand_side(::Type{Vector{T}}, side::NativeSide{T}, register, integral = nothing) where {T} = RightHandSide{Vector{T}}(side)

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
    integral::Union{Integral{Vector{T}, VectorSums{T}}, Nothing}
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

function backward!(side::NativeBackward{T}, dz, z, t) where {T}
    field, work, scatter = side.field, side.field.work, side.scatter
    n = length(work.u)
    wanted = side.integral !== nothing && next!(side.integral, z, t)
    load!(side, z)
    done = (side.anchored ? 2n : n) + side.timed
    if scatter === nothing
        (field.vjp!::Vjp)(t, side.anchored, true, false)
    elseif side.integral === nothing
        fill!(view(dz, (done + 1):(done + scatter.size)), zero(T))
        add_vjp!(dz, done, field, field.source, scatter, t, side.anchored, true)
    else
        integrate_vjp!(side, side.integral, t, wanted)
    end
    copyto!(dz, 1, work.dλ, 1, n)
    side.anchored && copyto!(dz, n + 1, work.du, 1, n)
    side.timed && (dz[done] = (field.vjp_time::VjpTime)(t))
    return nothing
end

"Write λ and y of a backward state to the workspace."
function load!((; field, anchored)::NativeBackward, z)
    (; u, λ) = field.work
    n = length(u)
    λ .= .-view(z, 1:n)
    anchored && copyto!(u, 1, z, n + 1, n)
    return nothing
end

function integrate_vjp!((; field, scatter, anchored)::NativeBackward, integral, t, wanted)
    if wanted
        add_vjp!(zeros_for(integral.sums, integral.stage), 0, field, field.source, scatter, t, anchored, true)
    else
        (field.vjp!::Vjp)(t, anchored, true, false)
    end
    return made!(integral, wanted)
end

"Make the derivative of stage `i` for the integral alone."
function make_again!(side::NativeBackward, i, z, t)
    (; field, scatter, integral) = side
    load!(side, z)
    add_vjp!(zeros_for(integral.sums, i), 0, field, field.source, scatter, t, false, false)
    return nothing
end

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
    const capacity::Int
    const points::Int           # of the rule
    const checked::Int          # nodes behind the capacity
    const rtol::Float64
    evaluated::Int
    looked_size::Float64        # of all that finer rules have made of parts
end

function (nodes::NativeNodes)(count::Cint)
    (; total, capacity) = nodes
    count == 0 && return check_step!(nodes)
    if count > 0
        add_nodes!(total, nodes, 1:count)
        check_finite(nodes, 1:count)
        return 1.0
    end
    count == LOOKED_SIZE && return any(!iszero, total) ? nodes.looked_size / size_of(total) : NaN
    finer = nodes.checked - nodes.points    # nodes of the finer rule; the others are the step's own
    difference = sum_of(nodes, capacity .+ (1:finer))
    nodes.looked_size += size_of(difference)
    add_nodes!(difference, nodes, capacity .+ ((finer + 1):(-count)))
    total .+= difference
    return ratio!(nodes, difference)
end

"""
    check_step!(nodes)

Add the step that is held back by the two rules that are each other's mirror image, and give the error of the first rule over the sum:
twin of `check_step` in pyseminorm/passes/gauss_quadrature.py.
"""
function check_step!(nodes::NativeNodes)
    (; field, total, capacity, points, checked, rtol) = nodes
    less = max(points - 1, 1)
    rows(first, last) = capacity .+ (first:last)
    pair = rows(points + 1, points + 2less)
    step, mirrored = sum_of(nodes, pair[1:less]), sum_of(nodes, pair[(less + 1):end])
    step .+= mirrored
    total .+= step
    check_finite(nodes, pair)
    difference = ratio!(nodes, mirrored .= step .- 2 .* mirrored)
    found = difference <= HARMLESS * rtol ? resolved_error(difference, points) :
        OF_THE_RULE * ratio!(nodes, sum_of(nodes, rows(points + 2less + 1, checked)) .-= step)
    keep!(field.spare, (step,), sizeof(step))
    return found
end

"The error of a rule of `m` nodes from the difference of the two rules of a node less, of a wave in a step."
function resolved_error(difference, m)
    n = max(m - 1, 1)
    c = factorial(m)^4 / ((2m + 1) * Float64(factorial(2m))^3)
    d = n / sqrt(4n^2 - 1) * factorial(n - 1)^4 / (2 * factorial(2n - 1)^2 * factorial(2n - 2))
    return c * (difference / d)^(2m / (2n - 1))
end

"Add the products of nodes to a vector."
function add_nodes!(total, nodes::NativeNodes{T}, chosen) where {T}
    (; field, scatter, times, y, λ) = nodes
    work = field.work
    n = length(work.u)
    for j in chosen
        nodes.poll()
        copyto!(work.u, row(Vector{T}, y, j - 1, n))
        copyto!(work.λ, row(Vector{T}, λ, j - 1, n))
        try
            add_vjp!(total, 0, field, field.source, scatter, unsafe_load(times, j), false, false)
        catch error
            fail!(field, error)
        end
        nodes.evaluated += 1
    end
    return nothing
end

"What nodes add up to."
function sum_of(nodes::NativeNodes{T}, chosen) where {T}
    found = fill!(spare_vector(nodes.field, length(nodes.total)), zero(T))
    add_nodes!(found, nodes, chosen)
    return found
end

"The 2-norm of a difference over that of the sum; the difference goes back."
function ratio!((; field, total)::NativeNodes, difference)
    found, whole = size_of(difference), size_of(total)
    keep!(field.spare, (difference,), sizeof(difference))
    return iszero(whole) ? NaN : found / whole
end

size_of(x) = sqrt(sum(v -> abs2(Float64(v)), x; init = 0.0))

"Refuse a sum that is not finite, of which these nodes were added last: with the time of the first whose product is not."
function check_finite((; field, total, scatter, times, y, λ)::NativeNodes{T}, chosen) where {T}
    all_finite(total) && return nothing
    n = length(field.work.u)
    for j in chosen
        copyto!(field.work.u, row(Vector{T}, y, j - 1, n))
        copyto!(field.work.λ, row(Vector{T}, λ, j - 1, n))
        add_vjp!(fill!(total, zero(T)), 0, field, field.source, scatter, unsafe_load(times, j), false, false)
        all_finite(total) || throw(NotFinite(unsafe_load(times, j)))
    end
    throw(NotFinite(unsafe_load(times, first(chosen))))
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

function native_backward(field::NativeField{T}, poll, anchored, timed, scatter, integral = nothing) where {T}
    side = NativeBackward{T}(field, Poll(poll), Ref(0), anchored, timed, scatter, integral)
    integral === nothing || (integral.make! = (i, z, t) -> make_again!(side, i, z, t))
    return clear_failure(side)
end

"""
    native_sums(field, tableau, μ, scatter, sample) -> VectorSums

For a backward solve by the method of a `tableau`, with μ at an address of Python's.
"""
native_sums(field::NativeField{T}, tableau::Tableau, μ, scatter::Scatter, sample) where {T} =
    VectorSums{T}(wrap(Vector{T}, μ, scatter.size), tableau, sample, m -> spare_vector(field, m))

function spare_vector(field::NativeField{T}, m) where {T}
    filter!(spare -> length(spare) == m, field.spare)      # gradients can be wanted for other parameters than before
    return isempty(field.spare) ? Vector{T}(undef, m) : pop!(field.spare)
end

function release!((; field, integral)::NativeBackward)
    integral === nothing || keep!(field.spare, memory(integral.sums), sizeof(integral.sums.total))
    return nothing
end

const KEPT_BYTES = 2^26

"Memory that nobody reads any more waits for the next solve: as many of the `found` as are not too large, all with the `waiting`."
function keep!(waiting, found, bytes)
    append!(waiting, Iterators.take(found, max(0, KEPT_BYTES ÷ max(1, bytes) - length(waiting))))
    return nothing
end

native_nodes(side::NativeBackward{T}, times, y, λ, scatter, total, capacity, rules...) where {T} = NativeNodes{T}(
    side.field, side.poll, Ptr{Float64}(UInt(times)), UInt(y), UInt(λ), Scatter(scatter...),
    wrap(Vector{T}, total, last(scatter)), capacity, rules..., 0, 0.0,
)

count_evaluated(nodes::NativeNodes) = nodes.evaluated

clear_failure(side::NativeSide) = (side.field.failure = ""; side)
