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

    call64(du::Cint, u::Cint, t::Cdouble)::Cint = call(Float64, du, u, t)
    call32(du::Cint, u::Cint, t::Cdouble)::Cint = call(Float32, du, u, t)

end

function toy_solves(::Type{T}, method) where {T}
    call = T === Float64 ? @cfunction(Toy.call64, Cint, (Cint, Cint, Cdouble)) :
        @cfunction(Toy.call32, Cint, (Cint, Cint, Cdouble))
    register = @cfunction(Toy.register, Cint, (Cint, Ptr{Cvoid}, Int64))
    functions = (UInt(call), UInt(register), UInt(0), UInt(0), UInt(0))
    array = ("cpu", string(T), 0)
    settings = (method, 1.0e-3, 1.0e-6, 0.0, 1000, nothing, (), (0.0, 1.0))
    n, times = 2, [0.0, 0.5, 1.0]
    ys, cotangents, z, y = ones(T, n, 3), ones(T, n, 3), ones(T, 2n + 1), ones(T, n)
    offsets, stops, rows = Int64[0, n, n, 2n], [0.5, 0.0], Int64[1]
    sized(x) = (address(x), length(x))
    GC.@preserve ys cotangents z y times offsets stops rows for dense in (false, true)
        empty!(Toy.BUFFERS)
        solved = solve_forward(array, functions, (address(offsets), 1, n), sized(times), address(ys), n, settings, dense)
        outcome = dense ? last(solved) : nothing
        state, segments = dense ? ((address(z), n + 1), 1) : (sized(z), 2)
        empty!(Toy.BUFFERS)
        solve_adjoint(
            array, functions, (address(offsets), segments, last(state)), state, n, 1.0, sized(stops), sized(rows),
            address(ys), address(cotangents), !dense, settings, outcome, address(y), nothing,
        )
        dense && evaluate!(outcome, 0.3, address(y))
    end
    return nothing
end

@setup_workload begin
    @compile_workload begin
        for T in (Float64, Float32), method in ("tsit5", "dopri5", "bosh3", "vern7")
            toy_solves(T, method)
        end
    end
end
