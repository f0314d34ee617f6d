# The adjoint of the Runge-Kutta steps that a forward solve took (DiscreteAdjoint), for vector fields that need no Python:
# the same sweep as pyseminorm/passes/discrete_sweep.py, whose formulas stand there.

# ---- stages: their values, and products that remember them

"Evaluate f at a stage's `u` and `t`."
function value!(stage::Stage{T}, field::NativeField{T}, program::Program{T}) where {T}
    (; sources, constants, scratch) = program
    (; u, k, work) = stage
    GC.@preserve sources constants scratch u k work program.primal!(
        pointer(sources), pointer(constants), pointer(work), pointer(scratch), pointer(k), pointer(u), T(stage.t),
    )
    return nothing
end

"The products of `κ` at a stage: by the state to `ū`, by the parameters added to `total`."
function vjp!(stage::Stage{T}, ū, κ, total, scatter, field::NativeField{T}, program::Program{T}) where {T}
    (; sources, constants, scratch) = program
    (; u, work) = stage
    name = isempty(total) ? :vjp_state! : :vjp!
    GC.@preserve sources constants scratch u work ū total κ vjp_code(program, name)(
        pointer(sources), pointer(constants), pointer(work), pointer(scratch), pointer(ū), pointer(total), Ptr{T}(C_NULL),
        pointer(κ), pointer(u), T(stage.t),
    )
    return nothing
end

# The same of a user's function, whose products evaluate it again.

function value!(stage::Stage, field::NativeField, ::Source)
    work = field.work
    copyto!(work.u, stage.u)
    field.evaluate!(work.du, work.u, stage.t)
    copyto!(stage.k, work.du)
    return nothing
end

function vjp!(stage::Stage, ū, κ, total, scatter, field::NativeField, ::Source)
    work = field.work
    copyto!(work.u, stage.u)
    copyto!(work.λ, κ)
    (field.vjp!::Vjp)(stage.t, false, true, !isempty(work.dθ))
    copyto!(ū, work.dλ)
    add!(total, 0, work.dθ, scatter)
    return nothing
end

"A stage to write to: one that waits (see [`give_back!`](@ref)), or a new one."
function new_stage(field::NativeField{T}) where {T}
    program, n = field.source, length(field.work.u)
    program isa Program{T} || return Stage{T}(n, 0)
    return isempty(program.stages) ? Stage{T}(n, length(program.work)) : pop!(program.stages)::Stage{T}
end

"Stages that nobody reads any more wait for the next solve."
function give_back!(field::NativeField{T}, stages) where {T}
    program = field.source
    program isa Program{T} || return nothing
    return keep!(program.stages, stages, sizeof(T) * (length(program.work) + 2length(field.work.u)))
end

# ---- the sweep

"""
    Sweep{T}

One pass backwards through the steps. `sums` collects the gradient by the parameters; `derivatives` (n, times), if wanted, gets
derivatives of the dense output at outputs inside steps.
"""
mutable struct Sweep{T}
    const field::NativeField{T}
    const poll::Poll
    const stages::Vector{Stage{T}}                  # of the step that the sweep is at
    const own::Vector{Stage{T}}                     # memory for those that were not kept
    const tableau::Tableau
    const steps::Steps{Vector{T}}
    const ends::Vector{Float64}
    const times::Vector{Float64}
    const g::Matrix{T}                              # cotangents (n, times)
    const at_end::Vector{Vector{Int}}
    const inner::Vector{Vector{Int}}
    const last_step::Int
    const θ::Vector{Float64}                        # of outputs inside steps
    const discontinuities::Vector{Float64}                   # directed
    const intervals::Vector{Float64}
    const scatter::Scatter
    const sums::SweepSums{T}
    const derivatives::Union{Matrix{T}, Nothing}
    const ū::Vector{Vector{T}}
    const κ::Vector{T}
    const λ::Vector{T}
    const following::Vector{T}                      # the first stage of the step after the present one
    done::Int                                       # steps
    vjps::Int
end

"""
    native_sweep!(
        field, poll, tableau, steps, times, reached, cotangents, discontinuities, intervals, scatter, sample, total, λ, derivatives, inside
    ) -> (retcode, last step, steps done, products, whether the gradients are finite, estimate)

Python's entry: `times` and vectors of floats as they are, else addresses of Python's memory: `total` (or a `Vector`), λ and the
derivatives (0: not wanted) are written there, and which outputs lie inside steps to `inside`. The retcode is `:Refused` where no
sweep is made, for what [`active_outputs`](@ref) has found.
"""
function native_sweep!(
        field::NativeField{T}, poll, tableau, steps, times, reached, cotangents, discontinuities, intervals, scatter, sample, total, λ, derivatives,
        inside,
    ) where {T}
    n = length(field.work.u)
    g = reshape(wrap(Vector{T}, cotangents, n * length(times)), n, :)
    active = active_outputs(g, reached)
    active === nothing && return :Refused, 0, 0, 0, false, (NaN, 0.0)
    ends = steps.ends
    at_end, inner, last_step, θ = place_outputs(ends, times, active, steps)
    direction = sign(last(ends) - first(ends))
    own = [new_stage(field) for _ in tableau.c]
    scatter = Scatter(scatter...)
    total = total isa Vector{T} ? total : wrap(Vector{T}, total, scatter.size)
    fill!(total, zero(T))
    sweep = Sweep{T}(
        field, Poll(poll), copy(own), own, tableau, steps, ends, times, g, at_end, inner, last_step, θ,
        direction .* discontinuities, intervals, scatter, SweepSums{T}(total, tableau, sample),
        derivatives == 0 ? nothing : reshape(wrap(Vector{T}, derivatives, n * length(times)), n, :),
        [zeros(T, n) for _ in own], zeros(T, n), wrap(Vector{T}, λ, n), zeros(T, n), 0, 0,
    )
    fill!(sweep.λ, zero(T))
    field.failure = ""
    try
        run!(sweep)
    catch error
        error isa Union{CallbackFailure, InterruptException, NotFinite} || rethrow()
        retcode = error isa CallbackFailure ? :CallbackFailure : error isa NotFinite ? :Unstable : :Interrupted
        return retcode, last_step, sweep.done, sweep.vjps, false, (NaN, 0.0)
    end
    give_back!(field, own)
    release!(steps, field)
    derivatives == 0 || foreach(i -> unsafe_store!(Ptr{Bool}(UInt(inside)), true, i), Iterators.flatten(inner))
    return :Success, last_step, sweep.done, sweep.vjps, all_finite(sweep.λ) && all_finite(total), estimate(sweep.sums)
