# Vector fields written in Julia. While they are solved no Python is called, except for a look at pending signals every
# 50 ms. Arrays keep torch's memory, so that their dimensions are torch's reversed.

const LOOK_EVERY = UInt64(50_000_000)   # ns

"""
    Poll(call)

Calls `call() -> Cint` at most every 50 ms, and stops the solve where it does not give 1.
"""
mutable struct Poll
    call::Ptr{Cvoid}
    due::UInt64
end

Poll(call::Integer) = Poll(Ptr{Cvoid}(UInt(call)), time_ns() + LOOK_EVERY)

function (poll::Poll)()
    (time_ns() < poll.due || poll.call == C_NULL) && return nothing
    ok = ccall(poll.call, Cint, ())
    poll.due = time_ns() + LOOK_EVERY
    ok == 1 || throw(CallbackFailure())
    return nothing
end

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

# product!(t, value, state, params) fills du, dλ and dθ of the workspace, each if wanted; time_product(t) is λᵀ∂f/∂t.
const Product = FunctionWrapper{Nothing, Tuple{Float64, Bool, Bool, Bool}}
const TimeProduct = FunctionWrapper{Float64, Tuple{Float64}}

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
    product!::Union{Product, Nothing}
    time_product::Union{TimeProduct, Nothing}
    failure::String                                 # what the user's code raised during a solve
    const rates::Vector{Rates{T}}                   # memory that waits for the next solve's integral
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
    return NativeField{T}(evaluation, θ, Workspace{T}(prod(source.dims), m), source, nothing, nothing, "", Rates{T}[])
end

"Addresses of θ and of the workspace's five vectors, for torch to read and write."
native_memory(field::NativeField) = UInt.(pointer.((field.θ, (getfield(field.work, i) for i in 1:5)...)))

"What the user's function is called with, in words."
function native_arguments(field::NativeField{T}) where {T}
    u, p = reshape(field.work.u, field.source.dims), arrays(extract, field.source.slots, field.θ)
    return "du and u are $(described(u)), p is $(described(p)), t is a $T"
end

described(x) = x === nothing ? "nothing" : Base.summary(x)
described(p::NamedTuple) = "(" * join(["$k = $(Base.summary(v))" for (k, v) in pairs(p)], ", ") * ")"

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
            return nothing, nothing, unwrapped_message(error, catch_backtrace())
        end
        isempty(methods(found[i])) &&
            return nothing, nothing, "the source must end in a function, but gives $(Base.summary(found[i]))"
    end
    return found[1], found[2], ""
end

unwrapped_message(error::LoadError, trace) = unwrapped_message(error.error, trace)
unwrapped_message(error::Base.Meta.ParseError, trace) = sprint(showerror, error)
unwrapped_message(error, trace) = failure_message(error, trace)

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
function native_product!(field::NativeField, t, value, state, params)
    try
        field.product!(Float64(t), value, state, params)
    catch error
        return failure_message(error, catch_backtrace())
    end
    return ""
end

"λᵀ∂f/∂t at the workspace's u and λ, and what it raised, or \"\"."
function native_time_product(field::NativeField, t)
    try
        return field.time_product(Float64(t)), ""
    catch error
        return 0.0, failure_message(error, catch_backtrace())
    end
end

native_differentiable(field::NativeField) = field.product! !== nothing
native_time_differentiable(field::NativeField) = field.time_product !== nothing
native_failure(field::NativeField) = field.failure

"""
    GivenProduct

The product by a `vjp!(dλ, dp, λ, u, p, t)` of the user, which writes λᵀ∂f/∂u and λᵀ∂f/∂p over zeros.
"""
struct GivenProduct{T, N, V, P}
    vjp!::V
    evaluate!::RightHandSide{Vector{T}}
    work::Workspace{T}
    dims::NTuple{N, Int}
    θ::Vector{T}        # the memory of p
    p::P
    dp::P
end

