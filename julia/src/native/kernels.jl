"""
    Kernels

What lowered graphs are made of: elements of flat memory (counted from zero), elementwise functions that the compiler can
vectorise and that give NaN where Base throws, and matrix products.
"""
module Kernels

using LinearAlgebra: BLAS

export acos_nan, add!, asin_nan, at, cos_nan, erf, exp_fast, expm1_fast, gemm!, gemm_small!, larger, load, log10_nan,
    log1p_nan, log2_nan, log_nan, logistic, max!, min!, pow_nan, sin_nan, smaller, sqrt_nan, store!, tan_nan, tanh_fast

# ---- memory

"The pointer `n` elements on."
@inline at(p::Ptr{T}, n) where {T} = p + n * sizeof(T)

@inline load(p::Ptr, i) = unsafe_load(p, i + 1)
@inline store!(p::Ptr{T}, x::T, i) where {T} = (unsafe_store!(p, x, i + 1); nothing)
@inline add!(p::Ptr{T}, x::T, i) where {T} = store!(p, load(p, i) + x, i)
@inline max!(p::Ptr{T}, x::T, i) where {T} = store!(p, larger(load(p, i), x), i)
@inline min!(p::Ptr{T}, x::T, i) where {T} = store!(p, smaller(load(p, i), x), i)

# ---- elementwise

# NaN wins, as in torch.
@inline larger(a, b) = ifelse((a > b) | isnan(a), a, b)
@inline smaller(a, b) = ifelse((a < b) | isnan(a), a, b)

for (name, f) in ((:log_nan, :log), (:log2_nan, :log2), (:log10_nan, :log10))
    @eval @inline $name(x::T) where {T} = x < 0 ? T(NaN) : $f(x)
end
@inline log1p_nan(x::T) where {T} = x < -1 ? T(NaN) : log1p(x)
@inline sqrt_nan(x::T) where {T} = @fastmath sqrt(x)
for (name, f) in ((:sin_nan, :sin), (:cos_nan, :cos), (:tan_nan, :tan))
    @eval @inline $name(x::T) where {T} = isfinite(x) ? $f(x) : T(NaN)
end
for (name, f) in ((:asin_nan, :asin), (:acos_nan, :acos))
    @eval @inline $name(x::T) where {T} = abs(x) <= 1 ? $f(x) : T(NaN)
end
@inline pow_nan(x::T, y::T) where {T} = x < 0 && !isinteger(y) ? T(NaN) : x^y

erf(x::Float64) = ccall((:erf, Base.Math.libm), Float64, (Float64,), x)
erf(x::Float32) = ccall((:erff, Base.Math.libm), Float32, (Float32,), x)

# ln 2 in two parts, the first with trailing zeros, so that n * first is exact (Cody and Waite).
ln2_parts(::Type{Float32}) = (0.693359375f0, -2.1219444f-4)
ln2_parts(::Type{Float64}) = (0.6931471803691238, 1.9082149292705877e-10)

# Taylor's series to where it is exact to rounding on [-ln(2)/2, ln(2)/2], without its first terms 1 + r.
for (T, terms) in ((Float32, 6), (Float64, 12))
    @eval series(::Type{$T}) = $(ntuple(i -> T(1 / factorial(i + 1)), terms))
end

@inline shifted(n::Float32) = reinterpret(Float32, (unsafe_trunc(Int32, n) + Int32(127)) << 23)
@inline shifted(n::Float64) = reinterpret(Float64, (unsafe_trunc(Int64, n) + 1023) << 52)

"(n, e^r - 1) with x = n ln 2 + r."
@inline function reduced(x::T) where {T}
    n = round(x * T(1.4426950408889634))
    first, second = ln2_parts(T)
    r = muladd(-n, second, muladd(-n, first, x))
    return n, muladd(r * r, evalpoly(r, series(T)), r)
end

bounds(::Type{Float32}) = (-104.0f0, 89.0f0)
bounds(::Type{Float64}) = (-746.0, 710.0)

