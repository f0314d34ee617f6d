# μ' = -λᵀ∂f/∂θ is read by no right-hand side, and by no norm that is a seminorm: then μ is a plain integral beside the state
# of a backward solve.

"""
    ParameterDerivative{T}

The derivative of μ in one evaluation of the backward right-hand side, at time `t`; as long as it is not `made`, only what it
is made of is there, `u` and `λ`.
"""
mutable struct ParameterDerivative{T}
    t::Float64
    made::Bool
    const θ::Vector{T}
    u::Vector{T}
    λ::Vector{T}
end

ParameterDerivative{T}(m::Int) where {T} = ParameterDerivative{T}(NaN, true, Vector{T}(undef, m), T[], T[])

"""
    Integral{T}(tableau, total, make, make_late!)

μ outside of the state: every accepted step adds h Σ bᵢ kᵢ of its stages to `total`. `make()` gives a
[`ParameterDerivative`](@ref) to write to.

An evaluation whose derivative weighs nothing, as far as can be told when it is made, can leave it to `make_late!(derivative)`,
which is called where a step turns out to need it. Not needed are those of the solver's search for a first step, of stages of weight
zero, and of a step's last stage where no step begins with it, at a stop.
"""
mutable struct Integral{T}
    const attempts::Attempts{ParameterDerivative{T}}
    const total::Vector{T}
    const weighty::Vector{Int}              # stages whose weight is not zero
    const make_late!::Any
    last::Union{ParameterDerivative{T}, Nothing}    # of the last accepted step, where the next one may begin with it
    stage::Int                              # of the evaluation before, as far as can be told
    begun::Bool                             # the first attempt at a step
    stops::Vector{Float64}
end

Integral{T}(tableau::Tableau, total, make, make_late!) where {T} = Integral{T}(
    Attempts{ParameterDerivative{T}}(tableau, make), total, findall(!iszero, view(tableau.b, 1:tableau.last)), make_late!,
    nothing, 0, false, Float64[],
)

"A stage of an accepted step is not among the evaluations: the solver has made other ones than the method's tableau says."
struct MissingStage <: Exception
    stage::Int
    attempt::Attempt
end

Base.showerror(io::IO, error::MissingStage) = print(
    io, "stage ", error.stage, " of the step from t = ", error.attempt.t, " by ", error.attempt.h, " was not evaluated where ",
    "the method's tableau says: please report this, with the versions of the OrdinaryDiffEq packages",
)

"What an evaluation at time `t` leaves its derivative in."
function next!(integral::Integral{T}, t) where {T}
    integral.stage += 1
    derivative = next!(integral.attempts, t)
    isempty(derivative.u) || (derivative.u = derivative.λ = T[])     # few evaluations are postponed, and states can be large
    return derivative
end

"Whether the derivative of the evaluation that is about to be made at time `t` is likely to weigh something."
function weighs((; attempts, stage, begun, stops)::Integral, t)
    (; b, last, fsal) = attempts.tableau
    begun || return stage == 1
    stage in 1:last || return true
    fsal && stage == last && return !iszero(b[last]) || !any(stop -> abs(t - stop) <= 4eps(Float32) * abs(stop), stops)
    return !iszero(b[stage])
end

"Zeros to add a derivative to."
function zero!(derivative::ParameterDerivative{T}) where {T}
    derivative.made = true
    return fill!(derivative.θ, zero(T))
end

function postpone!(derivative::ParameterDerivative, u, λ)
    derivative.made, derivative.u, derivative.λ = false, copy(u), copy(λ)
    return nothing
end

"The solver goes on to its first step: `stops` are the times where the state will change, the end included."
function begin!(integral::Integral, stops)
    integral.begun, integral.stops = true, stops
    integral.stage = 1
    return nothing
end

begin!(::Nothing, stops) = nothing

"The next evaluation is made of a changed state, at the start of a step."
change!(integral::Integral) = (integral.stage = 0; nothing)
change!(::Nothing) = nothing

function accept!(integral::Integral{T}, attempt::Attempt) where {T}
    (; attempts, total, weighty, make_late!, last) = integral
    (; tableau, spare) = attempts
    integral.stage = tableau.fsal ? 1 : 0
    stages = accept!(attempts, attempt, last)
    missed = findfirst(i -> stages[i] === nothing, weighty)
    missed === nothing || throw(MissingStage(weighty[missed], attempt))
    foreach(i -> stages[i].made || make_late!(stages[i]), weighty)
    weights, θs = map(i -> T(attempt.h * tableau.b[i]), (weighty...,)), map(i -> stages[i].θ, (weighty...,))
    add_weighted!(total, weights, θs) || throw(NotFinite(attempt.t))
    integral.last = tableau.fsal ? stages[end] : nothing
    used = Iterators.filter(derivative -> derivative !== nothing && derivative !== integral.last, stages)
    append!(spare, used)
    last === nothing || any(derivative -> derivative === last, used) || push!(spare, last)
    return nothing
end

function reject!(integral::Integral, attempt::Attempt)
    integral.stage = integral.attempts.tableau.fsal ? 1 : 0
    return reject!(integral.attempts, attempt)
end

"total += Σ weight x, in one pass over memory."
function add_weighted!(total::Vector{T}, weights::NTuple{N, T}, xs::NTuple{N, Vector{T}}) where {N, T}
    eachindex(total, xs...)
    sign = zero(T)      # NaN where something was not finite
    @inbounds @simd ivdep for i in eachindex(total)
        total[i] += weighted(i, weights, xs)
        sign += zero(T) * total[i]
    end
    return !isnan(sign)
end

@inline weighted(i, (weight,)::NTuple{1}, (x,)::NTuple{1}) = @inbounds weight * x[i]
@inline weighted(i, weights::Tuple, xs::Tuple) =
    @inbounds muladd(first(weights), first(xs)[i], weighted(i, Base.tail(weights), Base.tail(xs)))

"Everything that was written to, for the next solve."
memory((; attempts, last)::Integral) =
    Iterators.flatten((attempts.pending, attempts.spare, last === nothing ? () : (last,)))
