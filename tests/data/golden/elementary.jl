function hoist!(s::Ptr{Ptr{T}}, k::Ptr{T}) where {T}
    return nothing
end

function primal!(s::Ptr{Ptr{T}}, k::Ptr{T}, w::Ptr{T}, q::Ptr{T}, du::Ptr{T}, u::Ptr{T}, t::T) where {T}
    w1 = at(w, 0)
    w2 = at(w, 16)
    w3 = at(w, 32)
    w4 = at(w, 48)
    w5 = at(w, 64)
    w6 = at(w, 80)
    w7 = at(w, 96)
    w8 = at(w, 112)
    w9 = at(w, 128)
    w11 = at(w, 144)
    w12 = at(w, 160)
    w13 = at(w, 176)
    w14 = at(w, 192)
    w15 = at(w, 208)
    w0 = at(q, 0)
    w10 = at(q, 0)
    @simd ivdep for i0 in 0:3
        v0 = zero(T)
        store!(w0, v0, i0)
    end
    for i0 in 0:3
        s = zero(T)
        @simd for i1 in 0:2
            x0 = load(u, 3i0 + i1)
            v0 = (x0 * x0)
            s = s + v0
        end
        add!(w0, s, i0)
    end
    @simd ivdep for i0 in 0:3
        x0 = load(w0, i0)
        v0 = T(1)
        v1 = (x0 + v0)
        v2 = sqrt_nan(v1)
        store!(w1, v2, i0)
    end
    for i0 in 0:3
        @simd ivdep for i1 in 0:2
            x0 = load(u, 3i0 + i1)
            x1 = load(w1, i0)
            v0 = (x0 / x1)
            store!(w2, v0, 3i0 + i1)
        end
    end
    @simd ivdep for i0 in 0:11
        x0 = load(w2, i0)
        v0 = logistic(x0)
        store!(w3, v0, i0)
    end
    @simd ivdep for i0 in 0:11
        x0 = load(w2, i0)
        v0 = (x0 * x0)
        store!(w4, v0, i0)
    end
    @simd ivdep for i0 in 0:11
        x0 = load(w4, i0)
        v0 = log1p_nan(x0)
        store!(w5, v0, i0)
    end
    @simd ivdep for i0 in 0:11
        x0 = load(w2, i0)
        v0 = (-x0)
        v1 = exp_fast(v0)
        store!(w6, v1, i0)
    end
    @simd ivdep for i0 in 0:11
        x0 = load(w2, i0)
        v0 = T(0.1)
        v1 = (x0 > v0)
        store!(w7, T(v1), i0)
    end
    @simd ivdep for i0 in 0:11
        x0 = load(w2, i0)
        v0 = larger(x0, zero(T))
        store!(w8, v0, i0)
    end
    @simd ivdep for i0 in 0:11
        x0 = load(w2, i0)
        v0 = T(0)
        v1 = (x0 > v0)
        store!(w9, T(v1), i0)
    end
    @simd ivdep for i0 in 0:2
        v0 = zero(T)
        store!(w10, v0, i0)
    end
    for i0 in 0:3
        @simd ivdep for i1 in 0:2
            x0 = load(w2, 3i0 + i1)
            add!(w10, x0, i1)
        end
    end
    @simd ivdep for i0 in 0:2
        x0 = load(w10, i0)
        v0 = T(0.25)
        v1 = (x0 * v0)
        store!(w11, v1, i0)
    end
    for i0 in 0:3
        @simd ivdep for i1 in 0:2
            x0 = load(w2, 3i0 + i1)
            x1 = load(w11, i1)
            v0 = larger(x0, x1)
            store!(w12, v0, 3i0 + i1)
        end
    end
    @simd ivdep for i0 in 0:3
        v0 = T(-Inf)
        store!(w13, v0, i0)
    end
    for i0 in 0:3
        s = T(-Inf)
        @simd for i1 in 0:2
            x0 = load(w2, 3i0 + i1)
            s = larger(s, x0)
        end
        max!(w13, s, i0)
    end
    @simd ivdep for i0 in 0:11
        x0 = load(w2, i0)
        v0 = atan(x0)
        store!(w14, v0, i0)
    end
    @simd ivdep for i0 in 0:11
        x0 = load(w2, i0)
        v0 = erf(x0)
        store!(w15, v0, i0)
    end
    for i0 in 0:3
        @simd ivdep for i1 in 0:2
            x0 = load(w2, 3i0 + i1)
            x1 = load(w3, 3i0 + i1)
            x2 = load(w5, 3i0 + i1)
            x3 = load(w6, 3i0 + i1)
            x4 = load(w7, 3i0 + i1) != 0
            x5 = load(w8, 3i0 + i1)
            x6 = load(w9, 3i0 + i1) != 0
            x7 = load(w12, 3i0 + i1)
            x8 = load(w13, i0)
            x9 = load(w14, 3i0 + i1)
            x10 = load(w15, 3i0 + i1)
            v0 = T(20)
            v1 = (x0 > v0)
            v2 = exp_fast(x0)
            v3 = log1p_nan(v2)
            v4 = ifelse(v1, x0, v3)
            v5 = (v4 - x1)
            v6 = (x2 * x3)
            v7 = (v5 + v6)
            v8 = T(0.01)
            v9 = (x0 * v8)
            v10 = ifelse(x6, x0, v9)
            v11 = ifelse(x4, x5, v10)
            v12 = (v7 + v11)
            v13 = (x7 * x7 * x7)
            v14 = (v12 - v13)
            v15 = (x8 * x9)
            v16 = (v14 + v15)
            v17 = t
            v18 = (v17 * x10)
            v19 = (v16 + v18)
            v20 = (v19 - x0)
            store!(du, v20, 3i0 + i1)
        end
    end
    return nothing