@inline function exp_fast(x::T) where {T}
    low, high = bounds(T)
    n, p = reduced(ifelse(x < low, low, ifelse(x > high, high, x)))
    half = floor(n / 2)     # 2^n in two factors, each of which is a normal number
    return (p + 1) * shifted(half) * shifted(n - half)
end

@inline function expm1_fast(x::T) where {T}
    n, p = reduced(ifelse(abs(x) > 1, zero(T), x))
    return ifelse(n == 0 && abs(x) <= 1, p, exp_fast(x) - 1)
end

saturation(::Type{Float32}) = 18.0f0
saturation(::Type{Float64}) = 40.0

"tanh x = (e^2x - 1) / (e^2x + 1)"
@inline function tanh_fast(x::T) where {T}
    most = saturation(T)
    y = 2x
    n, p = reduced(ifelse(y > most, most, ifelse(y < -most, -most, y)))
    scale = shifted(n)
    e = muladd(scale, p, scale - 1)
    return e / (e + 2)
end

@inline logistic(x) = inv(1 + exp_fast(-x))

# ---- matrix products, of row-major matrices

"Addresses of sgemm and dgemm with 32-bit integers, or null for Julia's own BLAS."
const GEMM = (Ref(C_NULL), Ref(C_NULL))

function use_blas!(sgemm, dgemm)
    GEMM[1][], GEMM[2][] = Ptr{Cvoid}(UInt(sgemm)), Ptr{Cvoid}(UInt(dgemm))
    return nothing
end

for (T, index, symbol) in ((Float32, 1, :sgemm_), (Float64, 2, :dgemm_))
    arguments = (:(Ref(Int32(m))), :(Ref(Int32(n))), :(Ref(Int32(k))))
    @eval begin
        """
            gemm!(how_a, how_b, m, n, k, a, ld_a, b, ld_b, c, ld_c, β = 0)

        C = A B + β C for column-major matrices, by the BLAS that PyTorch has, or else by Julia's.
        """
        function gemm!(how_a, how_b, m, n, k, a::Ptr{$T}, ld_a, b::Ptr{$T}, ld_b, c::Ptr{$T}, ld_c, β = zero($T))
            ours = GEMM[$index][]
            if ours != C_NULL
                ccall(
                    ours, Cvoid,
                    (
                        Ref{UInt8}, Ref{UInt8}, Ref{Int32}, Ref{Int32}, Ref{Int32}, Ref{$T}, Ptr{$T}, Ref{Int32}, Ptr{$T},
                        Ref{Int32}, Ref{$T}, Ptr{$T}, Ref{Int32}, Clong, Clong,
                    ),
                    how_a, how_b, m, n, k, one($T), a, ld_a, b, ld_b, β, c, ld_c, 1, 1,
                )
            else
                ccall(
                    (BLAS.@blasfunc($symbol), BLAS.libblastrampoline), Cvoid,
                    (
                        Ref{UInt8}, Ref{UInt8}, Ref{BLAS.BlasInt}, Ref{BLAS.BlasInt}, Ref{BLAS.BlasInt}, Ref{$T}, Ptr{$T},
                        Ref{BLAS.BlasInt}, Ptr{$T}, Ref{BLAS.BlasInt}, Ref{$T}, Ptr{$T}, Ref{BLAS.BlasInt}, Clong, Clong,
                    ),
                    how_a, how_b, m, n, k, one($T), a, ld_a, b, ld_b, β, c, ld_c, 1, 1,
                )
            end
            return nothing
        end
    end
end

const Vec{W, T} = NTuple{W, VecElement{T}}

@inline load_vector(::Type{Vec{W, T}}, p::Ptr{T}) where {W, T} = unsafe_load(Ptr{Vec{W, T}}(p))
@inline store_vector!(p::Ptr{T}, x::Vec{W, T}) where {W, T} = (unsafe_store!(Ptr{Vec{W, T}}(p), x); nothing)
@inline splat(::Type{Vec{W, T}}, x::T) where {W, T} = ntuple(_ -> VecElement(x), Val(W))

