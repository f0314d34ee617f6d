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
fits(evaluation, i, attempt::Attempt, tableau) = fits(evaluation.t, i, attempt, tableau)
function fits(at::Float64, i, (; t, h, inside)::Attempt, tableau)
    return abs(at - inside(t + tableau.c[i] * h)) <= 1.0e-9 * abs(h) + 128 * eps(abs(t) + abs(h))
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
