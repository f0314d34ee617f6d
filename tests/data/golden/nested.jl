function hoist!(s::Ptr{Ptr{T}}, k::Ptr{T}) where {T}
    return nothing
end

function primal!(s::Ptr{Ptr{T}}, k::Ptr{T}, w::Ptr{T}, q::Ptr{T}, du::Ptr{T}, u::Ptr{T}, t::T) where {T}
    w0 = at(w, 0)
    w2 = at(w, 16)
    w1 = at(q, 0)
    @simd ivdep for i0 in 0:7
        x0 = load(u, i0 + 8)
        v0 = T(0.1)
        v1 = (x0 * v0)
        store!(w0, v1, i0)
    end
    @simd ivdep for i0 in 0:0
        v0 = zero(T)
        store!(w1, v0, 0)
    end
    s = zero(T)
    @simd for i0 in 0:7
        x0 = load(u, i0)
        v0 = (x0 * x0)
        s = s + v0
    end
    add!(w1, s, 0)
    @simd ivdep for i0 in 0:0
        x0 = load(w1, 0)
        v0 = sqrt_nan(x0)
        store!(w2, v0, 0)
    end
    @simd ivdep for i0 in 0:7
        x0 = load(u, i0 + 8)
        store!(du, x0, i0)
    end
    @simd ivdep for i0 in 0:7
        x0 = load(u, i0)
        x1 = load(w0, i0)
        x2 = load(w2, 0)
        v0 = sin_nan(x0)
        v1 = (-v0)
        v2 = (x1 * x2)
        v3 = (v1 - v2)
        store!(du, v3, i0 + 8)
    end
    return nothing
end

function vjp_state!(s::Ptr{Ptr{T}}, k::Ptr{T}, w::Ptr{T}, q::Ptr{T}, da::Ptr{T}, dp::Ptr{T}, dt::Ptr{T}, a::Ptr{T}, u::Ptr{T}, t::T) where {T}
    w0 = at(w, 0)
    w2 = at(w, 16)
    v2_0 = at(q, 0)
    v2_1 = at(q, 16)
    v2_2 = at(q, 32)
    @simd ivdep for i0 in 0:7
        x0 = load(a, i0 + 8)
        v0 = (-x0)
        store!(v2_0, v0, i0)
    end
    @simd ivdep for i0 in 0:0
        v0 = zero(T)
        store!(v2_1, v0, 0)
    end
    s = zero(T)
    @simd for i0 in 0:7
        x0 = load(v2_0, i0)
        x1 = load(w0, i0)
        v0 = (x0 * x1)
        s = s + v0
    end
    add!(v2_1, s, 0)
    @simd ivdep for i0 in 0:0
        x0 = load(w2, 0)
        v0 = T(0)
        v1 = (x0 == v0)
        store!(v2_2, T(v1), 0)
    end
    @simd ivdep for i0 in 0:7
        x0 = load(v2_1, 0)
        x1 = load(u, i0)
        x2 = load(w2, 0)
        x3 = load(v2_2, 0) != 0
        x4 = load(v2_0, i0)
        v0 = (x1 / x2)
        v1 = T(0)
        v2 = ifelse(x3, v1, v0)
        v3 = (x0 * v2)
        v4 = cos_nan(x1)
        v5 = (x4 * v4)
        v6 = (v3 + v5)
        store!(da, v6, i0)
    end
    @simd ivdep for i0 in 0:7
        x0 = load(a, i0)
        x1 = load(v2_0, i0)
        x2 = load(w2, 0)
        v0 = (x1 * x2)
        v1 = T(0.1)
        v2 = (v0 * v1)
        v3 = (x0 + v2)
        store!(da, v3, i0 + 8)
    end
    return nothing
end

function vjp_params!(s::Ptr{Ptr{T}}, k::Ptr{T}, w::Ptr{T}, q::Ptr{T}, da::Ptr{T}, dp::Ptr{T}, dt::Ptr{T}, a::Ptr{T}, u::Ptr{T}, t::T) where {T}
    return nothing
end

function vjp!(s::Ptr{Ptr{T}}, k::Ptr{T}, w::Ptr{T}, q::Ptr{T}, da::Ptr{T}, dp::Ptr{T}, dt::Ptr{T}, a::Ptr{T}, u::Ptr{T}, t::T) where {T}
    w0 = at(w, 0)
    w2 = at(w, 16)
    v4_0 = at(q, 0)
    v4_1 = at(q, 16)
    v4_2 = at(q, 32)
    @simd ivdep for i0 in 0:7
        x0 = load(a, i0 + 8)
        v0 = (-x0)
        store!(v4_0, v0, i0)
    end
    @simd ivdep for i0 in 0:0
        v0 = zero(T)
        store!(v4_1, v0, 0)
    end
    s = zero(T)
    @simd for i0 in 0:7
        x0 = load(v4_0, i0)
        x1 = load(w0, i0)
        v0 = (x0 * x1)
        s = s + v0
    end
    add!(v4_1, s, 0)
    @simd ivdep for i0 in 0:0
        x0 = load(w2, 0)
        v0 = T(0)
        v1 = (x0 == v0)
        store!(v4_2, T(v1), 0)
    end
    @simd ivdep for i0 in 0:7
        x0 = load(v4_1, 0)
        x1 = load(u, i0)
        x2 = load(w2, 0)
        x3 = load(v4_2, 0) != 0
        x4 = load(v4_0, i0)
        v0 = (x1 / x2)
        v1 = T(0)
        v2 = ifelse(x3, v1, v0)
        v3 = (x0 * v2)
        v4 = cos_nan(x1)
        v5 = (x4 * v4)
        v6 = (v3 + v5)
        store!(da, v6, i0)
    end
    @simd ivdep for i0 in 0:7
        x0 = load(a, i0)
        x1 = load(v4_0, i0)
        x2 = load(w2, 0)
        v0 = (x1 * x2)
        v1 = T(0.1)
        v2 = (v0 * v1)
        v3 = (x0 + v2)
        store!(da, v3, i0 + 8)
    end
    return nothing
end

function vjp_time!(s::Ptr{Ptr{T}}, k::Ptr{T}, w::Ptr{T}, q::Ptr{T}, da::Ptr{T}, dp::Ptr{T}, dt::Ptr{T}, a::Ptr{T}, u::Ptr{T}, t::T) where {T}
    @simd ivdep for i0 in 0:0
        v0 = zero(T)
        store!(dt, v0, 0)
    end
    return nothing
end
