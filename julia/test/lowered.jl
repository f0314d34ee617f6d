# y' = -r u t, of one parameter r: what pyseminorm/graphs/lowering writes, in short.
const SOURCE = """
function hoist!(s::Ptr{Ptr{T}}, k::Ptr{T}) where {T}
    store!(k, -load(unsafe_load(s, 1), 0), 0)
    return nothing
end

function primal!(s::Ptr{Ptr{T}}, k::Ptr{T}, w::Ptr{T}, q::Ptr{T}, du::Ptr{T}, u::Ptr{T}, t::T) where {T}
    for i in 0:1
        store!(du, load(k, 0) * load(u, i) * t, i)
    end
    store!(w, t, 0)
    return nothing
end
""" * join(
    (
        """
            function $(name)!(s::Ptr{Ptr{T}}, k::Ptr{T}, w::Ptr{T}, q::Ptr{T}, da::Ptr{T}, dp::Ptr{T}, dt::Ptr{T}, a::Ptr{T}, u::Ptr{T}, t::T) where {T}
                for i in 0:1
                    $body
                end
                return nothing
            end
            """ for (name, body) in (
                "vjp_state" => "store!(da, load(k, 0) * load(a, i) * load(w, 0), i)",
                "vjp_params" => "add!(dp, -load(a, i) * load(u, i) * t, 0)",
                "vjp" => "store!(da, load(k, 0) * load(a, i) * load(w, 0), i); add!(dp, -load(a, i) * load(u, i) * t, 0)",
                "vjp_time" => "i == 0 && store!(dt, zero(T), 0); add!(dt, load(k, 0) * load(a, i) * load(u, i), 0)",
            )
    ), "\n",
)

field_of(T) = PySeminorm.lowered_field(string(T), SOURCE, 2, 1, 1, 16, 16, 16)

function pointed_at(field, r)
    unsafe_store!(Ptr{UInt}(PySeminorm.lowered_sources(field)), UInt(pointer(r)))
    PySeminorm.lowered_load!(field)
    return field
end

@testset "values and products in $T" for T in (Float64, Float32)
    r, field = T[1.5], field_of(T)
    GC.@preserve r begin
        pointed_at(field, r)
        copyto!(field.work.u, [2, -3])
        copyto!(field.work.λ, [0.5, 4])
        @test PySeminorm.native_value!(field, 0.5) == "" && field.work.du == [-1.5, 2.25]
        @test PySeminorm.native_vjp!(field, 0.5, true, true, true) == ""
        @test field.work.dλ == [-0.375, -3] && field.work.dθ == [-0.5 * (0.5 * 2 - 4 * 3)]
        @test PySeminorm.native_vjp_time(field, 0.5) == (-1.5 * (0.5 * 2 - 4 * 3), "")
        # The tensors are read where they are, at every load.
        r[1] = 2
        PySeminorm.native_value!(field, 0.5)
        @test field.work.du == [-1.5, 2.25]
        PySeminorm.lowered_load!(field)
        PySeminorm.native_value!(field, 0.5)
        @test field.work.du == [-2, 3]
    end
end

@testset "code is compiled to one type" begin
    @test typeof(field_of(Float64)) === typeof(PySeminorm.native_field((du, u, p, t) -> nothing, "Float64", (3,), nothing, ()))
    @test_throws Exception PySeminorm.lowered_field("Float64", "function hoist!(", 2, 1, 1, 16, 16, 16)
end
