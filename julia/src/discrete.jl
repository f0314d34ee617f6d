# The adjoint of the Runge-Kutta steps that a forward solve took (DiscreteAdjoint), for vector fields that need no Python:
# the same sweep as pyseminorm/engines/discrete.py, whose formulas stand there.

"""
    Tableau

An explicit Runge-Kutta method, those of its interpolant's stages included. `dense[i, j]` is the coefficient of θ^j in the
weight of stage `i`; stage `last` is evaluated at the new state, and is the next step's first where the method is `fsal`.
"""
struct Tableau
    c::Vector{Float64}
    a::Matrix{Float64}
    b::Vector{Float64}
    dense::Matrix{Float64}
    last::Int
    fsal::Bool
    needed::NTuple{2, Vector{Int}}      # stages that the new state needs, and dense output inside the step
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

# ---- stages: their values, and products that remember them

abstract type Tape{T} end

"""
    LoweredTape

Stages of lowered code: each keeps what its products read.
"""
struct LoweredTape{T} <: Tape{T}
    program::Program{T}
    work::Matrix{T}
    u::Matrix{T}
end

function value!(tape::LoweredTape{T}, k, i, t) where {T}
    (; program, work, u) = tape
    (; sources, constants, scratch) = program
    GC.@preserve sources constants work scratch u k program.primal!(
        pointer(sources), pointer(constants), pointer(work, 1 + (i - 1) * size(work, 1)), pointer(scratch),
        pointer(k, 1 + (i - 1) * size(k, 1)), pointer(u, 1 + (i - 1) * size(u, 1)), T(t),
    )
    return nothing
end

function pull!(tape::LoweredTape{T}, ū, dθ, κ, i, t) where {T}
    (; program, work, u) = tape
    (; sources, constants, scratch) = program
    name = isempty(dθ) ? :pull_state! : :pull_both!
    GC.@preserve sources constants work scratch u ū dθ κ pull(program, name)(
        pointer(sources), pointer(constants), pointer(work, 1 + (i - 1) * size(work, 1)), pointer(scratch),
        pointer(ū, 1 + (i - 1) * size(ū, 1)), pointer(dθ), Ptr{T}(C_NULL), pointer(κ), pointer(u, 1 + (i - 1) * size(u, 1)), T(t),
    )
    return nothing
end

"Stages of a user's function, whose products evaluate it again."
struct PlainTape{T} <: Tape{T}
    field::NativeField{T}
    u::Matrix{T}
end

function value!(tape::PlainTape, k, i, t)
    work = tape.field.work
    copyto!(work.u, view(tape.u, :, i))
    tape.field.evaluate!(work.du, work.u, t)
    k[:, i] .= work.du
    return nothing
end

function pull!(tape::PlainTape, ū, dθ, κ, i, t)
    work = tape.field.work
    copyto!(work.u, view(tape.u, :, i))
    copyto!(work.λ, κ)
    (tape.field.product!::Product)(t, false, true, !isempty(dθ))
    ū[:, i] .= work.dλ
    return nothing
end

const KEPT_TAPE = 2^24     # bytes: a tape that is no larger waits for the next sweep

function tape(field::NativeField{T}, stages) where {T}
    source, n = field.source, length(field.work.u)
    source isa Program{T} || return PlainTape{T}(field, zeros(T, n, stages))
    kept = source.tape
    kept isa LoweredTape{T} && size(kept.u, 2) == stages && return kept
    made = LoweredTape{T}(source, Matrix{T}(undef, length(source.work), stages), zeros(T, n, stages))
    sizeof(made.work) <= KEPT_TAPE && (source.tape = made)
    return made
end

# ---- the sweep

