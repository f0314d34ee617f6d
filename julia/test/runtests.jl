using PySeminorm
using PySeminorm: Seminorm, VectorField, algorithm
using OrdinaryDiffEqTsit5: Tsit5
using SciMLBase: ODEProblem, solve
using Test

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

@testset "VectorField" begin
    times = Float64[]
    field = VectorField{Vector{Float64}}((du, u, t) -> (push!(times, t); du .= u; nothing), 1.0, 0.0)
    field(zeros(1), ones(1), nothing, 1.0 + eps())
    field(zeros(1), ones(1), nothing, -eps())
    @test times == [1.0, 0.0] && field.calls[] == 2
    other = VectorField{Vector{Float64}}((du, u, t) -> nothing, 0.0, 1.0)
    @test typeof(other) === typeof(field)                  # one type for every model
end

@testset "algorithms" begin
    @test algorithm("tsit5")[2] && !algorithm("rk4")[2]
    @test algorithm("Vern9")[2] && !algorithm("Euler")[2]
    @test algorithm(("Vern7", (("lazy", false),)))[1] == PySeminorm.Vern7(lazy = false)
    @test algorithm(Tsit5()) == (Tsit5(), true)
    @test PySeminorm.traits("dopri5") == ("DP5", 5, true, false)
    @test_throws PySeminorm.UnknownAlgorithm algorithm("NoSuchMethod")
    @test_throws ArgumentError algorithm(1)
end

@testset "profile" begin
    f!(du, u, p, t) = (du[1] = u[2]; du[2] = -sum(sin, range(0, u[1]; length = 100)); nothing)
    problem = ODEProblem(f!, [1.0, 0.0], (0.0, 100.0))
    solves() = foreach(_ -> solve(problem, Tsit5(); internalnorm = Seminorm([1:2], 2)), 1:200)
    solves()
    found = PySeminorm.profile(solves; field = f!)
    counts = Dict(PySeminorm.counts(found))
    total = length(found.stacks)
    @test total > 20 && sum(values(counts)) == total
    @test counts[:field] > counts[:solver] > 0 && counts[:callback] == counts[:outside] == 0
    @test found.allocations > 0 && found.bytes > 0 && found.complete
    @test all(all(in(eachindex(found.frames)), stack) for stack in found.stacks)
    running = PySeminorm.functions(found)
    @test issorted(last.(running); rev = true) && sum(last, running) == total
    @test any(frame -> frame.name == "perform_step!", first.(running))
    plain = Dict(PySeminorm.counts(PySeminorm.profile(solves)))
    @test plain[:field] == 0 && plain[:solver] > 20      # what the solver calls is the solver's
    table = sprint(show, MIME"text/plain"(), found)
    @test occursin("vector field in Julia", table) && !occursin("callback", table)
    @test_throws ErrorException PySeminorm.profile(() -> PySeminorm.profile(solves))
    @test length(PySeminorm.profile(solves).stacks) > 0  # and that left no profiler running
end

@testset "what a sample is" begin
    marks = PySeminorm.Marks(nothing)
    file = joinpath(pkgdir(PySeminorm), "src", "integrate.jl")
    c(name) = Base.StackTraces.StackFrame(Symbol(name), Symbol(""), -1, nothing, true, false, 0)
    julia(name, file) = Base.StackTraces.StackFrame(Symbol(name), Symbol(file), 1, nothing, false, false, 0)
    solver, base = julia("integrate", file), julia("sum", "./reduce.jl")
    @test PySeminorm.classified([c("memcpy"), base, solver, c("main")], marks) == (:solver, 3)
    @test PySeminorm.classified([c(""), c("ijl_gc_collect"), base, solver], marks) == (:gc, 2)
    @test PySeminorm.classified([c(""), c("jl_generate_fptr_impl"), base, solver], marks) == (:compilation, 2)
    @test PySeminorm.classified([base, julia("typeinf_ext_toplevel", "./compiler/typeinfer.jl"), solver], marks) == (:compilation, 2)
    @test PySeminorm.classified([c(""), base], marks) == (:other, 1)
    log = PySeminorm.Log([5, 10, 12], [1, 3])
    @test PySeminorm.place.(Ref(log), [4, 5, 9, 10, 11, 12]) == [nothing, :outside, :outside, :callback, :callback, nothing]
end

@testset "hygiene" begin
    @test isempty(Test.detect_ambiguities(PySeminorm))
    @test isempty(Test.detect_unbound_args(PySeminorm))
end
