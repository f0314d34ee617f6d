function hoist!(s::Ptr{Ptr{T}}, k::Ptr{T}) where {T}
    s0 = unsafe_load(s, 1)
    s4 = unsafe_load(s, 5)
    s6 = unsafe_load(s, 7)
    k0 = at(k, 0)
    k1 = at(k, 32)
    k2 = at(k, 96)
    for i0 in 0:2
        @simd ivdep for i1 in 0:7
            x0 = load(s0, i0 + 3i1)
            store!(k0, x0, 8i0 + i1)
        end
    end
    for i0 in 0:7
        @simd ivdep for i1 in 0:7
            x0 = load(s4, i0 + 8i1)
            store!(k1, x0, 8i0 + i1)
        end
    end
    for i0 in 0:7
        @simd ivdep for i1 in 0:2
            x0 = load(s6, i0 + 8i1)
            store!(k2, x0, 3i0 + i1)
        end
    end
    return nothing
end

function primal!(s::Ptr{Ptr{T}}, k::Ptr{T}, w::Ptr{T}, q::Ptr{T}, du::Ptr{T}, u::Ptr{T}, t::T) where {T}
    s1 = unsafe_load(s, 2)
    s2 = unsafe_load(s, 3)
    s3 = unsafe_load(s, 4)
    s5 = unsafe_load(s, 6)
    s7 = unsafe_load(s, 8)
    k0 = at(k, 0)
    k1 = at(k, 32)
    k2 = at(k, 96)
    w6 = at(w, 0)
    w7 = at(w, 16)
    w8 = at(w, 48)
    w9 = at(w, 80)
    w10 = at(w, 112)
    w12 = at(w, 144)
    w14 = at(w, 176)
    w16 = at(w, 208)
    w17 = at(w, 224)
    w0 = at(q, 0)
    w1 = at(q, 0)
    w2 = at(q, 32)
    w3 = at(q, 32)
    w4 = at(q, 0)
    w5 = at(q, 32)
    w11 = at(q, 0)
    w13 = at(q, 0)
    w15 = at(q, 0)
    gemm_small!(w0, u, k0, 3, 1, 8, Val(4), Val(8), Val(3))
    for i0 in 0:3
        @simd ivdep for i1 in 0:7
            x0 = load(w0, 8i0 + i1)
            x1 = load(s1, i1)
            v0 = (x0 + x1)
            store!(w1, v0, 8i0 + i1)
        end
    end
    @simd ivdep for i0 in 0:3
        v0 = zero(T)
        store!(w2, v0, i0)
    end
    for i0 in 0:3
        s = zero(T)
        @simd for i1 in 0:7
            x0 = load(w1, 8i0 + i1)
            s = s + x0
        end
        add!(w2, s, i0)
    end
    @simd ivdep for i0 in 0:3
        x0 = load(w2, i0)
        v0 = T(0.125)
        v1 = (x0 * v0)
        store!(w3, v1, i0)
    end
    for i0 in 0:3
        @simd ivdep for i1 in 0:7
            x0 = load(w1, 8i0 + i1)
            x1 = load(w3, i0)
            v0 = (x0 - x1)
            store!(w4, v0, 8i0 + i1)
        end
    end
    @simd ivdep for i0 in 0:3
        v0 = zero(T)
        store!(w5, v0, i0)
    end
    for i0 in 0:3
        s = zero(T)
        @simd for i1 in 0:7
            x0 = load(w4, 8i0 + i1)
            v0 = (x0 * x0)
            s = s + v0
        end
        add!(w5, s, i0)
    end
    @simd ivdep for i0 in 0:3
        x0 = load(w5, i0)
        v0 = T(0.125)
        v1 = (x0 * v0)
        v2 = T(1e-05)
        v3 = (v1 + v2)
        v4 = inv(sqrt_nan(v3))
        store!(w6, v4, i0)
    end
    for i0 in 0:3
        @simd ivdep for i1 in 0:7
            x0 = load(w4, 8i0 + i1)
            x1 = load(w6, i0)
            v0 = (x0 * x1)
            store!(w7, v0, 8i0 + i1)
        end
    end
    for i0 in 0:3
        @simd ivdep for i1 in 0:7
            x0 = load(w7, 8i0 + i1)
            x1 = load(s2, i1)
            x2 = load(s3, i1)
            v0 = (x0 * x1)
            v1 = (v0 + x2)
            store!(w8, v1, 8i0 + i1)
        end
    end
    @simd ivdep for i0 in 0:31
        x0 = load(w8, i0)
        v0 = T(0.7071067811865476)
        v1 = (x0 * v0)
        v2 = erf(v1)
        v3 = T(1)
        v4 = (v2 + v3)
        store!(w9, v4, i0)
    end
    @simd ivdep for i0 in 0:31
        x0 = load(w8, i0)
        x1 = load(w9, i0)
        v0 = T(0.5)
        v1 = (x0 * v0)
        v2 = (v1 * x1)
        store!(w10, v2, i0)
    end
    gemm_small!(w11, w10, k1, 8, 1, 8, Val(4), Val(8), Val(8))
    for i0 in 0:3
        @simd ivdep for i1 in 0:7
            x0 = load(w11, 8i0 + i1)
            x1 = load(s5, i1)
            v0 = (x0 + x1)
            store!(w12, v0, 8i0 + i1)
        end
    end
    @simd ivdep for i0 in 0:31
        x0 = load(w12, i0)
        v0 = T(1.0)
        v1 = (x0 * v0)
        store!(w13, v1, i0)
    end
    @simd ivdep for i0 in 0:31
        x0 = load(w12, i0)
        x1 = load(w13, i0)
        v0 = T(0)
        v1 = (x0 > v0)
        v2 = expm1_fast(x1)
        v3 = T(1.0)
        v4 = (v2 * v3)
        v5 = ifelse(v1, x1, v4)
        store!(w14, v5, i0)
    end
    gemm_small!(w15, w14, k2, 8, 1, 3, Val(4), Val(3), Val(8))
    for i0 in 0:3
        @simd ivdep for i1 in 0:2
            x0 = load(w15, 3i0 + i1)
            x1 = load(s7, i1)
            v0 = (x0 + x1)
            store!(w16, v0, 3i0 + i1)
        end
    end
    @simd ivdep for i0 in 0:0
        v0 = t
        v1 = cos_nan(v0)
        store!(w17, v1, 0)
    end
    @simd ivdep for i0 in 0:11
        x0 = load(w16, i0)
        x1 = load(w17, 0)
        v0 = (x0 * x1)
        store!(du, v0, i0)
    end
    return nothing