"""
    Sweep{T}

One pass backwards through the steps. `total` collects the gradient by the parameters; `rates` (n, times), if wanted, gets
derivatives of the dense output at outputs inside steps.
"""
mutable struct Sweep{T}
    const field::NativeField{T}
    const poll::Poll
    const tape::Tape{T}
    const tableau::Tableau
    const steps::Steps{Vector{T}}
    const ends::Vector{Float64}
    const times::Vector{Float64}
    const g::Matrix{T}                              # cotangents (n, times)
    const at_end::Vector{Vector{Int}}
    const inner::Vector{Vector{Int}}
    const last_step::Int
    const θ::Vector{Float64}                        # of outputs inside steps
    const breaks::Vector{Float64}                   # directed
    const bounds::Vector{Float64}
    const scatter::Scatter
    const total::Vector{T}
    const rates::Union{Matrix{T}, Nothing}
    const k::Matrix{T}
    const ū::Matrix{T}
    const κ::Vector{T}
    const λ::Vector{T}
    const following::Vector{T}                      # the first stage of the step after the present one
    done::Int                                       # steps
    products::Int
end

"""
    native_sweep!(field, poll, tableau, steps, ends, times, active, cotangents, breaks, bounds, scatter, total, λ, rates)
        -> (retcode, last step, steps done, products, outputs inside steps)

Python's entry: `ends`, `times`, `active` and `total` are (address, length) or addresses of Python's memory; λ and the rates
are written there.
"""
function native_sweep!(
        field::NativeField{T}, poll, tableau, steps, ends, times, active, cotangents, breaks, bounds, scatter, total, λ, rates,
    ) where {T}
    n = length(field.work.u)
    times = copy(wrap(Vector{Float64}, times...))
    g = reshape(wrap(Vector{T}, cotangents, n * length(times)), n, :)
    at_end, inner, last_step, θ = placed(copy(wrap(Vector{Float64}, ends...)), times, wrap(Vector{Bool}, active, length(times)), steps)
    ends = copy(wrap(Vector{Float64}, ends...))
    direction = sign(last(ends) - first(ends))
    stages = length(tableau.c)
    scatter = Scatter(scatter...)
    sweep = Sweep{T}(
        field, Poll(poll), tape(field, stages), tableau, steps, ends, times, g, at_end, inner, last_step, θ,
        direction .* Float64[breaks...], Float64[bounds...], scatter, wrap(Vector{T}, total, scatter.size),
        rates === nothing ? nothing : reshape(wrap(Vector{T}, rates, n * length(times)), n, :),
        zeros(T, n, stages), zeros(T, n, stages), zeros(T, n), wrap(Vector{T}, λ, n), zeros(T, n), 0, 0,
    )
    field.failure = ""
    try
        run!(sweep)
    catch error
        error isa Union{CallbackFailure, InterruptException} || rethrow()
        return (error isa CallbackFailure ? "CallbackFailure" : "Interrupted"), last_step, sweep.done, sweep.products, ()
    end
    return "Success", last_step, sweep.done, sweep.products, rates === nothing ? () : Tuple(reduce(vcat, inner))
end

"Where outputs with cotangents lie: at the end of a step, or inside it at θ."
function placed(ends, times, active, steps)
    direction = sign(last(ends) - first(ends))
    directed = direction .* ends
    at_end, inner = [Int[] for _ in steps.sizes], [Int[] for _ in steps.sizes]
    θ, last_step = zeros(length(times)), 1
    for i in 2:length(times)
        active[i] || continue
        n = searchsortedfirst(view(directed, 2:length(directed)), direction * times[i])
        θ[i] = (times[i] - ends[n]) / steps.sizes[n]
        push!(times[i] == ends[n + 1] || θ[i] == 1 ? at_end[n] : inner[n], i)
        last_step = max(last_step, n)
    end
    return at_end, inner, last_step, θ
end

function run!(sweep::Sweep)
    for n in sweep.last_step:-1:1
        sweep.poll()
        for i in sweep.at_end[n]
            sweep.λ .+= view(sweep.g, :, i)
        end
        try
            back!(sweep, n)
        catch error
            fail!(sweep.field, error)
        end
        sweep.done += 1
    end
    return nothing
end

