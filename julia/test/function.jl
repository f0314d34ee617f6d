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

@testset "sources" begin
    f, vjp, message = PySeminorm.evaluate_sources("two(x) = 2x\n(du, u, p, t) -> (du .= two.(u))", "(dλ, λ) -> (dλ .= two.(λ))")
    @test message == "" && Base.invokelatest(f, zeros(1), ones(1), nothing, 0.0) == [2.0]
    @test Base.invokelatest(vjp, zeros(1), ones(1)) == [2.0]
    @test occursin("ParseError", last(PySeminorm.evaluate_sources("(du ->", nothing)))
    @test occursin("line 2 of the source of vjp", last(PySeminorm.evaluate_sources("identity", "\nnothere(1)")))
    @test occursin("must end in a function", last(PySeminorm.evaluate_sources("1", nothing)))
end