for (T, name) in ((Float32, "f32"), (Float64, "f64")), W in (2, 4, 8, 16)
    @eval @inline fma_vector(a::Vec{$W, $T}, b::Vec{$W, $T}, c::Vec{$W, $T}) = ccall(
        $("llvm.fma.v$W$name"), llvmcall, Vec{$W, $T}, (Vec{$W, $T}, Vec{$W, $T}, Vec{$W, $T}), a, b, c,
    )
end
for T in (Float32, Float64)
    @eval @inline fma_vector(a::Vec{1, $T}, b::Vec{1, $T}, c::Vec{1, $T}) =
        (VecElement(muladd(a[1].value, b[1].value, c[1].value)),)
end

"""
    tile!(c, ld_c, a, a0, a1, b, b0, k, Val(R), Val(N), Val(W))

R rows and N vectors of W columns of a product: all sums stay in registers.
"""
@generated function tile!(
        c::Ptr{T}, ld_c, a::Ptr{T}, a0, a1, b::Ptr{T}, b0, k, ::Val{R}, ::Val{N}, ::Val{W}
    ) where {T, R, N, W}
    V = Vec{W, T}
    sum(r, v) = Symbol(:s, r, :_, v)
    start = [:($(sum(r, v)) = splat($V, zero(T))) for r in 1:R for v in 1:N]
    loads = [:($(Symbol(:b, v)) = load_vector($V, at(b, p * b0 + $((v - 1) * W)))) for v in 1:N]
    rows = [
        quote
                x = splat($V, load(a, p * a1 + $(r - 1) * a0))
                $([:($(sum(r, v)) = fma_vector(x, $(Symbol(:b, v)), $(sum(r, v)))) for v in 1:N]...)
            end for r in 1:R
    ]
    stores = [:(store_vector!(at(c, $(r - 1) * ld_c + $((v - 1) * W)), $(sum(r, v)))) for r in 1:R for v in 1:N]
    return quote
        $(start...)
        for p in 0:(k - 1)
            $(loads...)
            $(rows...)
        end
        $(stores...)
        return nothing
    end
end

# Before the generated function that calls it: what generates code sees only what was there.
function column_block(column, count, rows, vectors, width, m, n, k)
    call(r, i) = :(
        tile!(at(c, $i * $n + j), $n, at(a, $i * a0), a0, a1, at(b, j), b0, $k, Val($r), Val($vectors), Val($width))
    )
    full = m ÷ rows * rows
    rest = m - full
    return quote
        for j in $column:$(vectors * width):$(column + (count - 1) * vectors * width)
            for i in 0:$rows:$(full - 1)
                $(call(rows, :i))
            end
            $(rest > 0 ? call(rest, full) : nothing)
        end
    end
end

"""
    gemm_small!(c, a, b, a0, a1, b0, Val(m), Val(n), Val(k))

C = A B for row-major C (m, n) without gaps, A (m, k) of strides a0, a1, and B (k, n) with rows b0 apart.
"""
@generated function gemm_small!(
        c::Ptr{T}, a::Ptr{T}, b::Ptr{T}, a0, a1, b0, ::Val{m}, ::Val{n}, ::Val{k}
    ) where {T, m, n, k}
    widest = 32 ÷ sizeof(T)
    blocks = Expr[]
    column = 0
    while column < n
        left = n - column
        width = min(widest, prevpow(2, left))
        vectors = width < widest ? 1 : min(left ÷ width, m < 4 ? 4 : 2)
        rows = vectors * (m < 4 ? m : 4) > 12 ? 2 : min(m, 4)
        count = width < widest ? 1 : left ÷ (width * vectors)   # equal tiles side by side
        push!(blocks, column_block(column, count, rows, vectors, width, m, n, k))
        column += count * width * vectors
    end
    return quote
        $(blocks...)
        return nothing
    end
end

end
