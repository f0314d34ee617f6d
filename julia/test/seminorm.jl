@testset "Seminorm" begin
    norm = Seminorm([1:2, 3:4], 7)
    @test isbits(norm)
    u = [3.0, 4.0, 0.0, 2.0, 1.0e9, 1.0e9, 1.0e9]
    @test norm(u, 0.0) ≈ sqrt(12.5)
    @test norm(-2.5, 0.0) == 2.5
    @test norm(Float32.(u), 0.0) isa Float32
    @test norm([3.0, 3.0], 0.0) == 3.0                     # another length: plain rms
    @test norm([NaN, 1, 1, 1, 1, 1, 1], 0.0) == Inf
    @test norm([1.0, 1, 1, 1, NaN, 1, 1], 0.0) == 1.0      # what is not measured is not looked at
end

@testset "a plain internalnorm" begin
    # The third component is a plain integral of a fast oscillation: the seminorm does not follow it.
    f!(du, u, p, t) = (du[1] = u[2]; du[2] = -u[1]; du[3] = sin(500t); nothing)
    problem = ODEProblem(f!, [1.0, 0.0, 0.0], (0.0, 5.0))
    whole = solve(problem, Tsit5())
    semi = solve(problem, Tsit5(); internalnorm = Seminorm([1:2], 3))
    @test semi.stats.naccept < whole.stats.naccept / 5
    @test semi.u[end][1:2] ≈ [cos(5.0), -sin(5.0)] rtol = 1.0e-2
end
