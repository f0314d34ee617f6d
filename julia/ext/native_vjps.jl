# Products of Julia-written vector fields by SciMLSensitivity's vector-Jacobian products.

using PySeminorm: PySeminorm, NativeField, Vjp, Slot, VjpTime, Tsit5, Workspace, arrays, extract, failure_message
using PySeminorm.SciMLBase: FullSpecialize, ODEProblem, build_solution
using SciMLSensitivity: EnzymeVJP, ForwardDiff, QuadratureAdjoint, ReverseDiffVJP, SciMLSensitivity, Zygote, ZygoteVJP

"""
    Flat

The user's function of flat parameters, which the AD packages see.
"""
struct Flat{F, S}
    f!::F
    slots::S
end

(flat::Flat)(du, u, θ, t) = (flat.f!(du, u, arrays(extract, flat.slots, θ), t); nothing)

# Zygote's own rule for θ[range] makes a vector as long as θ for every array.
Zygote.@adjoint function PySeminorm.arrays(take::typeof(extract), slots, θ::AbstractVector)
    return arrays(take, slots, θ), Δ -> (nothing, nothing, gathered!(zero(θ), slots, Δ))
end

gathered!(dθ, ::Any, ::Nothing) = dθ
gathered!(dθ, slot::Slot, Δ::AbstractArray) = (copyto!(dθ, slot.first, Δ, 1, length(Δ)); dθ)
gathered!(dθ, slots::NamedTuple, Δ::NamedTuple) = (foreach(k -> gathered!(dθ, slots[k], Δ[k]), keys(slots)); dθ)

"""
    SciMLVjp

The product by SciMLSensitivity's `vecjacobian!`, as its adjoint problems call it.
"""
struct SciMLVjp{T, N, S}
    sensitivity::S
    work::Workspace{T}
    dims::NTuple{N, Int}
    θ::Vector{T}
end

function SciMLVjp(problem, vjp, field::NativeField{T}) where {T}
    start = first(problem.tspan)
    solution = build_solution(problem, Tsit5(), [start], [problem.u0])
    # The right-hand side of SciMLSensitivity's QuadratureAdjoint: it holds what its vecjacobian! needs, and little else.
    sensitivity = SciMLSensitivity.ODEQuadratureAdjointSensitivityFunction(
        nothing, QuadratureAdjoint(autojacvec = vjp), true, solution, nothing, nothing, nothing,
    )
    return SciMLVjp(sensitivity, field.work, field.source.dims, field.θ)
end

function (vjp::SciMLVjp{T})(t::Float64, value::Bool, state::Bool, params::Bool) where {T}
    (; work, dims, θ) = vjp
    u, du, dλ = reshape(work.u, dims), reshape(work.du, dims), reshape(work.dλ, dims)
    fill!(dλ, zero(T))      # Zygote leaves alone what f does not depend on
    fill!(work.dθ, zero(T))
    SciMLSensitivity.vecjacobian!(
        state ? dλ : nothing, u, work.λ, θ, T(t), vjp.sensitivity;
        dgrad = params && !isempty(θ) ? work.dθ : nothing, dy = value ? du : nothing,
    )
    return nothing
end

"""
    ForwardVjpTime

λᵀ∂f/∂t by forward differentiation.
"""
struct ForwardVjpTime{T, N, F}
    flat::F
    work::Workspace{T}
    dims::NTuple{N, Int}
    θ::Vector{T}
end

function (vjp::ForwardVjpTime{T})(t::Float64) where {T}
    u = reshape(vjp.work.u, vjp.dims)
    rate(τ) = (du = similar(u, typeof(τ)); vjp.flat(du, u, vjp.θ, τ); sum(vjp.work.λ .* vec(du)))
    return Float64(ForwardDiff.derivative(rate, T(t)))
end

# A compiled tape freezes whatever is not a real number of f's: branches, and results of comparisons and roundings too,
# which SciMLSensitivity's own test (hasbranching) lets pass. So it is compiled only where f is proved smooth.
const FunctionProperties = parentmodule(SciMLSensitivity.hasbranching)

function reverse_diff(problem)
    arguments = (copy(problem.u0), problem.u0, problem.p, first(problem.tspan))
    smooth = isdefined(FunctionProperties, :issmooth) && FunctionProperties.issmooth(problem.f.f, arguments...)
    return ReverseDiffVJP(smooth)
end

replace_reverse_diff(vjp, problem) = vjp isa ReverseDiffVJP ? reverse_diff(problem) : vjp

# "auto": SciMLSensitivity's own choice (Enzyme where it works, else ReverseDiff), then Zygote.
const CHOICES = Dict{String, Any}(
    "enzyme" => problem -> (EnzymeVJP(),),
    "reversediff" => problem -> (reverse_diff(problem),),
    "zygote" => problem -> (ZygoteVJP(allow_nothing = true),),
    "auto" => problem -> (
        replace_reverse_diff(SciMLSensitivity.inplace_vjp(problem, problem.u0, problem.p, false, identity), problem),
        ZygoteVJP(allow_nothing = true),
    ),
)

function PySeminorm.sciml_vjp!(field::NativeField{T}, choice, t) where {T}
    (; source, work, θ) = field
    flat = Flat(source.f!, source.slots)
    problem = ODEProblem{true, FullSpecialize}(flat, copy(reshape(work.u, source.dims)), (T(t), T(t) + one(T)), θ)
    failures = String[]
    for vjp in CHOICES[String(choice)](problem)
        vjp === false && continue       # SciMLSensitivity found none
        try
            product = SciMLVjp(problem, vjp, field)
            product(Float64(t), true, true, true)
            field.vjp! = Vjp(product)
            field.vjp_time = VjpTime(ForwardVjpTime(flat, work, source.dims, θ))
            return string(vjp), ""
        catch error
            push!(failures, "$(nameof(typeof(vjp))): $(failure_message(error, catch_backtrace()))")
        end
    end
    return "", join(failures, "; ")
end