end

function vjp_state!(s::Ptr{Ptr{T}}, k::Ptr{T}, w::Ptr{T}, q::Ptr{T}, da::Ptr{T}, dp::Ptr{T}, dt::Ptr{T}, a::Ptr{T}, u::Ptr{T}, t::T) where {T}
    w1 = at(w, 0)
    w2 = at(w, 16)
    w3 = at(w, 32)
    w4 = at(w, 48)
    w5 = at(w, 64)
    w6 = at(w, 80)
    w7 = at(w, 96)
    w8 = at(w, 112)
    w9 = at(w, 128)
    w11 = at(w, 144)
    w12 = at(w, 160)
    w13 = at(w, 176)
    w14 = at(w, 192)
    v2_0 = at(q, 0)
    v2_1 = at(q, 16)
    v2_2 = at(q, 32)
    v2_3 = at(q, 48)
    v2_4 = at(q, 64)
    v2_5 = at(q, 16)
    v2_6 = at(q, 64)
    v2_7 = at(q, 64)
    v2_8 = at(q, 80)
    v2_9 = at(q, 96)
    v2_10 = at(q, 112)
    v2_11 = at(q, 128)
    v2_12 = at(q, 144)
    v2_13 = at(q, 0)
    v2_14 = at(q, 16)
    v2_15 = at(q, 16)
    @simd ivdep for i0 in 0:11
        x0 = load(a, i0)
        v0 = (-x0)
        store!(v2_0, v0, i0)
    end
    @simd ivdep for i0 in 0:3
        v0 = zero(T)
        store!(v2_1, v0, i0)
    end
    for i0 in 0:3
        s = zero(T)
        @simd for i1 in 0:2
            x0 = load(a, 3i0 + i1)
            x1 = load(w14, 3i0 + i1)
            v0 = (x0 * x1)
            s = s + v0
        end
        add!(v2_1, s, i0)
    end
    @simd ivdep for i0 in 0:11
        x0 = load(w4, i0)
        v0 = T(1)
        v1 = (x0 + v0)
        store!(v2_2, v1, i0)
    end
    for i0 in 0:3
        @simd ivdep for i1 in 0:2
            x0 = load(w13, i0)
            x1 = load(w2, 3i0 + i1)
            v0 = (x0 == x1)
            store!(v2_3, T(v0), 3i0 + i1)
        end
    end
    @simd ivdep for i0 in 0:3
        v0 = zero(T)
        store!(v2_4, v0, i0)
    end
    for i0 in 0:3
        s = zero(T)
        @simd for i1 in 0:2
            x0 = load(v2_3, 3i0 + i1) != 0
            v0 = T(x0)
            s = s + v0
        end
        add!(v2_4, s, i0)
    end
    @simd ivdep for i0 in 0:3
        x0 = load(v2_1, i0)
        x1 = load(v2_4, i0)
        v0 = (x0 / x1)
        store!(v2_5, v0, i0)
    end
    @simd ivdep for i0 in 0:11
        x0 = load(v2_0, i0)
        x1 = load(w12, i0)
        v0 = (x1 * x1)
        v1 = T(3.0)
        v2 = (v0 * v1)
        v3 = (x0 * v2)
        store!(v2_6, v3, i0)
    end
    for i0 in 0:3
        @simd ivdep for i1 in 0:2
            x0 = load(w2, 3i0 + i1)
            x1 = load(w11, i1)
            x2 = load(v2_6, 3i0 + i1)
            v0 = (x0 == x1)
            v1 = T(2)
            v2 = (x2 / v1)
            v3 = ifelse(v0, v2, x2)
            store!(v2_7, v3, 3i0 + i1)
        end
    end
    @simd ivdep for i0 in 0:2
        v0 = zero(T)
        store!(v2_8, v0, i0)
    end
    for i0 in 0:3
        @simd ivdep for i1 in 0:2
            x0 = load(v2_7, 3i0 + i1)
            x1 = load(w2, 3i0 + i1)
            x2 = load(w11, i1)
            v0 = (x1 > x2)
            v1 = T(0)
            v2 = ifelse(v0, v1, x0)
            add!(v2_8, v2, i1)
        end
    end
    @simd ivdep for i0 in 0:11
        x0 = load(w7, i0) != 0
        x1 = load(a, i0)
        v0 = T(0)
        v1 = ifelse(x0, v0, x1)
        store!(v2_9, v1, i0)
    end
    @simd ivdep for i0 in 0:11
        x0 = load(a, i0)
        x1 = load(w6, i0)
        x2 = load(v2_2, i0)
        x3 = load(w2, i0)
        v0 = (x0 * x1)
        v1 = (v0 / x2)
        v2 = (v1 * x3)
        store!(v2_10, v2, i0)
    end
    @simd ivdep for i0 in 0:11
        x0 = load(w2, i0)
        v0 = T(1)
        v1 = (x0 * v0)
        store!(v2_11, v1, i0)
    end
    @simd ivdep for i0 in 0:11
        x0 = load(v2_11, i0)
        v0 = exp_fast(x0)
        store!(v2_12, v0, i0)
    end
    for i0 in 0:3
        @simd ivdep for i1 in 0:2
            x0 = load(v2_0, 3i0 + i1)
            x1 = load(w2, 3i0 + i1)
            x2 = load(a, 3i0 + i1)
            x3 = load(w13, i0)
            x4 = load(v2_2, 3i0 + i1)
            x5 = load(v2_5, i0)
            x6 = load(v2_3, 3i0 + i1) != 0
            x7 = load(v2_7, 3i0 + i1)
            x8 = load(w11, i1)
            x9 = load(v2_8, i1)
            x10 = load(w9, 3i0 + i1) != 0
            x11 = load(v2_9, 3i0 + i1)
            x12 = load(w8, 3i0 + i1)
            x13 = load(w7, 3i0 + i1) != 0
            x14 = load(w5, 3i0 + i1)
            x15 = load(w6, 3i0 + i1)
            x16 = load(v2_10, 3i0 + i1)
            x17 = load(w3, 3i0 + i1)
            x18 = load(v2_11, 3i0 + i1)
            x19 = load(v2_12, 3i0 + i1)
            v0 = (x1 * x1)
            v1 = (-v0)
            v2 = exp_fast(v1)
            v3 = T(1.1283791670955126)
            v4 = (v2 * v3)
            v5 = t
            v6 = (x2 * v5)
            v7 = (v4 * v6)
            v8 = (x0 + v7)
            v9 = (x2 * x3)
            v10 = (v9 / x4)
            v11 = (v8 + v10)
            v12 = T(x6)
            v13 = (x5 * v12)
            v14 = (v11 + v13)
            v15 = (x1 < x8)
            v16 = T(0)
            v17 = ifelse(v15, v16, x7)
            v18 = (v14 + v17)
            v19 = T(4)
            v20 = (x9 / v19)
            v21 = (v18 + v20)
            v22 = T(0.01)
            v23 = (x11 * v22)
            v24 = ifelse(x10, x11, v23)
            v25 = (v21 + v24)
            v26 = T(0)
            v27 = (x12 <= v26)
            v28 = T(0)
            v29 = ifelse(x13, x2, v28)
            v30 = ifelse(v27, v28, v29)
            v31 = (v25 + v30)
            v32 = (x2 * x14)
            v33 = (v32 * x15)
            v34 = (-v33)
            v35 = (v31 + v34)
            v36 = (v35 + x16)
            v37 = (v36 + x16)
            v38 = T(1)
            v39 = (v38 - x17)
            v40 = (x17 * v39)
            v41 = (x0 * v40)
            v42 = (v37 + v41)
            v43 = T(20)
            v44 = (x18 > v43)
            v45 = (x2 * x19)
            v46 = T(1.0)
            v47 = (x19 + v46)
            v48 = (v45 / v47)
            v49 = ifelse(v44, x2, v48)
            v50 = (v42 + v49)
            store!(v2_13, v50, 3i0 + i1)
        end
    end
    @simd ivdep for i0 in 0:3
        v0 = zero(T)
        store!(v2_14, v0, i0)
    end
    for i0 in 0:3
        s = zero(T)
        @simd for i1 in 0:2
            x0 = load(v2_13, 3i0 + i1)
            x1 = load(w2, 3i0 + i1)
            x2 = load(w1, i0)
            v0 = (-x0)
            v1 = (x1 / x2)
            v2 = (v0 * v1)
            s = s + v2
        end
        add!(v2_14, s, i0)
    end
    @simd ivdep for i0 in 0:3
        x0 = load(v2_14, i0)
        x1 = load(w1, i0)
        v0 = T(2)
        v1 = (x1 * v0)
        v2 = (x0 / v1)
        store!(v2_15, v2, i0)
    end
    for i0 in 0:3
        @simd ivdep for i1 in 0:2
            x0 = load(v2_13, 3i0 + i1)
            x1 = load(w1, i0)
            x2 = load(v2_15, i0)
            x3 = load(u, 3i0 + i1)
            v0 = (x0 / x1)
            v1 = x3
            v2 = T(2.0)
            v3 = (v1 * v2)
            v4 = (x2 * v3)
            v5 = (v0 + v4)
            store!(da, v5, 3i0 + i1)
        end
    end
    return nothing