end

function vjp_state!(s::Ptr{Ptr{T}}, k::Ptr{T}, w::Ptr{T}, q::Ptr{T}, da::Ptr{T}, dp::Ptr{T}, dt::Ptr{T}, a::Ptr{T}, u::Ptr{T}, t::T) where {T}
    s0 = unsafe_load(s, 1)
    s2 = unsafe_load(s, 3)
    s4 = unsafe_load(s, 5)
    s6 = unsafe_load(s, 7)
    w6 = at(w, 0)
    w7 = at(w, 16)
    w8 = at(w, 48)
    w9 = at(w, 80)
    w12 = at(w, 144)
    w17 = at(w, 224)
    v2_10 = at(da, 0)
    v2_0 = at(q, 0)
    v2_1 = at(q, 16)
    v2_2 = at(q, 16)
    v2_3 = at(q, 16)
    v2_4 = at(q, 48)
    v2_5 = at(q, 48)
    v2_6 = at(q, 0)
    v2_7 = at(q, 16)
    v2_8 = at(q, 32)
    v2_9 = at(q, 48)
    @simd ivdep for i0 in 0:11
        x0 = load(a, i0)
        x1 = load(w17, 0)
        v0 = (x0 * x1)
        store!(v2_0, v0, i0)
    end
    gemm_small!(v2_1, v2_0, s6, 3, 1, 8, Val(4), Val(8), Val(3))
    @simd ivdep for i0 in 0:31
        x0 = load(v2_1, i0)
        v0 = T(1)
        v1 = (x0 * v0)
        store!(v2_2, v1, i0)
    end
    @simd ivdep for i0 in 0:31
        x0 = load(w12, i0)
        x1 = load(v2_2, i0)
        v0 = T(0)
        v1 = (x0 <= v0)
        v2 = T(1.0)
        v3 = (x1 * v2)
        v4 = T(1)
        v5 = (x0 * v4)
        v6 = exp_fast(v5)
        v7 = (v3 * v6)
        v8 = ifelse(v1, v7, x1)
        store!(v2_3, v8, i0)
    end
    gemm_small!(v2_4, v2_3, s4, 8, 1, 8, Val(4), Val(8), Val(8))
    for i0 in 0:3
        @simd ivdep for i1 in 0:7
            x0 = load(v2_4, 8i0 + i1)
            x1 = load(w9, 8i0 + i1)
            x2 = load(w8, 8i0 + i1)
            x3 = load(s2, i1)
            v0 = T(0.5)
            v1 = (x1 * v0)
            v2 = (x2 * x2)
            v3 = T(-0.5)
            v4 = (v2 * v3)
            v5 = exp_fast(v4)
            v6 = T(0.3989422804014327)
            v7 = (v5 * v6)
            v8 = (x2 * v7)
            v9 = (v1 + v8)
            v10 = (x0 * v9)
            v11 = (v10 * x3)
            store!(v2_5, v11, 8i0 + i1)
        end
    end
    @simd ivdep for i0 in 0:3
        v0 = zero(T)
        store!(v2_6, v0, i0)
    end
    for i0 in 0:3
        s = zero(T)
        @simd for i1 in 0:7
            x0 = load(v2_5, 8i0 + i1)
            s = s + x0
        end
        add!(v2_6, s, i0)
    end
    @simd ivdep for i0 in 0:3
        v0 = zero(T)
        store!(v2_7, v0, i0)
    end
    for i0 in 0:3
        s = zero(T)
        @simd for i1 in 0:7
            x0 = load(v2_5, 8i0 + i1)
            x1 = load(w7, 8i0 + i1)
            v0 = (x0 * x1)
            s = s + v0
        end
        add!(v2_7, s, i0)
    end
    @simd ivdep for i0 in 0:3
        x0 = load(w6, i0)
        v0 = T(8)
        v1 = (x0 / v0)
        store!(v2_8, v1, i0)
    end
    for i0 in 0:3
        @simd ivdep for i1 in 0:7
            x0 = load(v2_8, i0)
            x1 = load(v2_5, 8i0 + i1)
            x2 = load(v2_6, i0)
            x3 = load(w7, 8i0 + i1)
            x4 = load(v2_7, i0)
            v0 = T(8)
            v1 = (x1 * v0)
            v2 = (v1 - x2)
            v3 = (x3 * x4)
            v4 = (v2 - v3)
            v5 = (x0 * v4)
            store!(v2_9, v5, 8i0 + i1)
        end
    end
    gemm_small!(v2_10, v2_9, s0, 8, 1, 3, Val(4), Val(3), Val(8))
    return nothing
