# The two passes. All arrays come as addresses of memory that Python owns and keeps alive for the call; matrices are row major
# there, (times, state).

"""
    Functions(call, register, norm, jacobian, report, integral)

C functions of Python, as addresses: a [`ForeignField`](@ref)'s two, and, or 0, a user's norm, a
[`ForeignJacobian`](@ref)'s, and one that is told of every step (or [`Steps`](@ref) to record them in). `call` can be a side of a [`NativeField`](@ref) instead, which
needs no `register` and no `jacobian`. The [`Integral`](@ref) beside a backward solve, if there is one, is of the same side.
"""
struct Functions
    call::Any
    register::Ptr{Cvoid}
    norm::Ptr{Cvoid}
    jacobian::Ptr{Cvoid}
    report::Union{Ptr{Cvoid}, Steps}
    integral::Union{Integral, Nothing}
end

function Functions((call, register, norm, jacobian, report)::Tuple, integral = nothing)
    pointers = (Ptr{Cvoid}(UInt(a)) for a in (register, norm, jacobian))
    return Functions(call, pointers..., report isa Steps ? report : Ptr{Cvoid}(UInt(report)), integral)
end

# offsets, number of segments, length
Seminorm((offsets, segments, length)::NTuple{3, Integer}, functions::Functions) =
    Seminorm(Ptr{Int64}(UInt(offsets)), segments, length, functions.norm, excess(functions.integral))

excess(::Nothing) = Ptr{Float64}(C_NULL)
excess((; rtol, excess)::Integral) = rtol > 0 ? Base.unsafe_convert(Ptr{Float64}, excess) : Ptr{Float64}(C_NULL)

"""
    forward(V, functions, norm, times, y0, ys, n, settings, dt, dense, looks) -> (outcome, rows of ys that were reached)

Solve forward from `y0`, which becomes row 0 of `ys`, and write the other rows from dense output; end before where `looks`
(see [`Looks`](@ref)) say so.
"""
function forward(::Type{V}, functions, norm, times, y0, ys, n, settings, dt, dense, looks::Looks = NO_LOOKS) where {V}
    interpolates = dense || looks_for_events(looks)
    alg, adaptive = algorithm(settings.method; dense = interpolates)
    t0, t1 = first(times), last(times)
    last_stages = LastStages(settings.method, t0, [settings.discontinuities; t1], functions.call; dense = interpolates)
    field = VectorField{V}(right_hand_side(V, functions.call, functions.register), t0, t1, last_stages)
    discontinuities = Discontinuities(field, settings.discontinuities, settings.intervals)
    tracker = forward_tracker(times[2:end], ys, n, sign(t1 - t0), discontinuities, functions.report, looks)
    tstops = output_to_output(settings, dt, adaptive) ? [times[2:end]; settings.discontinuities] : settings.discontinuities
    jacobian = needs_jacobian(alg) ? solver_jacobian(functions.call, functions.jacobian, field, t -> nothing) : nothing
    start = copyto!(row(V, ys, 0, n), wrap(V, y0, n))
    result = integrate(
        field, copy(start), t0, t1, alg, settings, norm, tracker; adaptive, dt, tstops, dense, jacobian,
    )
    synchronize(V)
    return result, tracker.reached + 1
end

