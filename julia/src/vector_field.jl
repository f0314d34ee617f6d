# A right-hand side on the solver's buffers, whatever is behind it: (du, u, t).
const RightHandSide{T} = FunctionWrapper{Nothing, Tuple{Vector{T}, Vector{T}, Float64}}

"""
    VectorField{T}

The right-hand side of every solve, forward or backward: one concrete type per element type, so that a second model
compiles nothing. Times are clamped to the interval (`t + dt` can round one ulp past its end); `calls` counts.
"""
struct VectorField{T}
    f!::RightHandSide{T}
    low::Base.RefValue{Float64}     # of the smooth piece that the solve is in
    high::Base.RefValue{Float64}
    calls::Base.RefValue{Int}
end

VectorField{T}(f!, t0, t1) where {T} = VectorField{T}(f!, Ref(min(t0, t1)), Ref(max(t0, t1)), Ref(0))

function (field::VectorField)(du, u, p, t)
    field.calls[] += 1
    field.f!(du, u, clamp(t, field.low[], field.high[]))
    return nothing
end

"""
    ForeignField{T}(call, register)

A vector field behind two C function pointers. `call(slot_du, slot_u, t)` fills the solver's buffer `du` and returns 1
(anything else: it raised); `register(slot, pointer, length)` introduces a buffer that was not seen before. The solver
uses a handful of buffers; each is kept alive here for the whole solve, so that an address never means two arrays.
"""
struct ForeignField{T}
    call::Ptr{Cvoid}
    register::Ptr{Cvoid}
    slots::Dict{Ptr{T}, Cint}
    buffers::Vector{Vector{T}}
end

ForeignField{T}(call, register) where {T} = ForeignField{T}(call, register, Dict{Ptr{T}, Cint}(), Vector{T}[])

function slot!(field::ForeignField{T}, buffer::Vector{T}) where {T}
    slot = get(field.slots, pointer(buffer), Cint(-1))
    slot >= 0 && return slot
    push!(field.buffers, buffer)
    slot = Cint(length(field.buffers) - 1)
    field.slots[pointer(buffer)] = slot
    ok = ccall(field.register, Cint, (Cint, Ptr{T}, Int64), slot, buffer, length(buffer))
    ok == 1 || throw(CallbackFailure())
    return slot
end

function (field::ForeignField{T})(du::Vector{T}, u::Vector{T}, t::Float64) where {T}
    slot_du, slot_u = slot!(field, du), slot!(field, u)
    ok = ccall(field.call, Cint, (Cint, Cint, Cdouble), slot_du, slot_u, t)
    ok == 1 || throw(CallbackFailure())
    return nothing
end

"""
    right_hand_side(T, call, register) -> RightHandSide{T}

What Python gives: two addresses of C functions, or a right-hand side made in Julia (see native.jl).
"""
right_hand_side(::Type{T}, call::Integer, register) where {T} =
    RightHandSide{T}(ForeignField{T}(Ptr{Cvoid}(UInt(call)), Ptr{Cvoid}(UInt(register))))