end

"Which outputs have cotangents; nothing where one is not finite, or is of an output that was not `reached`."
function active_outputs(g, reached)
    active = fill(false, size(g, 2))
    for (i, column) in enumerate(eachcol(g))
        total = sum(abs, column)
        isfinite(total) || all(isfinite, column) || return nothing
        active[i] = !iszero(total)
        active[i] && i > reached && return nothing
    end
    return active
end

"Where outputs with cotangents lie: at the end of a step, or inside it at θ."
function place_outputs(ends, times, active, steps)
    direction = sign(last(ends) - first(ends))
    directed = direction .* ends
    at_end, inner = [Int[] for _ in steps.sizes], [Int[] for _ in steps.sizes]
    θ, last_step = zeros(length(times)), 0
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
function back!(sweep::Sweep, n)
    (; tableau, ū, κ, λ, g, field, stages, sums) = sweep
    h, dense = sweep.steps.sizes[n], !isempty(sweep.inner[n])
    shared = shares_last(sweep, n)
    used = filter(i -> !(shared && i == tableau.last), tableau.needed[1 + dense])
    evaluate!(sweep, n, used)
    foreach(i -> all_finite(stages[i].k) || throw(NotFinite(stages[i].t)), used)
    for i in Iterators.reverse(used)
        direct!(sweep, n, i, h)
        for j in used
            j > i && gain!(κ, h * tableau.a[j, i], ū[j])
        end
        vjp!(stages[i], ū[i], κ, target(sums, i), sweep.scatter, field, field.source)
        gain!(sums, i)
        sweep.vjps += 1
    end
    end_step!(sums, used, h, !dense)
    for i in sweep.inner[n]
        λ .+= view(g, :, i)
    end
    for i in used
        λ .+= ū[i]
    end
    all_finite(λ) || throw(NotFinite(sweep.ends[n]))
    keep_derivatives!(sweep, n, h, shared)
    return nothing
end

"The stages of step `n`: those that the forward solve kept, and the others again."
function evaluate!(sweep::Sweep, n, used)
    (; tableau, stages, own, steps, field) = sweep
    kept, y, h = kept_stages(steps, n), steps.states[n], sweep.steps.sizes[n]
    for i in used
        found = i <= length(kept) ? kept[i] : nothing
        stages[i] = stage = found === nothing ? own[i] : found
        found === nothing || continue
        stage.t = stage_time(sweep, n, i)
        combine!(stage.u, y, h, stages, view(tableau.a, i, 1:(i - 1)))
        value!(stage, field, field.source)
    end
    return nothing
end

"to = y + h Σ a[j] k of stage j, in pieces that stay in the nearest cache"
function combine!(to, y, h, stages, a)
    for first in 1:1024:length(to)
        piece = first:min(first + 1023, length(to))
        copyto!(to, first, y, first, length(piece))
        for (stage, weight) in zip(stages, a)
            gain!(to, h * weight, stage.k, piece)
        end
    end
    return nothing
end

function gain!(to::Vector{T}, weight, x::Vector{T}, piece = eachindex(to)) where {T}
    iszero(weight) && return nothing
    factor = T(weight)
    @inbounds @simd for i in piece
        to[i] += factor * x[i]
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
    return tableau.fsal && n < last_step && interval(sweep, ends[n]) == interval(sweep, ends[n + 1])
end

function interval(sweep::Sweep, t)
    direction = sign(last(sweep.ends) - first(sweep.ends))
    return searchsortedlast(sweep.discontinuities, direction * t) + 1
end

function stage_time(sweep::Sweep, n, i)
    t, p = sweep.ends[n], interval(sweep, sweep.ends[n])
    return clamp(t + sweep.tableau.c[i] * sweep.steps.sizes[n], sweep.intervals[2p - 1], sweep.intervals[2p])
end

function keep_derivatives!(sweep::Sweep, n, h, shared)
    sweep.derivatives === nothing && return nothing
    (; stages, tableau, following, inner, derivatives) = sweep
    for o in inner[n]
        derivatives[:, o] .= 0
        for i in tableau.needed[2]
            k = shared && i == tableau.last ? following : stages[i].k
            derivatives[:, o] .+= eltype(k)(slope(sweep, i, o)) .* k
        end
    end
    copyto!(following, stages[1].k)
    return nothing
end
