# Vector fields written in Julia. While they are solved no Python is called, except for its handlers of signals that wait.
# Arrays keep torch's memory, so that their dimensions are torch's reversed.

"""
    Slot(first, dims)

Where an array of the parameters lies in the flat vector θ of all of them.
"""
struct Slot{N}
    first::Int
    dims::NTuple{N, Int}
end

"The array over the memory of a `θ` that stays, or (by any AD package) out of any θ."
alias(slot::Slot, θ::Vector) = unsafe_wrap(Array, pointer(θ, slot.first), slot.dims)
extract(slot::Slot, θ) = reshape(θ[slot.first:(slot.first + prod(slot.dims) - 1)], slot.dims)

"What the user's function gets as `p`: nothing, one array, or a NamedTuple of arrays."
arrays(::Any, ::Nothing, θ) = nothing
arrays(take, slot::Slot, θ) = take(slot, θ)
arrays(take, slots::NamedTuple, θ) = map(slot -> take(slot, θ), slots)

function slots(names, shapes)
    found, first = Slot[], 1
    for shape in shapes
        slot = Slot(first, reverse(Int.(shape)))
        push!(found, slot)
        first += prod(slot.dims)
    end
    names === nothing && return isempty(found) ? nothing : only(found)
    return NamedTuple{Tuple(Symbol.(names))}(Tuple(found))
end

"""
    Workspace{T}

The vectors through which products go: state and adjoint in; f, λᵀ∂f/∂u and λᵀ∂f/∂θ out. They never move.
"""
struct Workspace{T}
    u::Vector{T}
    λ::Vector{T}
    du::Vector{T}
    dλ::Vector{T}
    dθ::Vector{T}
end

Workspace{T}(n, m) where {T} = Workspace{T}(zeros(T, n), zeros(T, n), zeros(T, n), zeros(T, n), zeros(T, m))

# vjp!(t, value, state, params) fills du, dλ and dθ of the workspace, each if wanted; vjp_time(t) is λᵀ∂f/∂t.
const Vjp = FunctionWrapper{Nothing, Tuple{Float64, Bool, Bool, Bool}}
const VjpTime = FunctionWrapper{Float64, Tuple{Float64}}

"""
    NativeField{T}

A function `f!(du, u, p, t)` of the user for one shape of the state, with parameters `θ`. One concrete type for all of them:
only the user's own function and its products are compiled anew.
"""
mutable struct NativeField{T}
    const evaluate!::RightHandSide{Vector{T}}
    const θ::Vector{T}
    const work::Workspace{T}
    const source::Any                               # a Source, for those who make products
    vjp!::Union{Vjp, Nothing}
    vjp_time::Union{VjpTime, Nothing}
    failure::String                                 # what the user's code raised during a solve
    const spare::Vector{Vector{T}}                  # memory that waits for the next solve's integral
end

"What the user gave: the function, the dimensions of the state, and the slots of the parameters."
struct Source{F, N, S}
    f!::F
    dims::NTuple{N, Int}
    slots::S
end

struct Evaluation{T, N, F, P}
    f!::F
    dims::NTuple{N, Int}
    θ::Vector{T}        # the memory of p
    p::P
end

function (f::Evaluation{T})(du::Vector{T}, u::Vector{T}, t::Float64) where {T}
    f.f!(reshape(du, f.dims), reshape(u, f.dims), f.p, T(t))
    return nothing
end

"""
    native_field(f!, eltype, shape, names, shapes) -> NativeField

Python's entry: shapes are torch's; `names` of the parameters is `nothing` for one array (or none).
"""
function native_field(f!, eltype, shape, names, shapes)
    source = Source(f!, reverse(Int.(shape)), slots(names, shapes))
    return native_field(ELTYPES[eltype], source, sum(s -> prod(Int.(s)), shapes; init = 0))
end

function native_field(::Type{T}, source::Source, m) where {T}
    θ = zeros(T, m)
    p = arrays(alias, source.slots, θ)
    evaluation = Evaluation(source.f!, source.dims, θ, p)
    work = Workspace{T}(prod(source.dims), m)
    return NativeField{T}(evaluation, θ, work, source, nothing, nothing, "", Vector{T}[])
end

"Addresses of θ and of the workspace's five vectors, for torch to read and write."
native_memory(field::NativeField) = UInt.(pointer.((field.θ, (getfield(field.work, i) for i in 1:5)...)))

"What the user's function is called with, in words."
function native_arguments(field::NativeField{T}) where {T}
    u, p = reshape(field.work.u, field.source.dims), arrays(extract, field.source.slots, field.θ)
    return "du and u are $(describe(u)), p is $(describe(p)), t is a $T"
end

