# Julia alone: the adjoint of a forced pendulum, solved backwards with and without the seminorm, and profiled.
#   julia --project=. examples/profile_alone.jl [file for https://www.speedscope.app]
using OrdinaryDiffEqTsit5: ODEProblem, Tsit5, solve
using PySeminorm: PySeminorm, Seminorm

# z = [λ; y; μ] with y' = f = (y₂, -θ₁ sin y₁ - θ₂ y₂ + θ₃ sin 100t), λ' = -(∂f/∂y)ᵀ λ, μ' = -(∂f/∂θ)ᵀ λ
function pendulum_adjoint!(dz, z, θ, t)
    λ₁, λ₂, y₁, y₂ = z[1], z[2], z[3], z[4]
    force = sin(100t)
    dz[1], dz[2] = θ[1] * cos(y₁) * λ₂, θ[2] * λ₂ - λ₁
    dz[3], dz[4] = y₂, -θ[1] * sin(y₁) - θ[2] * y₂ + θ[3] * force
    dz[5], dz[6], dz[7] = sin(y₁) * λ₂, y₂ * λ₂, -force * λ₂
    return nothing
end

# The force is not there yet (θ₃ = 0): y and λ are smooth, and only its gradient, a plain integral, is not.
problem = ODEProblem(pendulum_adjoint!, [1.0, 0.0, 0.3, -0.2, 0.0, 0.0, 0.0], (20.0, 0.0), [9.81, 0.1, 0.0])
norm = Seminorm([1:2, 3:4], 7)      # max(rms λ, rms y); μ is not measured

semi = solve(problem, Tsit5(); internalnorm = norm)
full = solve(problem, Tsit5())
println("accepted steps: ", semi.stats.naccept, " with the seminorm, ", full.stats.naccept, " with everything measured")

many_solves() = foreach(_ -> solve(problem, Tsit5(); internalnorm = norm, save_everystep = false), 1:20_000)
many_solves()   # compiles
found = PySeminorm.profile(many_solves; field = pendulum_adjoint!)
display(found)
isempty(ARGS) || println("written to ", PySeminorm.save_speedscope(first(ARGS), found))
