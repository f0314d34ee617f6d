# SciMLSensitivity's adjoints of the same problem, to compare with: the methods are in ext/, loaded with SciMLSensitivity.

"""
    sensitivity_solve(eltype, field, product, params_product, y0, n, m, start, stop, method, rtol, atol, max_steps)

Solve forward with dense output, ready for [`sensitivity_gradients`](@ref). `field`, `product` and `params_product` are the
(call, register) pairs of three [`ForeignField`](@ref)s: u -> f, [λ; u] -> λᵀ∂f/∂u and [λ; u] -> λᵀ∂f/∂θ (`m` elements).
"""
function sensitivity_solve end

"""
    sensitivity_gradients(forward, adjoint, times, cotangents, rtol, atol, max_steps, dy0, dparams) -> naccept

Write dL/dy0 and dL/dθ by SciMLSensitivity's `adjoint` (by name), from the cotangents of the solution at `times`.
"""
function sensitivity_gradients end
