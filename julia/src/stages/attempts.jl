# Evaluations of f at the stages of Runge-Kutta steps, with what their products read.

"""
    Stage{T}

One evaluation of f: at `u` and `t` it gave `k`, and left in `work` what its products read (nothing of a user's own function,
whose products evaluate it again).
"""
mutable struct Stage{T}
    t::Float64
    const u::Vector{T}
    const k::Vector{T}
    const work::Vector{T}
end

Stage{T}(n::Int, work::Int) where {T} = Stage{T}(NaN, zeros(T, n), zeros(T, n), Vector{T}(undef, work))

"""
    Tableau

An explicit Runge-Kutta method, those of its interpolant's stages included. `dense[i, j]` is the coefficient of θ^j in the
weight of stage `i`; stage `last` is evaluated at the new state, and is the next step's first where the method is `fsal`.
"""
mutable struct Tableau
    const c::Vector{Float64}
    const a::Matrix{Float64}
    const b::Vector{Float64}
    const dense::Matrix{Float64}
    const last::Int
    const fsal::Bool
    const needed::NTuple{2, Vector{Int}}      # stages that the new state needs, and dense output inside the step
end

"From Python's memory: `a` (s, s) and `dense` (s, degree) are row major."
function tableau(stages, degree, c, a, b, dense, last, fsal)
    matrix(address, columns) = permutedims(reshape(copy(wrap(Vector{Float64}, address, stages * columns)), columns, stages))
    rows, weights = matrix(a, stages), matrix(dense, degree)
    b = copy(wrap(Vector{Float64}, b, stages))
    plain = findall(!iszero, b)
    inner = union(plain, findall(i -> any(!iszero, view(weights, i, :)), 1:stages))
    return Tableau(
        copy(wrap(Vector{Float64}, c, stages)), rows, b, weights, last, fsal, (closure(plain, rows), closure(inner, rows)),
    )
end

"The stages and all that they depend on, in order."
function closure(stages, a)
    found = Set(stages)
    for i in reverse(axes(a, 1))
        i in found && union!(found, findall(!iszero, view(a, i, :)))
    end
    return sort!(collect(found))
end

"""
    Attempts{S}(tableau, make)

The evaluations of f that a solve has made since its last accepted step, in order, `pending` until their attempt at a step is
accepted or rejected. An `S` holds what an evaluation leaves, with its time `t`; `make()` gives one to write to where none is
`spare`.
"""
struct Attempts{S}
    tableau::Tableau
    make::Any
    pending::Vector{S}
    spare::Vector{S}
    Attempts{S}(tableau, make) where {S} = new{S}(tableau, make, S[], S[])
end

"What an evaluation that is about to be made at time `t` leaves something in."
function next!(attempts::Attempts{S}, t) where {S}
    evaluation::S = isempty(attempts.spare) ? attempts.make() : pop!(attempts.spare)
    evaluation.t = t
    push!(attempts.pending, evaluation)
    return evaluation
end

"""
    Attempt(t, h, inside)

A step of size `h` from `t`, the times of its stages clamped by `inside`.
"""
struct Attempt{F}
    t::Float64
    h::Float64
    inside::F
end

"Whether an evaluation can be stage `i`. (A step that misses a stop by 100 ulp counts as ending there.)"
function fits(evaluation, i, attempt::Attempt, tableau)
    (; t, h, inside) = attempt
    return abs(evaluation.t - inside(t + tableau.c[i] * h)) <= 1.0e-9 * abs(h) + 128 * eps(abs(t) + abs(h))
end

"How many evaluations were made before the stages 2 ... of the last attempt; negative: it has not enough of them."
before_attempt(attempts::Attempts) = length(attempts.pending) - attempts.tableau.last + 1

"The last evaluation before the stages 2 ... of the last attempt that can be its first stage, or nothing."
function first_stage((; pending, tableau)::Attempts, n, attempt)
    i = findlast(evaluation -> fits(evaluation, 1, attempt, tableau), view(pending, 1:max(0, n)))
    return i === nothing ? nothing : pending[i]
end

"""
    accept!(attempts, attempt, previous) -> stages

The stages of an accepted step, `nothing` for one that is not where it should be; all other evaluations are spare. `previous`
is the last stage of the step before (or nothing), which may be the first of this one.
"""
function accept!(attempts::Attempts{S}, attempt::Attempt, previous) where {S}
    (; tableau, pending, spare) = attempts
    found, n = Vector{Union{S, Nothing}}(nothing, tableau.last), before_attempt(attempts)
    for i in 2:(n >= 0 ? tableau.last : 1)
        fits(pending[n + i - 1], i, attempt, tableau) && (found[i] = pending[n + i - 1])
    end
    found[1] = first_stage(attempts, n, attempt)
    if found[1] === nothing && tableau.fsal && previous !== nothing && fits(previous, 1, attempt, tableau)
        found[1] = previous
    end
    append!(spare, filter(evaluation -> !any(x -> x === evaluation, found), pending))
    empty!(pending)
    return found
end

"Let go of all but the first stage, from which the next attempt begins too."
function reject!(attempts::Attempts, attempt::Attempt)
    (; pending, spare) = attempts
    first = first_stage(attempts, before_attempt(attempts), attempt)
    append!(spare, filter(evaluation -> evaluation !== first, pending))
    empty!(pending)
    first === nothing || push!(pending, first)
    return nothing
end

"""
    StageRecord{T}(tableau, make)

The stages of the accepted `steps` of a forward solve, which evaluates f nowhere else. `make()` gives a stage to write to.
"""
struct StageRecord{T}
    attempts::Attempts{Stage{T}}
    steps::Vector{Vector{Union{Stage{T}, Nothing}}}
    StageRecord{T}(tableau, make) where {T} = new{T}(Attempts{Stage{T}}(tableau, make), Vector{Union{Stage{T}, Nothing}}[])
end

function accept!((; attempts, steps)::StageRecord, attempt::Attempt)
    push!(steps, accept!(attempts, attempt, isempty(steps) ? nothing : last(steps)[end]))
    return nothing
end

reject!(record::StageRecord, attempt::Attempt) = reject!(record.attempts, attempt)
