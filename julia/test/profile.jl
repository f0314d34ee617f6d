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
    @test PySeminorm.classify([c("memcpy"), base, solver, c("main")], marks) == (:solver, 3)
    @test PySeminorm.classify([c(""), c("ijl_gc_collect"), base, solver], marks) == (:gc, 2)
    @test PySeminorm.classify([c(""), c("jl_generate_fptr_impl"), base, solver], marks) == (:compilation, 2)
    @test PySeminorm.classify([base, julia("typeinf_ext_toplevel", "./compiler/typeinfer.jl"), solver], marks) == (:compilation, 2)
    @test PySeminorm.classify([c(""), base], marks) == (:other, 1)
    log = PySeminorm.Log([5, 10, 12], [1, 3])
    @test PySeminorm.place.(Ref(log), [4, 5, 9, 10, 11, 12]) == [nothing, :outside, :outside, :callback, :callback, nothing]
end