end

function vjp_params!(s::Ptr{Ptr{T}}, k::Ptr{T}, w::Ptr{T}, q::Ptr{T}, da::Ptr{T}, dp::Ptr{T}, dt::Ptr{T}, a::Ptr{T}, u::Ptr{T}, t::T) where {T}
    s2 = unsafe_load(s, 3)
    s4 = unsafe_load(s, 5)
    s6 = unsafe_load(s, 7)
    w6 = at(w, 0)
    w7 = at(w, 16)
    w8 = at(w, 48)
    w9 = at(w, 80)
    w10 = at(w, 112)
    w12 = at(w, 144)
    w14 = at(w, 176)
    w17 = at(w, 224)
    v3_0 = at(q, 0)
    v3_1 = at(q, 16)
    v3_2 = at(q, 48)
    v3_3 = at(q, 80)
    v3_4 = at(q, 16)
    v3_5 = at(q, 16)
    v3_6 = at(q, 96)
    v3_7 = at(q, 128)
    v3_8 = at(q, 0)
    v3_9 = at(q, 96)
    v3_10 = at(q, 16)
    v3_11 = at(q, 192)
    v3_12 = at(q, 208)
    v3_13 = at(q, 224)
    v3_14 = at(q, 16)
    v3_15 = at(q, 192)
    v3_16 = at(q, 208)
    v3_17 = at(q, 96)
    v3_18 = at(q, 224)
    @simd ivdep for i0 in 0:11
        x0 = load(a, i0)
        x1 = load(w17, 0)
        v0 = (x0 * x1)
        store!(v3_0, v0, i0)
    end
    gemm_small!(v3_1, v3_0, s6, 3, 1, 8, Val(4), Val(8), Val(3))
    gemm_small!(v3_2, v3_0, w14, 1, 3, 8, Val(3), Val(8), Val(4))
    @simd ivdep for i0 in 0:2
        v0 = zero(T)
        store!(v3_3, v0, i0)
    end
    for i0 in 0:3
        @simd ivdep for i1 in 0:2
            x0 = load(v3_0, 3i0 + i1)
            add!(v3_3, x0, i1)
        end
    end
    @simd ivdep for i0 in 0:31
        x0 = load(v3_1, i0)
        v0 = T(1)
        v1 = (x0 * v0)
        store!(v3_4, v1, i0)
    end
    @simd ivdep for i0 in 0:31
        x0 = load(w12, i0)
        x1 = load(v3_4, i0)
        v0 = T(0)
        v1 = (x0 <= v0)
        v2 = T(1.0)
        v3 = (x1 * v2)
        v4 = T(1)
        v5 = (x0 * v4)
        v6 = exp_fast(v5)
        v7 = (v3 * v6)
        v8 = ifelse(v1, v7, x1)
        store!(v3_5, v8, i0)
    end
    gemm_small!(v3_6, v3_5, s4, 8, 1, 8, Val(4), Val(8), Val(8))
    gemm_small!(v3_7, v3_5, w10, 1, 8, 8, Val(8), Val(8), Val(4))
    @simd ivdep for i0 in 0:7
        v0 = zero(T)
        store!(v3_8, v0, i0)
    end
    for i0 in 0:3
        @simd ivdep for i1 in 0:7
            x0 = load(v3_5, 8i0 + i1)
            add!(v3_8, x0, i1)
        end
    end
    @simd ivdep for i0 in 0:31
        x0 = load(v3_6, i0)
        x1 = load(w9, i0)
        x2 = load(w8, i0)
        v0 = T(0.5)
        v1 = (x1 * v0)
        v2 = (x2 * x2)
        v3 = T(-0.5)
        v4 = (v2 * v3)
        v5 = exp_fast(v4)
        v6 = T(0.3989422804014327)
        v7 = (v5 * v6)
        v8 = (x2 * v7)
        v9 = (v1 + v8)
        v10 = (x0 * v9)
        store!(v3_9, v10, i0)
    end
    for i0 in 0:3
        @simd ivdep for i1 in 0:7
            x0 = load(v3_9, 8i0 + i1)
            x1 = load(s2, i1)
            v0 = (x0 * x1)
            store!(v3_10, v0, 8i0 + i1)
        end
    end
    @simd ivdep for i0 in 0:3
        v0 = zero(T)
        store!(v3_11, v0, i0)
    end
    for i0 in 0:3
        s = zero(T)
        @simd for i1 in 0:7
            x0 = load(v3_10, 8i0 + i1)
            s = s + x0
        end
        add!(v3_11, s, i0)
    end
    @simd ivdep for i0 in 0:3
        v0 = zero(T)
        store!(v3_12, v0, i0)
    end
    for i0 in 0:3
        s = zero(T)
        @simd for i1 in 0:7
            x0 = load(v3_10, 8i0 + i1)
            x1 = load(w7, 8i0 + i1)
            v0 = (x0 * x1)
            s = s + v0
        end
        add!(v3_12, s, i0)
    end
    @simd ivdep for i0 in 0:3
        x0 = load(w6, i0)
        v0 = T(8)
        v1 = (x0 / v0)
        store!(v3_13, v1, i0)
    end
    for i0 in 0:3
        @simd ivdep for i1 in 0:7
            x0 = load(v3_13, i0)
            x1 = load(v3_10, 8i0 + i1)
            x2 = load(v3_11, i0)
            x3 = load(w7, 8i0 + i1)
            x4 = load(v3_12, i0)
            v0 = T(8)
            v1 = (x1 * v0)
            v2 = (v1 - x2)
            v3 = (x3 * x4)
            v4 = (v2 - v3)
            v5 = (x0 * v4)
            store!(v3_14, v5, 8i0 + i1)
        end
    end
    @simd ivdep for i0 in 0:7
        v0 = zero(T)
        store!(v3_15, v0, i0)
    end
    for i0 in 0:3
        @simd ivdep for i1 in 0:7
            x0 = load(v3_9, 8i0 + i1)
            x1 = load(w7, 8i0 + i1)
            v0 = (x0 * x1)
            add!(v3_15, v0, i1)
        end
    end
    @simd ivdep for i0 in 0:7
        v0 = zero(T)
        store!(v3_16, v0, i0)
    end
    for i0 in 0:3
        @simd ivdep for i1 in 0:7
            x0 = load(v3_9, 8i0 + i1)
            add!(v3_16, x0, i1)
        end
    end
    gemm_small!(v3_17, v3_14, u, 1, 8, 3, Val(8), Val(3), Val(4))
    @simd ivdep for i0 in 0:7
        v0 = zero(T)
        store!(v3_18, v0, i0)
    end
    for i0 in 0:3
        @simd ivdep for i1 in 0:7
            x0 = load(v3_14, 8i0 + i1)
            add!(v3_18, x0, i1)
        end
    end
    @simd ivdep for i0 in 0:23
        x0 = load(v3_17, i0)
        add!(dp, x0, i0)
    end
    @simd ivdep for i0 in 0:7
        x0 = load(v3_18, i0)
        add!(dp, x0, i0 + 24)
    end
    @simd ivdep for i0 in 0:7
        x0 = load(v3_15, i0)
        add!(dp, x0, i0 + 32)
    end
    @simd ivdep for i0 in 0:7
        x0 = load(v3_16, i0)
        add!(dp, x0, i0 + 40)
    end
    @simd ivdep for i0 in 0:63
        x0 = load(v3_7, i0)
        add!(dp, x0, i0 + 48)
    end
    @simd ivdep for i0 in 0:7
        x0 = load(v3_8, i0)
        add!(dp, x0, i0 + 112)
    end
    @simd ivdep for i0 in 0:23
        x0 = load(v3_2, i0)
        add!(dp, x0, i0 + 120)
    end
    @simd ivdep for i0 in 0:2
        x0 = load(v3_3, i0)
        add!(dp, x0, i0 + 144)
    end
    return nothing