function (product::GivenProduct{T})(t::Float64, value::Bool, state::Bool, params::Bool) where {T}
    work, dims = product.work, product.dims
    value && product.evaluate!(work.du, work.u, t)
    fill!(work.dλ, zero(T))
    fill!(work.dθ, zero(T))
    product.vjp!(reshape(work.dλ, dims), product.dp, reshape(work.λ, dims), reshape(work.u, dims), product.p, T(t))
    return nothing
end

function given_product!(field::NativeField, vjp!)
    (; dims, slots) = field.source
    p, dp = arrays(alias, slots, field.θ), arrays(alias, slots, field.work.dθ)
    field.product! = Product(GivenProduct(vjp!, field.evaluate!, field.work, dims, field.θ, p, dp))
    return nothing
end

"""
    sensitivity_product!(field, choice, t) -> (name, message)

Let SciMLSensitivity differentiate the field: `choice` is "auto" (SciMLSensitivity's own choice), "enzyme", "reversediff" or
"zygote". It is tried at the workspace's u, at time `t`. The method is in ext/, loaded with SciMLSensitivity.
"""
function sensitivity_product! end

# ---- solves

"""
    NativeSide{T}

What a solve of a [`NativeField`](@ref) calls: the right-hand side, forward or backward, which looks for signals.
"""
abstract type NativeSide{T} end

right_hand_side(::Type{Vector{T}}, side::NativeSide{T}, _) where {T} = RightHandSide{Vector{T}}(side)

function fail!(field::NativeField, error)
    error isa Union{CallbackFailure, InterruptException} && rethrow()
    field.failure = failure_message(error, catch_backtrace())
    throw(CallbackFailure())
end

"""
    NativeForward{T}

The right-hand side of a forward solve.
"""
struct NativeForward{T} <: NativeSide{T}
    field::NativeField{T}
    poll::Poll
    jacobians::Base.RefValue{Int}       # made
    stages::Union{StageRecord{T}, Nothing}      # to keep every evaluation in, with what its products read
end

function (side::NativeForward{T})(du::Vector{T}, u::Vector{T}, t::Float64) where {T}
    side.poll()
    try
        evaluate!(side, du, u, t, side.stages)
    catch error
        fail!(side.field, error)
    end
    return nothing
end

evaluate!(side::NativeForward, du, u, t, ::Nothing) = side.field.evaluate!(du, u, t)

function evaluate!(side::NativeForward, du, u, t, record::StageRecord)
    stage = next!(record.attempts, t)
    copyto!(stage.u, u)
    value!(stage, side.field, side.field.source)
    copyto!(du, stage.k)
    return nothing
end

"""
    Scatter(moves, size)

How a gradient by θ is spread on the parameters that gradients are wanted for: every move (from, to, length) adds to `size`
elements. Parameters can be shared, frozen, or in another order.
"""
struct Scatter
    moves::Vector{NTuple{3, Int}}
    size::Int
end

"From `count` rows of three Int64 in Python's memory."
function Scatter(moves, count, size)
    rows = reshape(wrap(Vector{Int64}, moves, 3count), 3, count)
    return Scatter(NTuple{3, Int}[(r[1], r[2], r[3]) for r in eachcol(rows)], size)
end

function add!(out, offset, dθ, scatter::Scatter)
    for (from, to, length) in scatter.moves
        view(out, (offset + to + 1):(offset + to + length)) .+= view(dθ, (from + 1):(from + length))
    end
    return nothing
end

"""
    NativeBackward{T}

The backward right-hand side d/dt of [λ; y; a_t; μ], without the parts that the adjoint does not have; where y is not part of
the state, the workspace's `u` holds it. With an [`Integral`](@ref) μ is not part of the state.
"""
struct NativeBackward{T} <: NativeSide{T}
    field::NativeField{T}
    poll::Poll
    jacobians::Base.RefValue{Int}       # made
    anchored::Bool
    timed::Bool
    scatter::Union{Scatter, Nothing}    # nothing: μ is not made
    integral::Union{Integral{T}, Nothing}
