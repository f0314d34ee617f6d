# A right-hand side on the solver's buffers, whatever is behind it: (du, u, t).
const RightHandSide{V} = FunctionWrapper{Nothing, Tuple{V, V, Float64}}

"""
    KnownCall{V}()

What a call of a field was given and gave, to be recalled where the same call comes again.
"""
mutable struct KnownCall{V}
    t::Float64
    u::V
    du::V
    KnownCall{V}() where {V} = new{V}(NaN)
end

function remember!(call::KnownCall, du, u, t)
    isdefined(call, :u) || (call.u = similar(u); call.du = similar(du))
    copyto!(call.u, u)
    copyto!(call.du, du)
    call.t = t
    return nothing
end

forget!(call::KnownCall) = (call.t = NaN; nothing)

"Whether the call is the known one again, which is answered from memory."
function recall!(du, call::KnownCall, u, t)
    t == call.t && mapreduce(==, &, u, call.u; init = true) || return false
    copyto!(du, call.du)
    return true
end

"""
    VectorField{V}

The right-hand side of every solve, forward or backward: one concrete type per vector type, so that a second model
compiles nothing. Times are clamped to the interval (`t + dt` can round one ulp past its end); `calls` counts. The call at the
`start` is known: OrdinaryDiffEq evaluates f(t0, u0) to choose the first step and again to make it (methods that are not
first-same-as-last once more). What `last_stages` spares is not called. Once `closed`, at the end of the solve, it calls nothing
any more: its functions belong to the
solve.
"""
struct VectorField{V}
    f!::RightHandSide{V}
    low::Base.RefValue{Float64}     # of the smooth interval that the solve is in
    high::Base.RefValue{Float64}
    calls::Base.RefValue{Int}
    closed::Base.RefValue{Bool}
    start::KnownCall{V}
    last_stages::LastStages
    integral::Union{Integral, Nothing}      # is told of what is answered from memory
end

VectorField{V}(f!, t0, t1, last_stages = LastStages(), integral = nothing) where {V} =
    VectorField{V}(f!, Ref(min(t0, t1)), Ref(max(t0, t1)), Ref(0), Ref(false), KnownCall{V}(), last_stages, integral)

"A call of a field whose solve is over, by a dense output that is made lazily."
struct LateCall <: Exception end

Base.showerror(io::IO, ::LateCall) = print(
    io, "the method makes its dense output by further calls of func, so it cannot serve dense=true, nor an adjoint that reads ",
    "the forward trajectory: give BacksolveAdjoint(), or another method",
)

inside(field::VectorField, t) = clamp(t, field.low[], field.high[])

function (field::VectorField)(du, u, p, t)
    field.closed[] && throw(LateCall())
    at = inside(field, t)
    recall!(du, field.start, u, at) && return recalled!(field.integral, u, at)
    spares!(field.last_stages, t) && (fill!(du, zero(eltype(du))); return nothing)
    field.calls[] += 1
    field.f!(du, u, at)
    field.calls[] == 1 && remember!(field.start, du, u, at)
    return nothing
end

"""
    ForeignField{V}(call, register)

A vector field behind two C function pointers. `call(slot_du, slot_u, t, params)` fills the solver's buffer `du` and returns 1
(anything else: it raised); `register(slot, address, length)` introduces a buffer that was not seen before. The solver
uses a handful of buffers; each is kept alive here for the whole solve, so that an address never means two arrays. `params` is
whether the `integral` beside a backward solve wants the derivative of μ, which Python keeps.
"""
struct ForeignField{V}
    call::Ptr{Cvoid}
    register::Ptr{Cvoid}
    slots::Dict{UInt, Cint}
    buffers::Vector{V}
    integral::Union{Integral{V, ForeignSums}, Nothing}
end

ForeignField{V}(call, register, integral = nothing) where {V} =
    ForeignField{V}(call, register, Dict{UInt, Cint}(), V[], integral)

function slot!(field::ForeignField{V}, buffer::V) where {V}
    slot = get(field.slots, address(buffer), Cint(-1))
    slot >= 0 && return slot
    push!(field.buffers, buffer)
    slot = Cint(length(field.buffers) - 1)
    field.slots[address(buffer)] = slot
    ok = call_register(field.register, slot, address(buffer), length(buffer))
    ok == 1 || throw(CallbackFailure())
    return slot
end

function (field::ForeignField)(du, u, t::Float64)
    integral = field.integral
    integral === nothing && return evaluate!(field, du, u, t, false)
    wanted = next!(integral, u, t)
    evaluate!(field, du, u, t, wanted)
    return made!(integral, wanted)
end

function evaluate!(field::ForeignField{V}, du::V, u::V, t, params) where {V}
    slot_du, slot_u = slot!(field, du), slot!(field, u)
    synchronize(V)
    ok = call_evaluate(field.call, slot_du, slot_u, t, params)
    ok == 1 || throw(CallbackFailure())
    return nothing
end

"Let an integral make derivatives again by a field's function, whose other result nobody reads."
function remakes!(integral::Integral, field::ForeignField{V}) where {V}
    unread = Ref{V}()
    integral.make! = function (i, u, t)
        isassigned(unread) || (unread[] = similar(u))
        evaluate!(field, unread[], u, t, true)
    end
    return nothing
end

"""
    right_hand_side(V, call, register, integral) -> RightHandSide{V}

What Python gives: two addresses of C functions, or a right-hand side made in Julia (see native.jl).
"""
function right_hand_side(::Type{V}, call::Integer, register, integral = nothing) where {V}
    field = ForeignField{V}(Ptr{Cvoid}(UInt(call)), register, integral)
    integral === nothing || remakes!(integral, field)
    return RightHandSide{V}(field)
end

"""
    ForeignJacobian{V}(call, field, state!)

∂f/∂u (as `jac`) and ∂f/∂t (as `tgrad`) of a foreign vector field, for methods that solve linear systems.
`call(what, address_out, address_u, length, t)` fills the column-major Jacobian (`what` = 0) or the time derivative (1).
`state!(t)` runs before: a backward solve writes y(t) there.
"""
struct ForeignJacobian{V, S}
    call::Ptr{Cvoid}
    field::VectorField{V}
    state!::S
end

"""
    solver_jacobian(call, jacobian, field, state!)

Derivatives of the right-hand side that `call` stands for in [`Functions`](@ref): by Python's function `jacobian`, or in Julia.
"""
solver_jacobian(::Integer, call, field::VectorField{V}, state!::S) where {V, S} = ForeignJacobian{V, S}(call, field, state!)

jac(jacobian) = (J, u, p, t) -> fill_from!(J, jacobian, 0, u, t)
tgrad(jacobian) = (dT, u, p, t) -> fill_from!(dT, jacobian, 1, u, t)

function fill_from!(out, jacobian::ForeignJacobian{V}, what, u, t) where {V}
    at = inside(jacobian.field, t)
    jacobian.state!(at)
    synchronize(V)
    ok = GC.@preserve out u call_jacobian(jacobian.call, what, address(out), address(u), length(u), at)
    ok == 1 || throw(CallbackFailure())
    return nothing
end