end

function vjp!(s::Ptr{Ptr{T}}, k::Ptr{T}, w::Ptr{T}, q::Ptr{T}, da::Ptr{T}, dp::Ptr{T}, dt::Ptr{T}, a::Ptr{T}, u::Ptr{T}, t::T) where {T}
    s0 = unsafe_load(s, 1)
    s2 = unsafe_load(s, 3)
    s4 = unsafe_load(s, 5)
    s6 = unsafe_load(s, 7)
    w6 = at(w, 0)
    w7 = at(w, 16)
    w8 = at(w, 48)
    w9 = at(w, 80)
    w10 = at(w, 112)
    w12 = at(w, 144)
    w14 = at(w, 176)
    w17 = at(w, 224)
    v4_17 = at(da, 0)
    v4_0 = at(q, 0)
    v4_1 = at(q, 16)
    v4_2 = at(q, 48)
    v4_3 = at(q, 80)
    v4_4 = at(q, 16)
    v4_5 = at(q, 16)
    v4_6 = at(q, 96)
    v4_7 = at(q, 128)
    v4_8 = at(q, 0)
    v4_9 = at(q, 96)
    v4_10 = at(q, 16)
    v4_11 = at(q, 192)
    v4_12 = at(q, 208)
    v4_13 = at(q, 224)
    v4_14 = at(q, 16)
    v4_15 = at(q, 192)
    v4_16 = at(q, 208)
    v4_18 = at(q, 96)
    v4_19 = at(q, 224)
    @simd ivdep for i0 in 0:11
        x0 = load(a, i0)
        x1 = load(w17, 0)
        v0 = (x0 * x1)
        store!(v4_0, v0, i0)
    end
    gemm_small!(v4_1, v4_0, s6, 3, 1, 8, Val(4), Val(8), Val(3))
    gemm_small!(v4_2, v4_0, w14, 1, 3, 8, Val(3), Val(8), Val(4))
    @simd ivdep for i0 in 0:2
        v0 = zero(T)
        store!(v4_3, v0, i0)
    end
    for i0 in 0:3
        @simd ivdep for i1 in 0:2
            x0 = load(v4_0, 3i0 + i1)
            add!(v4_3, x0, i1)
        end
    end
    @simd ivdep for i0 in 0:31
        x0 = load(v4_1, i0)
        v0 = T(1)
        v1 = (x0 * v0)
        store!(v4_4, v1, i0)
    end
    @simd ivdep for i0 in 0:31
        x0 = load(w12, i0)
        x1 = load(v4_4, i0)
        v0 = T(0)
        v1 = (x0 <= v0)
        v2 = T(1.0)
        v3 = (x1 * v2)
        v4 = T(1)
        v5 = (x0 * v4)
        v6 = exp_fast(v5)
        v7 = (v3 * v6)
        v8 = ifelse(v1, v7, x1)
        store!(v4_5, v8, i0)
    end
    gemm_small!(v4_6, v4_5, s4, 8, 1, 8, Val(4), Val(8), Val(8))
    gemm_small!(v4_7, v4_5, w10, 1, 8, 8, Val(8), Val(8), Val(4))
    @simd ivdep for i0 in 0:7
        v0 = zero(T)
        store!(v4_8, v0, i0)
    end
    for i0 in 0:3
        @simd ivdep for i1 in 0:7
            x0 = load(v4_5, 8i0 + i1)
            add!(v4_8, x0, i1)
        end
    end
    @simd ivdep for i0 in 0:31
        x0 = load(v4_6, i0)
        x1 = load(w9, i0)
        x2 = load(w8, i0)
        v0 = T(0.5)
        v1 = (x1 * v0)
        v2 = (x2 * x2)
        v3 = T(-0.5)
        v4 = (v2 * v3)
        v5 = exp_fast(v4)
        v6 = T(0.3989422804014327)
        v7 = (v5 * v6)
        v8 = (x2 * v7)
        v9 = (v1 + v8)
        v10 = (x0 * v9)
        store!(v4_9, v10, i0)
    end
    for i0 in 0:3
        @simd ivdep for i1 in 0:7
            x0 = load(v4_9, 8i0 + i1)
            x1 = load(s2, i1)
            v0 = (x0 * x1)
            store!(v4_10, v0, 8i0 + i1)
        end
    end
    @simd ivdep for i0 in 0:3
        v0 = zero(T)
        store!(v4_11, v0, i0)
    end
    for i0 in 0:3
        s = zero(T)
        @simd for i1 in 0:7
            x0 = load(v4_10, 8i0 + i1)
            s = s + x0
        end
        add!(v4_11, s, i0)
    end
    @simd ivdep for i0 in 0:3
        v0 = zero(T)
        store!(v4_12, v0, i0)
    end
    for i0 in 0:3
        s = zero(T)
        @simd for i1 in 0:7
            x0 = load(v4_10, 8i0 + i1)
            x1 = load(w7, 8i0 + i1)
            v0 = (x0 * x1)
            s = s + v0
        end
        add!(v4_12, s, i0)
    end
    @simd ivdep for i0 in 0:3
        x0 = load(w6, i0)
        v0 = T(8)
        v1 = (x0 / v0)
        store!(v4_13, v1, i0)
    end
    for i0 in 0:3
        @simd ivdep for i1 in 0:7
            x0 = load(v4_13, i0)
            x1 = load(v4_10, 8i0 + i1)
            x2 = load(v4_11, i0)
            x3 = load(w7, 8i0 + i1)
            x4 = load(v4_12, i0)
            v0 = T(8)
            v1 = (x1 * v0)
            v2 = (v1 - x2)
            v3 = (x3 * x4)
            v4 = (v2 - v3)
            v5 = (x0 * v4)
            store!(v4_14, v5, 8i0 + i1)
        end
    end
    @simd ivdep for i0 in 0:7
        v0 = zero(T)
        store!(v4_15, v0, i0)
    end
    for i0 in 0:3
        @simd ivdep for i1 in 0:7
            x0 = load(v4_9, 8i0 + i1)
            x1 = load(w7, 8i0 + i1)
            v0 = (x0 * x1)
            add!(v4_15, v0, i1)
        end
    end
    @simd ivdep for i0 in 0:7
        v0 = zero(T)
        store!(v4_16, v0, i0)
    end
    for i0 in 0:3
        @simd ivdep for i1 in 0:7
            x0 = load(v4_9, 8i0 + i1)
            add!(v4_16, x0, i1)
        end
    end
    gemm_small!(v4_17, v4_14, s0, 8, 1, 3, Val(4), Val(3), Val(8))
    gemm_small!(v4_18, v4_14, u, 1, 8, 3, Val(8), Val(3), Val(4))
    @simd ivdep for i0 in 0:7
        v0 = zero(T)
        store!(v4_19, v0, i0)
    end
    for i0 in 0:3
        @simd ivdep for i1 in 0:7
            x0 = load(v4_14, 8i0 + i1)
            add!(v4_19, x0, i1)
        end
    end
    @simd ivdep for i0 in 0:23
        x0 = load(v4_18, i0)
        add!(dp, x0, i0)
    end
    @simd ivdep for i0 in 0:7
        x0 = load(v4_19, i0)
        add!(dp, x0, i0 + 24)
    end
    @simd ivdep for i0 in 0:7
        x0 = load(v4_15, i0)
        add!(dp, x0, i0 + 32)
    end
    @simd ivdep for i0 in 0:7
        x0 = load(v4_16, i0)
        add!(dp, x0, i0 + 40)
    end
    @simd ivdep for i0 in 0:63
        x0 = load(v4_7, i0)
        add!(dp, x0, i0 + 48)
    end
    @simd ivdep for i0 in 0:7
        x0 = load(v4_8, i0)
        add!(dp, x0, i0 + 112)
    end
    @simd ivdep for i0 in 0:23
        x0 = load(v4_2, i0)
        add!(dp, x0, i0 + 120)
    end
    @simd ivdep for i0 in 0:2
        x0 = load(v4_3, i0)
        add!(dp, x0, i0 + 144)
    end
    return nothing
end

function vjp_time!(s::Ptr{Ptr{T}}, k::Ptr{T}, w::Ptr{T}, q::Ptr{T}, da::Ptr{T}, dp::Ptr{T}, dt::Ptr{T}, a::Ptr{T}, u::Ptr{T}, t::T) where {T}
    w16 = at(w, 208)
    v5_0 = at(q, 0)
    @simd ivdep for i0 in 0:0
        v0 = zero(T)
        store!(v5_0, v0, 0)
    end
    s = zero(T)
    @simd for i0 in 0:11
        x0 = load(a, i0)
        x1 = load(w16, i0)
        v0 = (x0 * x1)
        s = s + v0
    end
    add!(v5_0, s, 0)
    @simd ivdep for i0 in 0:0
        x0 = load(v5_0, 0)
        v0 = t
        v1 = sin_nan(v0)
        v2 = (-v1)
        v3 = (x0 * v2)
        store!(dt, v3, 0)
    end
    return nothing
end