end

function vjp_params!(s::Ptr{Ptr{T}}, k::Ptr{T}, w::Ptr{T}, q::Ptr{T}, da::Ptr{T}, dp::Ptr{T}, dt::Ptr{T}, a::Ptr{T}, u::Ptr{T}, t::T) where {T}
    return nothing
end

function vjp!(s::Ptr{Ptr{T}}, k::Ptr{T}, w::Ptr{T}, q::Ptr{T}, da::Ptr{T}, dp::Ptr{T}, dt::Ptr{T}, a::Ptr{T}, u::Ptr{T}, t::T) where {T}
    w1 = at(w, 0)
    w2 = at(w, 16)
    w3 = at(w, 32)
    w4 = at(w, 48)
    w5 = at(w, 64)
    w6 = at(w, 80)
    w7 = at(w, 96)
    w8 = at(w, 112)
    w9 = at(w, 128)
    w11 = at(w, 144)
    w12 = at(w, 160)
    w13 = at(w, 176)
    w14 = at(w, 192)
    v4_0 = at(q, 0)
    v4_1 = at(q, 16)
    v4_2 = at(q, 32)
    v4_3 = at(q, 48)
    v4_4 = at(q, 64)
    v4_5 = at(q, 16)
    v4_6 = at(q, 64)
    v4_7 = at(q, 64)
    v4_8 = at(q, 80)
    v4_9 = at(q, 96)
    v4_10 = at(q, 112)
    v4_11 = at(q, 128)
    v4_12 = at(q, 144)
    v4_13 = at(q, 0)
    v4_14 = at(q, 16)
    v4_15 = at(q, 16)
    @simd ivdep for i0 in 0:11
        x0 = load(a, i0)
        v0 = (-x0)
        store!(v4_0, v0, i0)
    end
    @simd ivdep for i0 in 0:3
        v0 = zero(T)
        store!(v4_1, v0, i0)
    end
    for i0 in 0:3
        s = zero(T)
        @simd for i1 in 0:2
            x0 = load(a, 3i0 + i1)
            x1 = load(w14, 3i0 + i1)
            v0 = (x0 * x1)
            s = s + v0
        end
        add!(v4_1, s, i0)
    end
    @simd ivdep for i0 in 0:11
        x0 = load(w4, i0)
        v0 = T(1)
        v1 = (x0 + v0)
        store!(v4_2, v1, i0)
    end
    for i0 in 0:3
        @simd ivdep for i1 in 0:2
            x0 = load(w13, i0)
            x1 = load(w2, 3i0 + i1)
            v0 = (x0 == x1)
            store!(v4_3, T(v0), 3i0 + i1)
        end
    end
    @simd ivdep for i0 in 0:3
        v0 = zero(T)
        store!(v4_4, v0, i0)
    end
    for i0 in 0:3
        s = zero(T)
        @simd for i1 in 0:2
            x0 = load(v4_3, 3i0 + i1) != 0
            v0 = T(x0)
            s = s + v0
        end
        add!(v4_4, s, i0)
    end
    @simd ivdep for i0 in 0:3
        x0 = load(v4_1, i0)
        x1 = load(v4_4, i0)
        v0 = (x0 / x1)
        store!(v4_5, v0, i0)
    end
    @simd ivdep for i0 in 0:11
        x0 = load(v4_0, i0)
        x1 = load(w12, i0)
        v0 = (x1 * x1)
        v1 = T(3.0)
        v2 = (v0 * v1)
        v3 = (x0 * v2)
        store!(v4_6, v3, i0)
    end
    for i0 in 0:3
        @simd ivdep for i1 in 0:2
            x0 = load(w2, 3i0 + i1)
            x1 = load(w11, i1)
            x2 = load(v4_6, 3i0 + i1)
            v0 = (x0 == x1)
            v1 = T(2)
            v2 = (x2 / v1)
            v3 = ifelse(v0, v2, x2)
            store!(v4_7, v3, 3i0 + i1)
        end
    end
    @simd ivdep for i0 in 0:2
        v0 = zero(T)
        store!(v4_8, v0, i0)
    end
    for i0 in 0:3
        @simd ivdep for i1 in 0:2
            x0 = load(v4_7, 3i0 + i1)
            x1 = load(w2, 3i0 + i1)
            x2 = load(w11, i1)
            v0 = (x1 > x2)
            v1 = T(0)
            v2 = ifelse(v0, v1, x0)
            add!(v4_8, v2, i1)
        end
    end
    @simd ivdep for i0 in 0:11
        x0 = load(w7, i0) != 0
        x1 = load(a, i0)
        v0 = T(0)
        v1 = ifelse(x0, v0, x1)
        store!(v4_9, v1, i0)
    end
    @simd ivdep for i0 in 0:11
        x0 = load(a, i0)
        x1 = load(w6, i0)
        x2 = load(v4_2, i0)
        x3 = load(w2, i0)
        v0 = (x0 * x1)
        v1 = (v0 / x2)
        v2 = (v1 * x3)
        store!(v4_10, v2, i0)
    end
    @simd ivdep for i0 in 0:11
        x0 = load(w2, i0)
        v0 = T(1)
        v1 = (x0 * v0)
        store!(v4_11, v1, i0)
    end
    @simd ivdep for i0 in 0:11
        x0 = load(v4_11, i0)
        v0 = exp_fast(x0)
        store!(v4_12, v0, i0)
    end
    for i0 in 0:3
        @simd ivdep for i1 in 0:2
            x0 = load(v4_0, 3i0 + i1)
            x1 = load(w2, 3i0 + i1)
            x2 = load(a, 3i0 + i1)
            x3 = load(w13, i0)
            x4 = load(v4_2, 3i0 + i1)
            x5 = load(v4_5, i0)
            x6 = load(v4_3, 3i0 + i1) != 0
            x7 = load(v4_7, 3i0 + i1)
            x8 = load(w11, i1)
            x9 = load(v4_8, i1)
            x10 = load(w9, 3i0 + i1) != 0
            x11 = load(v4_9, 3i0 + i1)
            x12 = load(w8, 3i0 + i1)
            x13 = load(w7, 3i0 + i1) != 0
            x14 = load(w5, 3i0 + i1)
            x15 = load(w6, 3i0 + i1)
            x16 = load(v4_10, 3i0 + i1)
            x17 = load(w3, 3i0 + i1)
            x18 = load(v4_11, 3i0 + i1)
            x19 = load(v4_12, 3i0 + i1)
            v0 = (x1 * x1)
            v1 = (-v0)
            v2 = exp_fast(v1)
            v3 = T(1.1283791670955126)
            v4 = (v2 * v3)
            v5 = t
            v6 = (x2 * v5)
            v7 = (v4 * v6)
            v8 = (x0 + v7)
            v9 = (x2 * x3)
            v10 = (v9 / x4)
            v11 = (v8 + v10)
            v12 = T(x6)
            v13 = (x5 * v12)
            v14 = (v11 + v13)
            v15 = (x1 < x8)
            v16 = T(0)
            v17 = ifelse(v15, v16, x7)
            v18 = (v14 + v17)
            v19 = T(4)
            v20 = (x9 / v19)
            v21 = (v18 + v20)
            v22 = T(0.01)
            v23 = (x11 * v22)
            v24 = ifelse(x10, x11, v23)
            v25 = (v21 + v24)
            v26 = T(0)
            v27 = (x12 <= v26)
            v28 = T(0)
            v29 = ifelse(x13, x2, v28)
            v30 = ifelse(v27, v28, v29)
            v31 = (v25 + v30)
            v32 = (x2 * x14)
            v33 = (v32 * x15)
            v34 = (-v33)
            v35 = (v31 + v34)
            v36 = (v35 + x16)
            v37 = (v36 + x16)
            v38 = T(1)
            v39 = (v38 - x17)
            v40 = (x17 * v39)
            v41 = (x0 * v40)
            v42 = (v37 + v41)
            v43 = T(20)
            v44 = (x18 > v43)
            v45 = (x2 * x19)
            v46 = T(1.0)
            v47 = (x19 + v46)
            v48 = (v45 / v47)
            v49 = ifelse(v44, x2, v48)
            v50 = (v42 + v49)
            store!(v4_13, v50, 3i0 + i1)
        end
    end
    @simd ivdep for i0 in 0:3
        v0 = zero(T)
        store!(v4_14, v0, i0)
    end
    for i0 in 0:3
        s = zero(T)
        @simd for i1 in 0:2
            x0 = load(v4_13, 3i0 + i1)
            x1 = load(w2, 3i0 + i1)
            x2 = load(w1, i0)
            v0 = (-x0)
            v1 = (x1 / x2)
            v2 = (v0 * v1)
            s = s + v2
        end
        add!(v4_14, s, i0)
    end
    @simd ivdep for i0 in 0:3
        x0 = load(v4_14, i0)
        x1 = load(w1, i0)
        v0 = T(2)
        v1 = (x1 * v0)
        v2 = (x0 / v1)
        store!(v4_15, v2, i0)
    end
    for i0 in 0:3
        @simd ivdep for i1 in 0:2
            x0 = load(v4_13, 3i0 + i1)
            x1 = load(w1, i0)
            x2 = load(v4_15, i0)
            x3 = load(u, 3i0 + i1)
            v0 = (x0 / x1)
            v1 = x3
            v2 = T(2.0)
            v3 = (v1 * v2)
            v4 = (x2 * v3)
            v5 = (v0 + v4)
            store!(da, v5, 3i0 + i1)
        end
    end
    return nothing
end

function vjp_time!(s::Ptr{Ptr{T}}, k::Ptr{T}, w::Ptr{T}, q::Ptr{T}, da::Ptr{T}, dp::Ptr{T}, dt::Ptr{T}, a::Ptr{T}, u::Ptr{T}, t::T) where {T}
    w15 = at(w, 208)
    v5_0 = at(dt, 0)
    @simd ivdep for i0 in 0:0
        v0 = zero(T)
        store!(v5_0, v0, 0)
    end
    s = zero(T)
    @simd for i0 in 0:11
        x0 = load(a, i0)
        x1 = load(w15, i0)
        v0 = (x0 * x1)
        s = s + v0
    end
    add!(v5_0, s, 0)
    return nothing
end
