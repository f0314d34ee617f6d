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

@testset "NativeField" begin
    # torch's shapes: a state (3, 2), a weight (4, 2), a bias (4,), a scalar ()
    f!(du, u, p, t) = (du .= p.s[] .* t .* (p.w * ones(4) .+ sum(p.b)) .* u; nothing)
    vjp!(dλ, dp, λ, u, p, t) = (dλ .= p.s[] .* t .* (p.w * ones(4) .+ sum(p.b)) .* λ; dp.b .= p.s[] * t * sum(λ .* u); nothing)
    field = PySeminorm.native_field(f!, "Float64", (3, 2), ("w", "b", "s"), ((4, 2), (4,), ()))
    @test PySeminorm.native_fits(field) && PySeminorm.native_fits(field, vjp!) && !PySeminorm.native_fits(field, f!)
    copyto!(field.θ, [1:8; 1:4; 0.5])
    copyto!(field.work.u, 1:6)
    @test PySeminorm.native_value!(field, 2) == ""
    @test reshape(field.work.du, 2, 3) == ([1 3 5 7; 2 4 6 8] * ones(4) .+ 10) .* reshape(1:6, 2, 3)
    PySeminorm.given_vjp!(field, vjp!)
    fill!(field.work.λ, 1)
    @test PySeminorm.native_vjp!(field, 2, false, true, true) == ""
    @test field.work.dλ == repeat([26.0, 30.0], 3) && field.work.dθ == [zeros(8); fill(21.0, 4); 0]
    @test typeof(PySeminorm.native_field(f!, "Float64", (5,), nothing, ())) === typeof(field)
    broken = PySeminorm.native_field((du, u, p, t) -> error("mine"), "Float32", (2,), nothing, ())
    @test PySeminorm.native_value!(broken, 0) == "mine"
    side = PySeminorm.native_forward(broken, 0)
    @test_throws PySeminorm.CallbackFailure side(zeros(Float32, 2), ones(Float32, 2), 0.0)
    @test PySeminorm.native_failure(broken) == "mine"
end

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

@testset "Scatter" begin
    moves, out = Int64[0, 2, 2, 2, 0, 1], zeros(5)     # columns (from, to, length)
    scatter = GC.@preserve moves PySeminorm.Scatter(UInt(pointer(moves)), 2, 4)
    PySeminorm.add!(out, 1, [1.0, 2.0, 3.0], scatter)
    @test out == [0, 3, 0, 1, 2]
end

