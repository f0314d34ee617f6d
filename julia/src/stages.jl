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
    StageRecord{T}(tableau, make)

The stages of the accepted steps of a forward solve, which evaluates f nowhere else. `make()` gives a stage to write to. What
was evaluated since the last accepted step waits in `pending`; those of its last attempt are the new step's.
"""
mutable struct StageRecord{T}
    const tableau::Tableau
    const make::Any
    const pending::Vector{Stage{T}}
    const steps::Vector{Vector{Union{Stage{T}, Nothing}}}
    const spare::Vector{Stage{T}}
end

StageRecord{T}(tableau, make) where {T} = StageRecord{T}(tableau, make, Stage{T}[], Vector{Union{Stage{T}, Nothing}}[], Stage{T}[])

"A stage that is about to be evaluated."
function next!(record::StageRecord{T}, t) where {T}
    stage::Stage{T} = isempty(record.spare) ? record.make() : pop!(record.spare)
    stage.t = t
    push!(record.pending, stage)
    return stage
end

"Take the stages of an accepted step of size `h` from `t`, whose times were clamped by `inside`; whoever is not where it should be is missing."
function accept!(record::StageRecord{T}, t, h, inside) where {T}
    (; tableau, pending, steps, spare) = record
    found = Vector{Union{Stage{T}, Nothing}}(nothing, tableau.last)
    first_of_attempt = length(pending) - tableau.last + 2
    fits(stage, i) = abs(stage.t - inside(t + tableau.c[i] * h)) <= 1.0e-9 * abs(h) + 4 * eps(abs(t) + abs(h))
    for i in 2:(first_of_attempt >= 1 ? tableau.last : 1)
        stage = pending[first_of_attempt + i - 2]
        fits(stage, i) && (found[i] = stage)
    end
    before = findlast(stage -> fits(stage, 1), view(pending, 1:max(0, first_of_attempt - 1)))
    if before !== nothing
        found[1] = pending[before]
    elseif tableau.fsal && !isempty(steps)
        previous = last(steps)[end]
        previous !== nothing && fits(previous, 1) && (found[1] = previous)
    end
    append!(spare, filter(stage -> !any(x -> x === stage, found), pending))
    empty!(pending)
    push!(steps, found)
    return nothing
end