"λ at the start of step `n`, from that at its end."
function back!(sweep::Sweep{T}, n) where {T}
    (; tape, tableau, k, ū, κ, λ, g, field) = sweep
    h, y, dense = sweep.steps.sizes[n], sweep.steps.states[n], !isempty(sweep.inner[n])
    shared = shares_last(sweep, n)
    stages = tableau.needed[1 + dense]
    last_used = 0
    for i in stages
        shared && i == tableau.last && continue
        combine!(view(tape.u, :, i), y, h, k, view(tableau.a, i, :), 1:(i - 1))
        value!(tape, k, i, stage_time(sweep, n, i))
        last_used = i
    end
    for i in Iterators.reverse(stages)
        shared && i == tableau.last && continue
        direct!(sweep, n, i, h)
        combine!(κ, κ, h, ū, view(tableau.a, :, i), filter(j -> j > i && j <= last_used && !(shared && j == tableau.last), stages))
        pull!(tape, ū, field.work.dθ, κ, i, stage_time(sweep, n, i))
        sweep.products += 1
        add!(sweep.total, 0, field.work.dθ, sweep.scatter)
    end
    for i in sweep.inner[n]
        λ .+= view(g, :, i)
    end
    for i in stages
        shared && i == tableau.last && continue
        λ .+= view(ū, :, i)
    end
    keep_rates!(sweep, n, h, shared)
    return nothing
end

"to = y + h Σ a[j] k[:, j], in pieces that stay in the nearest cache"
function combine!(to, y, h, k::Matrix{T}, a, stages) where {T}
    for first in 1:1024:length(to)
        piece = first:min(first + 1023, length(to))
        to === y || copyto!(to, first, y, first, length(piece))
        for j in stages
            iszero(a[j]) && continue
            weight = T(h * a[j])
            @inbounds @simd for i in piece
                to[i] += weight * k[i, j]
            end
        end
    end
    return nothing
end

"What κ of stage `i` gets from the new state and from outputs inside; a shared first stage stands for the last one before too."
function direct!(sweep::Sweep{T}, n, i, h) where {T}
    (; tableau, κ, λ, g, inner, steps) = sweep
    κ .= T(h * tableau.b[i]) .* λ
    for o in inner[n]
        κ .+= T(h * weight(sweep, i, o)) .* view(g, :, o)
    end
    if i == 1 && n > 1 && shares_last(sweep, n - 1)
        for o in inner[n - 1]
            κ .+= T(steps.sizes[n - 1] * weight(sweep, tableau.last, o)) .* view(g, :, o)
        end
    end
    return nothing
end

# bᵢ(θ) of an output, and its derivative by θ.
weight(sweep::Sweep, i, output) = sweep.θ[output] * evalpoly(sweep.θ[output], view(sweep.tableau.dense, i, :))
function slope(sweep::Sweep, i, output)
    dense = view(sweep.tableau.dense, i, :)
    return evalpoly(sweep.θ[output], [j * dense[j] for j in eachindex(dense)])
end

"Whether the last stage of step `n` is the first of the next one, which the sweep has been through."
function shares_last(sweep::Sweep, n)
    (; tableau, ends, last_step) = sweep
    return tableau.fsal && n < last_step && piece(sweep, ends[n]) == piece(sweep, ends[n + 1])
end

function piece(sweep::Sweep, t)
    direction = sign(last(sweep.ends) - first(sweep.ends))
    return searchsortedlast(sweep.breaks, direction * t) + 1
end

function stage_time(sweep::Sweep, n, i)
    t, p = sweep.ends[n], piece(sweep, sweep.ends[n])
    return clamp(t + sweep.tableau.c[i] * sweep.steps.sizes[n], sweep.bounds[2p - 1], sweep.bounds[2p])
end

function keep_rates!(sweep::Sweep, n, h, shared)
    sweep.rates === nothing && return nothing
    (; k, tableau, following, inner, rates) = sweep
    if !isempty(inner[n])
        shared && (k[:, tableau.last] .= following)
        for o in inner[n]
            rates[:, o] .= 0
            for i in axes(k, 2)
                rates[:, o] .+= eltype(k)(slope(sweep, i, o)) .* view(k, :, i)
            end
        end
    end
    following .= view(k, :, 1)
    return nothing
end
