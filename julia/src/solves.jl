# The two entry points that Python calls. All arrays come as addresses of memory that Python owns and keeps alive for the
# call; matrices are row major there, (times, state).

const ELTYPES = Dict("Float64" => Float64, "Float32" => Float32)

wrap(::Type{T}, address::Integer, n::Integer) where {T} = unsafe_wrap(Array, Ptr{T}(UInt(address)), n)

"""
    solve_forward(eltype, call, register, norm, times, ys, n, method, rtol, atol, dt, max_steps, breaks, bounds, dense)
        -> (retcode, t, naccept, nreject, calls, reached, steps, outcome)

Solve forward from row 0 of `ys`, writing the other rows from dense output. `norm` is (offsets, segments, length, callback);
`call` is the address of a C function, or a side of a [`NativeField`](@ref).
"""
function solve_forward(
        eltype, call, register, norm, times, ys, n, method, rtol, atol, dt, max_steps, breaks, bounds, dense
    )
    T = ELTYPES[eltype]
    return forward(
        T, right_hand_side(T, call, register), seminorm(norm),
        copy(wrap(Float64, times...)), UInt(ys), n, String(method), rtol, atol, dt, max_steps,
        Float64[breaks...], Float64[bounds...], dense,
    )
end

function forward(
        ::Type{T}, f!, norm, times, ys, n, method, rtol, atol, dt, max_steps, breaks, bounds, dense
    ) where {T}
    alg, adaptive = algorithm(method; dense)
    t0, t1 = first(times), last(times)
    field = VectorField{T}(f!, t0, t1)
    tracker = forward_tracker(times[2:end], Ptr{T}(ys), n, sign(t1 - t0), Pieces(field, breaks, bounds))
    tstops = adaptive || dt > 0 ? breaks : [times[2:end]; breaks]
    control = Control(rtol, atol, norm, dt, max_steps)
    result = integrate(field, copy(row(Ptr{T}(ys), 0, n)), t0, t1, alg, control, tracker; adaptive, tstops, dense)
    return summary(result, tracker.reached + 1)
end

"""
    solve_adjoint(eltype, call, register, norm, z, n, start, stops, rows, ys, cotangents, anchored, method, rtol, atol,
        dt, max_steps, breaks, bounds, outcome, y, nodes) -> as `solve_forward`

Solve the adjoint ODE from `start` through `stops` (the last is the end), in place on `z = (address, length)`, whose first
`n` elements are λ and (if `anchored`) the next `n` are y. With an `outcome` of a dense forward solve, its interpolant is
written to `y` before every call. `nodes` asks for a Gauss quadrature beside (see [`quadrature`](@ref)).
"""
function solve_adjoint(
        eltype, call, register, norm, z, n, start, stops, rows, ys, cotangents, anchored, method, rtol, atol, dt,
        max_steps, breaks, bounds, outcome, y, nodes
    )
    T = ELTYPES[eltype]
    return adjoint(
        T, right_hand_side(T, call, register), seminorm(norm), z, n, Float64(start),
        copy(wrap(Float64, stops...)), copy(wrap(Int64, rows...)), UInt(ys), UInt(cotangents), anchored, String(method),
        rtol, atol, dt, max_steps, Float64[breaks...], Float64[bounds...], outcome, UInt(y), nodes,
    )
end

function adjoint(
        ::Type{T}, backward!, norm, z, n, start, stops, rows, ys, cotangents, anchored, method, rtol, atol, dt,
        max_steps, breaks, bounds, outcome, y, nodes
    ) where {T}
    alg, adaptive = algorithm(method; dense = nodes !== nothing)
    state = wrap(T, z...)
    jumps, stop = stops[1:(end - 1)], last(stops)
    gauss = quadrature(T, nodes, outcome, length(state))
    f! = outcome === nothing ? backward! : InterpolatedField(backward!, outcome.solution, row(Ptr{T}(y), 0, n))
    field = VectorField{T}(f!, start, stop)
    tracker = backward_tracker(
        jumps, rows, Ptr{T}(ys), Ptr{T}(cotangents), n, anchored, sign(stop - start), gauss,
        Pieces(field, breaks, bounds),
    )
    control = Control(rtol, atol, norm, dt, max_steps)
    result = integrate(
        field, copy(state), start, stop, alg, control, tracker; adaptive, tstops = [jumps; breaks], calck = nodes !== nothing,
    )
    copyto!(state, result.u)
    return summary(result, tracker.jumped)
end

"""
    quadrature(T, nodes, outcome, m) -> Nodes{T}

The quadrature that Python asks for by `nodes = (points, weights, capacity, times, y, λ, evaluate)` (or `nothing`).
"""
function quadrature(::Type{T}, nodes, outcome, m) where {T}
    nodes === nothing && return no_nodes(T)
    points, weights, capacity, times, y, λ, evaluate = nodes
    forward! = outcome === nothing ? (y, t) -> nothing : ForwardState(outcome.solution)
    return Nodes{T}(
        Float64[points...], Float64[weights...], Ptr{Float64}(UInt(times)), Ptr{T}(UInt(y)), Ptr{T}(UInt(λ)), capacity, 0,
        evaluator(evaluate), FunctionWrapper{Nothing, Tuple{Vector{T}, Float64}}(forward!), zeros(T, m),
    )
end

struct ForwardState{S}
    solution::S
end

(state::ForwardState)(y, t) = (state.solution(y, t); nothing)

"""
    InterpolatedField

The backward right-hand side of an InterpolatingAdjoint: y(t) from the forward solution, then the field that reads it.
"""
struct InterpolatedField{T, S}
    field::RightHandSide{T}
    solution::S
    y::Vector{T}
end

function (f::InterpolatedField)(dz, z, t)
    f.solution(f.y, t)
    return f.field(dz, z, t)
end

seminorm(norm) = Seminorm(Ptr{Int64}(UInt(norm[1])), norm[2], norm[3], Ptr{Cvoid}(UInt(norm[4])))

function summary(result::Outcome, reached)
    return (
        String(result.retcode), result.t, result.naccept, result.nreject, result.calls, reached,
        length(result.accepted), result,
    )
end

"Copy the times of the accepted steps, or the last good state, to memory that Python owns."
copy_accepted!(outcome, address) = (copyto!(wrap(Float64, address, length(outcome.accepted)), outcome.accepted); nothing)
copy_state!(outcome::Outcome{T}, address) where {T} = (copyto!(wrap(T, address, length(outcome.u)), outcome.u); nothing)

"Write the dense forward solution at time `t`."
evaluate!(outcome::Outcome{T}, t, address) where {T} = (outcome.solution(wrap(T, address, length(outcome.u)), t); nothing)