end

function (side::NativeBackward{T})(dz::Vector{T}, z::Vector{T}, t::Float64) where {T}
    side.poll()
    try
        backward!(side, dz, z, t)
    catch error
        fail!(side.field, error)
    end
    return nothing
end

function backward!(side::NativeBackward{T}, dz, z, t) where {T}
    field, work, scatter = side.field, side.field.work, side.scatter
    n = length(work.u)
    work.λ .= .-view(z, 1:n)
    side.anchored && copyto!(work.u, 1, z, n + 1, n)
    done = (side.anchored ? 2n : n) + side.timed
    if scatter === nothing
        (field.product!::Product)(t, side.anchored, true, false)
    elseif side.integral === nothing
        fill!(view(dz, (done + 1):(done + scatter.size)), zero(T))
        add_product!(dz, done, field, field.source, scatter, t, side.anchored, true)
    else
        add_product!(zero_rates!(side.integral, t), 0, field, field.source, scatter, t, side.anchored, true)
    end
    copyto!(dz, 1, work.dλ, 1, n)
    side.anchored && copyto!(dz, n + 1, work.du, 1, n)
    side.timed && (dz[done] = (field.time_product::TimeProduct)(t))
    return nothing
end

"Products of the workspace's λ at its u, those by the parameters added to `out` from `offset`."
function add_product!(out, offset, field, ::Source, scatter, t, value, state)
    (field.product!::Product)(t, value, state, true)
    add!(out, offset, field.work.dθ, scatter)
    return nothing
end

"""
    NativeJacobian

∂/∂u and ∂/∂t of a side, for methods that solve linear systems: a row of the Jacobian is a product with a unit vector, the
derivative by time a difference. `state!(t)` writes y(t) to the workspace where y is not integrated.
"""
struct NativeJacobian{V, N, S}
    side::N
    field::VectorField{V}
    state!::S
end

solver_jacobian(side::N, _, field::VectorField{V}, state!::S) where {V, N <: NativeSide, S} =
    NativeJacobian{V, N, S}(side, field, state!)

function fill_from!(out, jacobian::NativeJacobian, what, u, t)
    (; side, field, state!) = jacobian
    side.poll()
    try
        what == 0 ? jacobian!(out, side, u, inside(field, t), state!) : slope!(out, side, u, beside(field, t)..., state!)
    catch error
        fail!(side.field, error)
    end
    return nothing
end

"Time `t` in the field's interval, and another a small step away, on the inner side of the piece that `t` is in."
function beside(field::VectorField{V}, t) where {V}
    T, at = eltype(V), inside(field, t)
    step = sqrt(eps(T)) * max(1, abs(at))
    return at, Float64(T(field.high[] - at > at - field.low[] ? at + step : at - step))
end

function unit_product!(field::NativeField{T}, i, t) where {T}
    fill!(field.work.λ, zero(T))
    field.work.λ[i] = one(T)
    (field.product!::Product)(t, false, true, false)
    return field.work.dλ
end

function jacobian!(J, side::NativeForward, u, t, state!)
    copyto!(side.field.work.u, u)
    for i in axes(J, 1)
        J[i, :] .= unit_product!(side.field, i, t)
    end
    side.jacobians[] += 1
    return nothing
end

function slope!(dT, side::NativeForward, u, t, later, state!)
    (; evaluate!, work) = side.field
    evaluate!(dT, u, later)
    evaluate!(work.du, u, t)
    dT .= (dT .- work.du) ./ (later - t)
    return nothing
end

# Of λ' = -(∂f/∂y)ᵀ λ along y(t); λ is all of the state there.
function jacobian!(J, side::NativeBackward, λ, t, state!)
    state!(t)
    for i in axes(J, 2)
        J[:, i] .= .-unit_product!(side.field, i, t)
    end
    side.jacobians[] += 1
    return nothing
end