"""
    adjoint(V, functions, norm, z, n, start, stops, rows, ys, cotangents, anchored, settings, dt, outcome, y, nodes)
        -> (outcome, jumps made, the quadrature's nodes)

Solve the adjoint ODE from `start` through `stops` (the last is the end), in place on `z = (address, length)`, whose first
`n` elements are λ and (if `anchored`) the next `n` are y. (Where `functions` have an [`Integral`](@ref), μ is not in `z`.) With an `outcome` of a dense forward solve, its interpolant is
written to `y` before every call. `nodes` asks for a Gauss quadrature beside (see [`quadrature`](@ref)).
"""
function adjoint(
        ::Type{V}, functions, norm, z, n, start, stops, rows, ys, cotangents, anchored, settings, dt, outcome, y, nodes
    ) where {V}
    alg, adaptive = algorithm(settings.method; dense = nodes !== nothing)
    state = wrap(V, z...)
    jumps, stop = stops[1:(end - 1)], last(stops)
    gauss = quadrature(V, nodes, outcome, length(state))
    integral = functions.integral
    backward! = right_hand_side(V, functions.call, functions.register, integral)
    state! = outcome === nothing ? t -> nothing : InterpolatedState(outcome.solution, row(V, y, 0, n))
    f! = outcome === nothing ? backward! : InterpolatedField(backward!, state!)
    integral === nothing || (integral.restore! = state!)
    last_stages = LastStages(
        settings.method, start, [stops; settings.discontinuities], integral; dense = nodes !== nothing
    )
    field = VectorField{V}(f!, start, stop, last_stages, integral)
    discontinuities = Discontinuities(field, settings.discontinuities, settings.intervals)
    tracker = backward_tracker(
        jumps, rows, ys, cotangents, n, anchored, sign(stop - start), gauss, discontinuities, functions.report, integral,
    )
    jacobian = needs_jacobian(alg) ? solver_jacobian(functions.call, functions.jacobian, field, state!) : nothing
    ends = output_to_output(settings, dt, adaptive) ? stops : jumps
    result = integrate(
        field, copy(state), start, stop, alg, settings, norm, tracker;
        adaptive, dt, tstops = [ends; settings.discontinuities], calck = nodes !== nothing, jacobian,
    )
    copyto!(state, result.u)
    release!(functions.call)
    synchronize(V)
    return result, tracker.jumped, gauss
end

"What a side took for the solve goes back."
release!(call) = nothing

"""
    quadrature(V, nodes, outcome, m) -> Nodes{V}

The quadrature that Python asks for by `nodes = (points, weights, check_points, check_weights, rtol, capacity, times, y, λ, evaluate)`
(or `nothing`).
"""
function quadrature(::Type{V}, nodes, outcome, m) where {V}
    nodes === nothing && return no_nodes(V)
    rules..., rtol, capacity, times, y, λ, evaluate = nodes
    forward! = outcome === nothing ? (y, t) -> nothing : (y, t) -> (outcome.solution(y, t); nothing)
    return Nodes{V}(
        map(copy, rules)..., 0.0, 0.0, Ptr{Float64}(UInt(times)), UInt(y), UInt(λ), capacity, 0,
        evaluator(evaluate), StateAt{V}(forward!), V(undef, m), rtol, Part{V}[], NaN, NaN,
    )
end

"""
    InterpolatedState(solution, y)

Called with a time: writes the forward solution there to `y`, which Python reads.
"""
struct InterpolatedState{V, S}
    solution::S
    y::V
end

(state::InterpolatedState)(t) = (state.solution(state.y, t); nothing)

"""
    InterpolatedField

The backward right-hand side where y is not integrated: y(t) from the forward solution, then the field that reads it.
"""
struct InterpolatedField{V, S}
    field::RightHandSide{V}
    state!::S
end

function (f::InterpolatedField)(dz, z, t)
    f.state!(t)
    return f.field(dz, z, t)
end

"Copy the times of the accepted steps and the last good state to memory that Python owns."
function copy_results!(outcome::Outcome{V}, accepted, state) where {V}
    copyto!(wrap(Vector{Float64}, accepted, length(outcome.accepted)), outcome.accepted)
    write!(wrap(V, state, length(outcome.u)), outcome.u)
    return nothing
end

"Write the dense forward solution at times, or its derivative by time, one row each."
function evaluate!(outcome::Outcome{V}, times, count, address, derivative) where {V}
    n, order = length(outcome.u), derivative ? Val{1} : Val{0}
    for (i, t) in enumerate(wrap(Vector{Float64}, times, count))
        outcome.solution(row(V, address, i - 1, n), t, order)
    end
    synchronize(V)
    return nothing
end

write!(to::V, from) where {V} = (copyto!(to, from); synchronize(V))