describe(x) = x === nothing ? "nothing" : Base.summary(x)
describe(p::NamedTuple) = "(" * join(["$k = $(Base.summary(v))" for (k, v) in pairs(p)], ", ") * ")"

"Whether the user's function has a method for its arguments, and whether a vjp! has one for its own."
function native_fits(field::NativeField{T}) where {T}
    u, p = reshape(field.work.u, field.source.dims), arrays(extract, field.source.slots, field.θ)
    return applicable(field.source.f!, u, u, p, zero(T))
end

function native_fits(field::NativeField{T}, vjp!) where {T}
    u, p = reshape(field.work.u, field.source.dims), arrays(extract, field.source.slots, field.θ)
    return applicable(vjp!, u, p, u, u, p, zero(T))
end

# Sources are evaluated under these file names, by which their lines are found in backtraces.
const FILES = ("JuliaFunction.function", "JuliaFunction.vjp")

"""
    evaluate_sources(function, vjp) -> (function, vjp, message)

Evaluate Julia source texts (or take functions as they are, `nothing` as none) in one fresh module; a `message` that is not
empty says what is wrong.
"""
function evaluate_sources(f, vjp)
    space = Module(:JuliaFunction)
    found = Any[f, vjp]
    for (i, code) in enumerate(found)
        code isa AbstractString || continue
        try
            found[i] = Base.include_string(space, String(code), FILES[i])
        catch error
            return nothing, nothing, message_of(error, catch_backtrace())
        end
        isempty(methods(found[i])) &&
            return nothing, nothing, "the source must end in a function, but gives $(Base.summary(found[i]))"
    end
    return found[1], found[2], ""
end

message_of(error::LoadError, trace) = message_of(error.error, trace)
message_of(error::Base.Meta.ParseError, trace) = sprint(showerror, error)
message_of(error, trace) = failure_message(error, trace)

"What an error says: its first line (types can be pages long), and where in the user's source it came from."
function failure_message(error, trace)
    line = String(first(eachsplit(sprint(showerror, error), '\n')))
    message = length(line) > 300 ? first(line, 300) * " ..." : line
    for frame in stacktrace(trace)
        i = findfirst(==(basename(String(frame.file))), FILES)
        i === nothing || return "$message (line $(frame.line) of $(i == 1 ? "the source" : "the source of vjp"))"
    end
    return message
end

"Evaluate f at the workspace's u; gives what it raised, or \"\"."
function native_value!(field::NativeField, t)
    try
        field.evaluate!(field.work.du, field.work.u, Float64(t))
    catch error
        return failure_message(error, catch_backtrace())
    end
    return ""
end

"Fill the workspace by a product at its u and λ; gives what it raised, or \"\"."
function native_vjp!(field::NativeField, t, value, state, params)
    try
        field.vjp!(Float64(t), value, state, params)
    catch error
        return failure_message(error, catch_backtrace())
    end
    return ""
end

"λᵀ∂f/∂t at the workspace's u and λ, and what it raised, or \"\"."
function native_vjp_time(field::NativeField, t)
    try
        return field.vjp_time(Float64(t)), ""
    catch error
        return 0.0, failure_message(error, catch_backtrace())
    end
end

native_failure(field::NativeField) = field.failure

"""
    GivenVjp

The product by a `vjp!(dλ, dp, λ, u, p, t)` of the user, which writes λᵀ∂f/∂u and λᵀ∂f/∂p over zeros.
"""
struct GivenVjp{T, N, V, P}
    vjp!::V
    evaluate!::RightHandSide{Vector{T}}
    work::Workspace{T}
    dims::NTuple{N, Int}
    θ::Vector{T}        # the memory of p
    p::P
    dp::P
end

function (vjp::GivenVjp{T})(t::Float64, value::Bool, state::Bool, params::Bool) where {T}
    work, dims = vjp.work, vjp.dims
    value && vjp.evaluate!(work.du, work.u, t)
    fill!(work.dλ, zero(T))
    fill!(work.dθ, zero(T))
    vjp.vjp!(reshape(work.dλ, dims), vjp.dp, reshape(work.λ, dims), reshape(work.u, dims), vjp.p, T(t))
    return nothing
end

function given_vjp!(field::NativeField, vjp!)
    (; dims, slots) = field.source
    p, dp = arrays(alias, slots, field.θ), arrays(alias, slots, field.work.dθ)
    field.vjp! = Vjp(GivenVjp(vjp!, field.evaluate!, field.work, dims, field.θ, p, dp))
    return nothing
end

"""
    sciml_vjp!(field, choice, t) -> (name, message)

Let SciMLSensitivity differentiate the field: `choice` is "auto" (SciMLSensitivity's own choice), "enzyme", "reversediff" or
"zygote". It is tried at the workspace's u, at time `t`. The method is in ext/, loaded with SciMLSensitivity.
"""
function sciml_vjp! end