function slope!(dT, side::NativeBackward, λ, t, later, state!)
    (; product!, work) = side.field
    copyto!(work.λ, λ)
    state!(t)
    (product!::Product)(t, false, true, false)
    copyto!(dT, work.dλ)
    state!(later)
    (product!::Product)(later, false, true, false)
    dT .= (dT .- work.dλ) ./ (later - t)
    return nothing
end

jacobians(side::NativeSide) = side.jacobians[]

"""
    NativeNodes{T}

Evaluates Gauss nodes (see [`Nodes`](@ref)) and sums their parameter products in `total`.
"""
mutable struct NativeNodes{T}
    const field::NativeField{T}
    const poll::Poll
    const times::Ptr{Float64}
    const y::UInt
    const λ::UInt
    const scatter::Scatter
    const total::Vector{T}
    evaluated::Int
end

function (nodes::NativeNodes{T})(count::Cint) where {T}
    work = nodes.field.work
    n = length(work.u)
    for j in 1:count
        nodes.poll()
        copyto!(work.u, row(Vector{T}, nodes.y, j - 1, n))
        copyto!(work.λ, row(Vector{T}, nodes.λ, j - 1, n))
        try
            (; field, total, scatter) = nodes
            add_product!(total, 0, field, field.source, scatter, unsafe_load(nodes.times, j), false, false)
        catch error
            fail!(nodes.field, error)
        end
        nodes.evaluated += 1
    end
    return Cint(1)
end

evaluator(nodes::NativeNodes) = Evaluator(nodes)

"Python's entries: the sides of a solve of `field`, with the address of a poll of signals."
native_forward(field::NativeField{T}, poll, steps = nothing) where {T} =
    started(NativeForward{T}(field, Poll(poll), Ref(0), steps === nothing ? nothing : steps.stages))

"""
    native_steps(field, tableau) -> Steps

Where a forward solve of a field records its steps; with a `tableau` (else `nothing`) their stages too.
"""
native_steps(field::NativeField{T}, ::Nothing) where {T} = Steps{Vector{T}}()
native_steps(field::NativeField{T}, tableau::Tableau) where {T} =
    Steps{Vector{T}}(StageRecord{T}(tableau, () -> new_stage(field)))

native_backward(field::NativeField{T}, poll, anchored, timed, scatter, integral = nothing) where {T} = started(
    NativeBackward{T}(
        field, Poll(poll), Ref(0), anchored, timed, scatter === nothing ? nothing : Scatter(scatter...), integral,
    ),
)

"""
    native_integral(field, tableau, μ, m) -> Integral

For a backward solve by the method of a `tableau`, with `m` elements of μ at an address of Python's.
"""
native_integral(field::NativeField{T}, tableau::Tableau, μ, m) where {T} =
    Integral{T}(tableau, wrap(Vector{T}, μ, m), () -> new_rates(field, m))

function new_rates(field::NativeField{T}, m) where {T}
    filter!(rates -> length(rates.θ) == m, field.rates)      # gradients can be wanted for other parameters than before
    return isempty(field.rates) ? Rates{T}(m) : pop!(field.rates)
end

integral(side::NativeBackward) = side.integral

function release!((; field, integral)::NativeBackward)
    integral === nothing || keep!(field.rates, memory(integral), sizeof(integral.total))
    return nothing
end

const KEPT_BYTES = 2^26

"Memory that nobody reads any more waits for the next solve: as many of the `found` as are not too large, all with the `waiting`."
function keep!(waiting, found, bytes)
    append!(waiting, Iterators.take(found, max(0, KEPT_BYTES ÷ max(1, bytes) - length(waiting))))
    return nothing
end

native_nodes(side::NativeBackward{T}, times, y, λ, scatter, total) where {T} = NativeNodes{T}(
    side.field, side.poll, Ptr{Float64}(UInt(times)), UInt(y), UInt(λ), Scatter(scatter...),
    wrap(Vector{T}, total, last(scatter)), 0,
)

evaluated(nodes::NativeNodes) = nodes.evaluated

started(side::NativeSide) = (side.field.failure = ""; side)
