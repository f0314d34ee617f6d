# Vector fields that Python has captured as graphs and written as Julia code: see pyseminorm/graphs/lowering.

const Hoist{T} = FunctionWrapper{Nothing, Tuple{Ptr{Ptr{T}}, Ptr{T}}}
const Primal{T} = FunctionWrapper{Nothing, Tuple{Ptr{Ptr{T}}, Ptr{T}, Ptr{T}, Ptr{T}, Ptr{T}, Ptr{T}, T}}
const VjpCode{T} =
    FunctionWrapper{Nothing, Tuple{Ptr{Ptr{T}}, Ptr{T}, Ptr{T}, Ptr{T}, Ptr{T}, Ptr{T}, Ptr{T}, Ptr{T}, Ptr{T}, T}}

"""
    Program{T}

The code of f and of its products, with the memory that it works in.

- `sources`: pointers to the tensors that f reads; Python writes them before every solve.
- `constants`: what `hoist!` makes of them once a solve.
- `work`: what `primal!` leaves there, a product reads; `last` is the call that left it. (A backward pass begins where the forward
  pass ended.)
- `scratch`: nobody reads it after a call.
- `stages`: memory of evaluations that waits for the next solve (see [`Stage`](@ref)).
"""
struct Program{T}
    space::Module
    sources::Vector{Ptr{T}}
    constants::Vector{T}
    work::Vector{T}
    scratch::Vector{T}
    hoist!::Hoist{T}
    primal!::Primal{T}
    vjps::Dict{Symbol, VjpCode{T}}
    stages::Vector{Stage{T}}
    last::KnownCall{Vector{T}}
end

"""
    evaluate_source(source) -> Module

The functions of a lowered graph.
"""
function evaluate_source(source)
    space = Module(:Lowered)
    for name in names(Kernels)
        name === :Kernels || Core.eval(space, :(const $name = $(getfield(Kernels, name))))
    end
    Base.include_string(space, source, "Lowered")
    return space
end

function Program{T}(space::Module, sources, constants, work, scratch) where {T}
    named(name) = Base.invokelatest(getglobal, space, name)
    hoist! = Base.invokelatest(Hoist{T}, named(:hoist!))
    primal! = Base.invokelatest(Primal{T}, named(:primal!))
    return Program{T}(
        space, fill(Ptr{T}(C_NULL), sources), zeros(T, constants), zeros(T, work), zeros(T, scratch), hoist!, primal!,
        Dict{Symbol, VjpCode{T}}(), Stage{T}[], KnownCall{Vector{T}}(),
    )
end

"The product of a name, compiled at its first use."
vjp_code(program::Program{T}, name) where {T} = get!(program.vjps, name) do
    Base.invokelatest(VjpCode{T}, Base.invokelatest(getglobal, program.space, name))
end

struct LoweredValue{T}
    program::Program{T}
end

function (f::LoweredValue{T})(du::Vector{T}, u::Vector{T}, t::Float64) where {T}
    (; sources, constants, work, scratch, primal!, last) = f.program
    recall!(du, last, u, t) && return nothing
    GC.@preserve sources constants work scratch du u primal!(
        pointer(sources), pointer(constants), pointer(work), pointer(scratch), pointer(du), pointer(u), T(t),
    )
    remember!(last, du, u, t)
    return nothing
end

"""
    LoweredVjp

Products at the `u` and `λ` of a [`Workspace`](@ref).
"""
struct LoweredVjp{T}
    program::Program{T}
    work::Workspace{T}
end

function (vjp::LoweredVjp{T})(t::Float64, value::Bool, state::Bool, params::Bool) where {T}
    (; program, work) = vjp
    LoweredValue(program)(work.du, work.u, t)
    params && fill!(work.dθ, zero(T))
    vjp!(program, state ? (params ? :vjp! : :vjp_state!) : :vjp_params!, work, work.dθ, 0, work.dλ, t)
    return nothing
end

"The products of λ at the workspace's u: by the state to dλ, by time to `dt`, by the parameters added to `out` from `offset`."
function vjp!(program::Program{T}, name, work, out, offset, dt, t) where {T}
    (; sources, constants, scratch) = program
    (; λ, u, dλ) = work
    saved = program.work
    GC.@preserve sources constants saved scratch dλ out dt λ u vjp_code(program, name)(
        pointer(sources), pointer(constants), pointer(saved), pointer(scratch), pointer(dλ), pointer(out) + offset * sizeof(T),
        pointer(dt), pointer(λ), pointer(u), T(t),
    )
    return nothing
end

function add_vjp!(out, offset, field, program::Program, scatter, t, value, state)
    LoweredValue(program)(field.work.du, field.work.u, t)
    vjp!(program, state ? :vjp! : :vjp_params!, field.work, out, offset, field.work.dλ, t)
    return nothing
end

struct LoweredVjpTime{T}
    program::Program{T}
    work::Workspace{T}
    slope::Vector{T}
end

function (vjp::LoweredVjpTime{T})(t::Float64) where {T}
    (; program, work, slope) = vjp
    LoweredValue(program)(work.du, work.u, t)
    vjp!(program, :vjp_time!, work, work.dθ, 0, slope, t)
    return Float64(slope[1])
end

"""
    lowered_field(eltype, source, n, m, sources, constants, work, scratch) -> NativeField

Python's entry: code for states of `n` elements and gradients by parameters of `m`; the others are sizes of a
[`Program`](@ref)'s memory.
"""
lowered_field(eltype, source, n, m, memory...) = lowered_field(ELTYPES[eltype], evaluate_source(String(source)), n, m, memory...)

function lowered_field(::Type{T}, space::Module, n, m, memory...) where {T}
    program, work = Program{T}(space, memory...), Workspace{T}(n, m)
    return NativeField{T}(
        LoweredValue(program), T[], work, program, Vjp(LoweredVjp(program, work)),
        VjpTime(LoweredVjpTime(program, work, zeros(T, 1))), "", Vector{T}[],
    )
end

"The address of a lowered field's pointers to tensors, for Python to write."
lowered_sources(field::NativeField) = UInt(pointer(field.source.sources))

"Make what stays the same in a solve, from the tensors as they are now."
function lowered_load!(field::NativeField)
    (; sources, constants, hoist!, last) = field.source
    forget!(last)
    GC.@preserve sources constants hoist!(pointer(sources), pointer(constants))
    return nothing
end
