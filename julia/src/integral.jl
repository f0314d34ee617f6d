# μ' = -λᵀ∂f/∂θ is read by no right-hand side, and by no norm that is a seminorm: then μ is a plain integral beside the state
# of a backward solve.

"""
    Rates{T}

The derivative of μ in one evaluation of the backward right-hand side, at time `t`.
"""
mutable struct Rates{T}
    t::Float64
    const θ::Vector{T}
end

Rates{T}(m::Int) where {T} = Rates{T}(NaN, Vector{T}(undef, m))

"""
    Integral{T}(tableau, total, make)

μ outside of the state: every accepted step adds h Σ bᵢ kᵢ of its stages to `total`. `make()` gives [`Rates`](@ref) to write to.
"""
mutable struct Integral{T}
    const attempts::Attempts{Rates{T}}
    const total::Vector{T}
    const weighty::Vector{Int}              # stages whose weight is not zero
    last::Union{Rates{T}, Nothing}          # of the last accepted step, where the next one may begin with them
end

Integral{T}(tableau::Tableau, total, make) where {T} =
    Integral{T}(Attempts{Rates{T}}(tableau, make), total, findall(!iszero, view(tableau.b, 1:tableau.last)), nothing)

"A stage of an accepted step is not among the evaluations: the solver has made other ones than the method's tableau says."
struct MissingStage <: Exception
    stage::Int
    attempt::Attempt
end

Base.showerror(io::IO, error::MissingStage) = print(
    io, "stage ", error.stage, " of the step from t = ", error.attempt.t, " by ", error.attempt.h, " was not evaluated where ",
    "the method's tableau says: please report this, with the versions of the OrdinaryDiffEq packages",
)

"Zeros to add the derivative of μ at time `t` to."
function zero_rates!(integral::Integral{T}, t) where {T}
    (; θ) = next!(integral.attempts, t)
    return fill!(θ, zero(T))
end

function accept!(integral::Integral{T}, attempt::Attempt) where {T}
    (; attempts, total, weighty, last) = integral
    (; tableau, spare) = attempts
    stages = accept!(attempts, attempt, last)
    missed = findfirst(i -> stages[i] === nothing, weighty)
    missed === nothing || throw(MissingStage(weighty[missed], attempt))
    add_weighted!(total, map(i -> T(attempt.h * tableau.b[i]), (weighty...,)), map(i -> stages[i].θ, (weighty...,)))
    integral.last = tableau.fsal ? stages[end] : nothing
    used = Iterators.filter(rates -> rates !== nothing && rates !== integral.last, stages)
    append!(spare, used)
    last === nothing || any(rates -> rates === last, used) || push!(spare, last)
    return nothing
end

reject!(integral::Integral, attempt::Attempt) = reject!(integral.attempts, attempt)

"total += Σ weight x, in one pass over memory."
function add_weighted!(total::Vector{T}, weights::NTuple{N, T}, xs::NTuple{N, Vector{T}}) where {N, T}
    eachindex(total, xs...)
    @inbounds @simd ivdep for i in eachindex(total)
        total[i] += weighted(i, weights, xs)
    end
    return nothing
end

@inline weighted(i, (weight,)::NTuple{1}, (x,)::NTuple{1}) = @inbounds weight * x[i]
@inline weighted(i, weights::Tuple, xs::Tuple) =
    @inbounds muladd(first(weights), first(xs)[i], weighted(i, Base.tail(weights), Base.tail(xs)))

"Everything that was written to, for the next solve."
memory((; attempts, last)::Integral) =
    Iterators.flatten((attempts.pending, attempts.spare, last === nothing ? () : (last,)))
