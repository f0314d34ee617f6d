using PySeminorm.Kernels

const K = PySeminorm.Kernels

"The numbers of a row-major matrix as Julia's matrix."
matrix(x, rows, columns) = permutedims(reshape(x, columns, rows))

@testset "elements of memory" begin
    x = [1.0, 2.0, NaN, 4.0]
    GC.@preserve x begin
        p = pointer(x)
        @test load(p, 1) == 2 && load(at(p, 3), 0) == 4
        store!(p, 7.0, 0)
        add!(p, 0.5, 0)
        max!(p, 9.0, 1)
        min!(p, 3.0, 3)
        @test x[[1, 2, 4]] == [7.5, 9, 3]
        max!(p, 1.0, 2)
        @test isnan(x[3])       # NaN wins, as in torch
    end
    @test isnan(larger(NaN, 1.0)) && isnan(larger(1.0, NaN)) && larger(1.0, 2.0) == 2
    @test isnan(smaller(NaN, 1.0)) && isnan(smaller(1.0, NaN)) && smaller(1.0, 2.0) == 1
end

@testset "NaN where Base throws: $f" for (f, outside) in (
        log_nan => -1, log2_nan => -1, log10_nan => -1, log1p_nan => -2, sqrt_nan => -1, sin_nan => Inf, cos_nan => -Inf,
        tan_nan => Inf, asin_nan => 1.5, acos_nan => -1.5,
    )
    for T in (Float64, Float32)
        @test isnan(f(T(outside))) && isnan(f(T(NaN)))
        @test f(T(0.3)) isa T
        @test f(T(0.3)) ≈ getfield(Base, Symbol(replace(string(f), "_nan" => "")))(T(0.3))
    end
end

@testset "powers" begin
    @test pow_nan(-2.0, 3.0) == -8 && pow_nan(2.0, -0.5) == 2^-0.5 && isnan(pow_nan(-2.0, 0.5))
end

@testset "elementary functions in $T" for T in (Float64, Float32)
    xs = T[-800:0.37:800; -2:0.0013:2; -1.0e-9; 1.0e-9; 0.0]
    close(mine, exact) = abs(mine - exact) <= 4 * eps(T) * max(abs(exact), floatmin(T))
    for (mine, exact) in (exp_fast => exp, expm1_fast => expm1, tanh_fast => tanh)
        worst = findfirst(x -> !(close(mine(x), exact(x)) || mine(x) == exact(x) || exact(x) < floatmin(T)), xs)
        @test worst === nothing || (xs[worst], mine(xs[worst]), exact(xs[worst])) === nothing
    end
    @test exp_fast(T(Inf)) == Inf && exp_fast(T(-Inf)) == 0 && isnan(exp_fast(T(NaN)))
    @test tanh_fast(T(Inf)) == 1 && tanh_fast(T(-Inf)) == -1 && isnan(tanh_fast(T(NaN)))
    @test expm1_fast(T(-Inf)) == -1 && isnan(expm1_fast(T(NaN)))
    @test logistic(zero(T)) == T(0.5) && logistic(T(-2)) ≈ inv(1 + exp(T(2)))
    @test erf(T(0.5)) ≈ T(0.5204998778130465)
end

@testset "small products in $T" for T in (Float64, Float32)
    for (m, n, k) in ((1, 1, 1), (1, 3, 5), (2, 33, 17), (3, 8, 4), (7, 40, 3), (5, 1, 9))
        a, b, c = rand(T, m * k), rand(T, k * n), fill(T(NaN), m * n)
        A, B = matrix(a, m, k), matrix(b, k, n)
        GC.@preserve a b c gemm_small!(pointer(c), pointer(a), pointer(b), k, 1, n, Val(m), Val(n), Val(k))
        @test matrix(c, m, n) ≈ A * B
        a = vec(A)      # column major: strides 1, m
        GC.@preserve a b c gemm_small!(pointer(c), pointer(a), pointer(b), 1, m, n, Val(m), Val(n), Val(k))
        @test matrix(c, m, n) ≈ A * B
    end
    a, b, c = rand(T, 2 * 3), rand(T, 3 * 10), zeros(T, 2 * 4)      # rows of B ten apart
    GC.@preserve a b c gemm_small!(pointer(c), pointer(a), pointer(b), 3, 1, 10, Val(2), Val(4), Val(3))
    @test matrix(c, 2, 4) ≈ matrix(a, 2, 3) * matrix(b, 3, 10)[:, 1:4]
end

@testset "products by a BLAS in $T" for T in (Float64, Float32)
    ours = getindex.(K.GEMM)
    K.use_blas!(0, 0)       # Julia's own
    m, n, k = 5, 7, 3
    A, B = rand(T, m, k), rand(T, k, n)
    for (how_a, a, ld_a) in (('N', A, m), ('T', permutedims(A), k)), (how_b, b, ld_b) in (('N', B, k), ('T', permutedims(B), n))
        c = fill(T(NaN), m, n)
        GC.@preserve a b c gemm!(how_a, how_b, m, n, k, pointer(a), ld_a, pointer(b), ld_b, pointer(c), m)
        @test c ≈ A * B
        GC.@preserve a b c gemm!(how_a, how_b, m, n, k, pointer(a), ld_a, pointer(b), ld_b, pointer(c), m, one(T))
        @test c ≈ 2 * A * B
    end
    K.use_blas!(ours...)
end