@testset "Integral" begin
    using PySeminorm: Attempt, Attempts, Integral, MissingStage, ParameterDerivative, accept!, begin!, change!, next!, reject!, weighs, zero!
    tableau(c, b, fsal) = PySeminorm.Tableau(c, zeros(3, 3), b, zeros(3, 1), 3, fsal, (Int[], Int[]))
    evaluate!(integral, t, value) = (zero!(next!(integral, t)) .+= value)
    unclamped(t, h) = Attempt(t, h, identity)
    for fsal in (true, false)
        total, made = zeros(2), Ref(0)
        b = fsal ? [0.25, 0.75, 0.0] : [0.25, 0.5, 0.25]
        make() = (made[] += 1; ParameterDerivative{Float64}(2))
        integral = Integral{Float64}(tableau([0.0, 0.5, 1.0], b, fsal), total, make, identity)
        for (t, value) in ((0.0, 1.0), (0.01, 99.0), (0.5, 98.0), (1.0, 97.0))   # a first stage, a probe, a bad attempt
            evaluate!(integral, t, value)
        end
        reject!(integral, unclamped(0.0, 1.0))
        foreach(t -> evaluate!(integral, t, 2.0), (0.2, 0.4))
        accept!(integral, unclamped(0.0, 0.4))
        @test total ≈ fill(0.4 * (b[1] * 1 + b[2] * 2 + b[3] * 2), 2)
        before = copy(total)
        fsal || evaluate!(integral, 0.4, 5.0)                                     # else the last stage is the next first
        foreach(t -> evaluate!(integral, t, 3.0), (0.5, 0.6))
        accept!(integral, unclamped(0.4, 0.2 + 1.0e-15))                          # a step can miss a stop by rounding
        @test total ≈ before .+ 0.2 * (b[1] * (fsal ? 2 : 5) + b[2] * 3 + b[3] * 3)
        before = copy(total)
        evaluate!(integral, 0.6, 7.0)                                             # anew, after a jump
        foreach(t -> evaluate!(integral, t, 3.0), (0.7, 0.8))
        accept!(integral, unclamped(0.6, 0.2))
        @test total ≈ before .+ 0.2 * (b[1] * 7 + b[2] * 3 + b[3] * 3)
        @test made[] == 4
        foreach(t -> evaluate!(integral, t, 3.0), (0.85, 1.0))
        before = copy(total)
        @test_throws MissingStage accept!(integral, unclamped(0.8, 0.2))
        @test total == before
    end
    late = Float64[]
    postponed!(derivative) = (push!(late, derivative.t); zero!(derivative) .+= derivative.u[1])
    for stops in ([0.6, 1.0], Float64[])        # with none, a last stage counts as the next step's first
        total = zeros(2)
        integral = Integral{Float64}(tableau([0.0, 0.5, 1.0], [0.25, 0.75, 0.0], true), total, () -> ParameterDerivative{Float64}(2), postponed!)
        function made!(t)
            derivative = next!(integral, t)
            weighs(integral, t) ? zero!(derivative) .+= t : PySeminorm.postpone!(derivative, [t], [t])
            return derivative.made
        end
        @test made!(0.0) && !made!(0.01)        # and the probe for a first step
        begin!(integral, stops)
        @test made!(0.3) && made!(0.6) == isempty(stops)
        accept!(integral, unclamped(0.0, 0.6))
        @test total ≈ fill(0.6 * 0.75 * 0.3, 2) && isempty(late)
        @test made!(0.7) && made!(0.8)
        accept!(integral, unclamped(0.6, 0.2))
        @test total ≈ fill(0.6 * 0.75 * 0.3 + 0.2 * (0.25 * 0.6 + 0.75 * 0.7), 2)
        @test late == (isempty(stops) ? [] : [0.6])     # nothing had changed the state there
        empty!(late)
        change!(integral)
        @test made!(0.8) && made!(0.9) && made!(1.0) == isempty(stops)
    end
    x = [rand(Float32, 1000) for _ in 1:7]
    for n in 1:7
        total, weights = ones(Float32, 1000), ntuple(Float32, n)
        PySeminorm.add_weighted!(total, weights, ntuple(i -> x[i], n))
        @test total ≈ 1 .+ sum(weights[i] .* x[i] for i in 1:n)
    end
    @test_throws DimensionMismatch PySeminorm.add_weighted!(zeros(2), (1.0,), (zeros(3),))
end

@testset "sources" begin
    f, vjp, message = PySeminorm.evaluate_sources("two(x) = 2x\n(du, u, p, t) -> (du .= two.(u))", "(dλ, λ) -> (dλ .= two.(λ))")
    @test message == "" && Base.invokelatest(f, zeros(1), ones(1), nothing, 0.0) == [2.0]
    @test Base.invokelatest(vjp, zeros(1), ones(1)) == [2.0]
    @test occursin("ParseError", last(PySeminorm.evaluate_sources("(du ->", nothing)))
    @test occursin("line 2 of the source of vjp", last(PySeminorm.evaluate_sources("identity", "\nnothere(1)")))
    @test occursin("must end in a function", last(PySeminorm.evaluate_sources("1", nothing)))
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
    file = joinpath(pkgdir(PySeminorm), "src", "solver", "integrate.jl")
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
    # Pkg.test brings Aqua; a project that runs this file by itself may not have it.
    if Base.find_package("Aqua") !== nothing
        Core.eval(Main, :(using Aqua))
        Base.invokelatest(Core.eval(Main, :(Aqua.test_all)), PySeminorm; persistent_tasks = false)
    end
end
