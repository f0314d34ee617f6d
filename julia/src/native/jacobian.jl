"""
    NativeJacobian

∂/∂u and ∂/∂t of a side, for methods that solve linear systems: a row of the Jacobian is a product with a unit vector, the
derivative by time a difference. `state!(t)` writes y(t) to the workspace where y is not integrated.
"""
struct NativeJacobian{V, N, S}
    side::N
    field::VectorField{V}
    state!::S
end

solver_jacobian(side::N, _, field::VectorField{V}, state!::S) where {V, N <: NativeSide, S} =
    NativeJacobian{V, N, S}(side, field, state!)

function fill_from!(out, jacobian::NativeJacobian, what, u, t)
    (; side, field, state!) = jacobian
    side.poll()
    try
        what == 0 ? jacobian!(out, side, u, inside(field, t), state!) : slope!(out, side, u, beside(field, t)..., state!)
    catch error
        fail!(side.field, error)
    end
    return nothing
end

"Time `t` in the field's interval, and another a small step away, inside the smooth interval that `t` is in."
function beside(field::VectorField{V}, t) where {V}
    T, at = eltype(V), inside(field, t)
    step = sqrt(eps(T)) * max(1, abs(at))
    return at, Float64(T(field.high[] - at > at - field.low[] ? at + step : at - step))
end

function unit_vjp!(field::NativeField{T}, i, t) where {T}
    fill!(field.work.λ, zero(T))
    field.work.λ[i] = one(T)
    (field.vjp!::Vjp)(t, false, true, false)
    return field.work.dλ
end

function jacobian!(J, side::NativeForward, u, t, state!)
    copyto!(side.field.work.u, u)
    for i in axes(J, 1)
        J[i, :] .= unit_vjp!(side.field, i, t)
    end
    side.jacobians[] += 1
    return nothing
end

function slope!(dT, side::NativeForward, u, t, later, state!)
    (; evaluate!, work) = side.field
    evaluate!(dT, u, later)
    evaluate!(work.du, u, t)
    dT .= (dT .- work.du) ./ (later - t)
    return nothing
end

# Of λ' = -(∂f/∂y)ᵀ λ along y(t); λ is all of the state there.
function jacobian!(J, side::NativeBackward, λ, t, state!)
    state!(t)
    for i in axes(J, 2)
        J[:, i] .= .-unit_vjp!(side.field, i, t)
    end
    side.jacobians[] += 1
    return nothing
end

function slope!(dT, side::NativeBackward, λ, t, later, state!)
    (; vjp!, work) = side.field
    copyto!(work.λ, λ)
    state!(t)
    (vjp!::Vjp)(t, false, true, false)
    copyto!(dT, work.dλ)
    state!(later)
    (vjp!::Vjp)(later, false, true, false)
    dT .= (dT .- work.dλ) ./ (later - t)
    return nothing
end

jacobians(side::NativeSide) = side.jacobians[]
