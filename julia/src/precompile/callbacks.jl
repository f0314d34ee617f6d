# Solves of a toy problem through the very path that Python takes (C function pointers), so that the solvers are compiled
# into the package image for every model: the right-hand side has one type.

module Toy

    const BUFFERS = Dict{Cint, Tuple{Ptr{Cvoid}, Int64}}()

    register(slot::Cint, pointer::Ptr{Cvoid}, length::Int64)::Cint = (BUFFERS[slot] = (pointer, length); 1)

    function call(::Type{T}, du, u, t) where {T}
        (to, n), (from, _) = BUFFERS[du], BUFFERS[u]
        for i in 1:n
            unsafe_store!(Ptr{T}(to), -unsafe_load(Ptr{T}(from), i), i)
        end
        return Cint(1)
    end

    call64(du::Cint, u::Cint, t::Cdouble, params::Cint)::Cint = call(Float64, du, u, t)
    call32(du::Cint, u::Cint, t::Cdouble, params::Cint)::Cint = call(Float32, du, u, t)

    sums(what::Cint, number::Cdouble)::Cdouble = 1.0

end

"Arguments by name; all others are 0."
arguments(::Type{C}; given...) where {C} =
    C((as(type, get(given, name, 0)) for (name, type) in zip(fieldnames(C), fieldtypes(C)))...)

as(::Type{Int64}, x) = x % Int64        # of an unsigned address, too
as(::Type{Float64}, x) = Float64(x)

"Call a C function by name as Python does; its result, and the times behind it."
function enter(name, call::C, released = Int64[0]) where {C}
    Result = name === :sweep ? SweepResult : PassResult
    given, memory = [call], zeros(UInt8, TIMES_AT + sizeof(Float64) * MOST_TIMES)
    ok = GC.@preserve given memory released ccall(
        Ptr{Cvoid}(c_functions()[findfirst(==(name), C_FUNCTIONS)]), Cint, (Ptr{C}, Ptr{UInt8}, Ptr{Int64}), given, memory, released,
    )
    ok == 1 || raise_again()
    return only(reinterpret(Result, memory[1:sizeof(Result)])), reinterpret(Float64, memory[(TIMES_AT + 1):end])
end

function toy_solves(::Type{T}, method) where {T}
    call = T === Float64 ? @cfunction(Toy.call64, Cint, (Cint, Cint, Cdouble, Cint)) :
        @cfunction(Toy.call32, Cint, (Cint, Cint, Cdouble, Cint))
    sums, weights = @cfunction(Toy.sums, Cdouble, (Cint, Cdouble)), tsit5_weights()
    register = @cfunction(Toy.register, Cint, (Cint, Ptr{Cvoid}, Int64))
    V = vector_type(("cpu", string(T), 0))
    settings = Settings((method, 1.0e-3, 1.0e-6, 1000, nothing, (), (0.0, 1.0), ((), 0.0, Inf, false)))
    n, times, back = 2, [0.0, 0.5, 1.0], [1.0, 0.5, 0.0]
    ys, cotangents, z, y = ones(T, n, 3), ones(T, n, 3), ones(T, 2n + 1), ones(T, n)
    offsets, rows = Int64[0, n, n, 2n], Int64[1]
    common = (;
        vector = address_of(V), evaluate = UInt(call), register = UInt(register), offsets = address(offsets), ys = address(ys),
        size = n, settings = address_of(settings), times_count = length(times),
    )
    GC.@preserve ys cotangents z y times back offsets rows settings weights for dense in (false, true), apart in (false, true)
        apart && method != "tsit5" && continue
        empty!(Toy.BUFFERS)
        found, _ = enter(:forward, arguments(ForwardCall; common..., times = address(times), y0 = address(ys), segments = 1, dense))
        outcome = dense ? take_handle!(found.outcome) : nothing
        empty!(Toy.BUFFERS)
        back_call = arguments(
            AdjointCall; common..., times = address(back), rows = address(rows), rows_count = 1, z = address(z),
            length = (dense ? n : 2n) + !apart, tableau = apart ? address_of(weights) : 0, sums = UInt(sums), cotangents = address(cotangents), segments = dense ? 1 : 2, anchored = !dense,
            outcome = dense ? address_of(outcome) : 0, y = address(y),
        )
        GC.@preserve outcome enter(:adjoint, back_call)
        dense && foreach(derivative -> evaluate!(outcome, address(times), 1, address(y), derivative), (false, true))
    end
    return nothing
end

"All that an integral beside a solve by Tsit5 reads of its tableau, but for the values of the weights."
function tsit5_weights()
    c, b = [0, 0.161, 0.327, 0.9, 0.9800255409045097, 1, 1], [1, 1, 1, 1, 1, 1, 0]
    return Tableau(c, zeros(7, 7), b, ones(7), zeros(7, 1), (1.0, 1.0, 0.0), 7, true, (Int[], Int[]))
end

@setup_workload begin
    @compile_workload begin
        for T in (Float64, Float32), method in ("tsit5", "dopri5", "bosh3", "vern7")
            toy_solves(T, method)
        end
    end
end
