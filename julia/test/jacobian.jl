@testset "NativeJacobian" begin
    f!(du, u, p, t) = (du .= [u[1] * u[2] * t, sin(u[1]) - t^2]; nothing)
    vjp!(dλ, dp, λ, u, p, t) = (dλ .= [u[2] * t * λ[1] + cos(u[1]) * λ[2], u[1] * t * λ[1]]; nothing)
    exact(u, t) = [u[2] * t u[1] * t; cos(u[1]) 0]
    field = PySeminorm.native_field(f!, "Float64", (2,), nothing, ())
    PySeminorm.given_vjp!(field, vjp!)
    interval = VectorField{Vector{Float64}}((du, u, t) -> nothing, 0.0, 1.0)
    u, λ, J, dT = [0.7, 1.3], [0.4, -2.0], zeros(2, 2), zeros(2)
    for t in (0.0, 0.4, 1.0)
        forward = PySeminorm.native_forward(field, 0)
        jacobian = PySeminorm.solver_jacobian(forward, 0, interval, t -> nothing)
        PySeminorm.jac(jacobian)(J, u, nothing, t)
        PySeminorm.tgrad(jacobian)(dT, u, nothing, t)
        @test J == exact(u, t) && PySeminorm.jacobians(forward) == 1
        @test dT ≈ [u[1] * u[2], -2t] atol = 1.0e-6
        # λ' = -(∂f/∂y)ᵀ λ along y(t) = (1 + t, 2t)
        y(t) = [1 + t, 2t]
        backward = PySeminorm.native_backward(field, 0, false, false, nothing)
        jacobian = PySeminorm.solver_jacobian(backward, 0, interval, t -> copyto!(field.work.u, y(t)))
        PySeminorm.jac(jacobian)(J, λ, nothing, t)
        PySeminorm.tgrad(jacobian)(dT, λ, nothing, t)
        @test J == -exact(y(t), t)'
        @test dT ≈ -[4t * λ[1] - sin(1 + t) * λ[2], (1 + 2t) * λ[1]] atol = 1.0e-6
    end
end
