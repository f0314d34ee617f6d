using PySeminorm: AdjointCall, C_FUNCTIONS, ForwardCall, LoadCall, PassResult, RETCODES, Settings, SweepCall
using PySeminorm: address_of, arguments, enter

at(x) = UInt(pointer(x))
const FLOAT64 = PySeminorm.vector_type(("cpu", "Float64", 0))

"y' = -p y as a native field, and (if it is asked for) its failure after so many calls."
function decay(p; fails_after = typemax(Int))
    calls = Ref(0)
    f!(du, u, p, t) = ((calls[] += 1) > fails_after && error("mine"); du .= .-p .* u; nothing)
    vjp!(dλ, dp, λ, u, p, t) = (dλ .= .-p .* λ; dp .= .-u .* λ; nothing)
    field = PySeminorm.native_field(f!, "Float64", (2,), nothing, ((2,),))
    PySeminorm.given_vjp!(field, vjp!)
    copyto!(field.θ, p)
    return field
end

settings(method = "tsit5"; max_steps = 10_000) = Settings((method, 1.0e-8, 1.0e-10, max_steps, nothing, (), (0.0, 1.0), ((), 0.0, Inf, false)))

"A forward pass of a field: (result, times, outputs)."
function forward(field, times; given = settings(), more...)
    y0, ys, offsets = [1.0, 2.0], fill(NaN, 2, length(times)), Int64[0, 2]
    found, ends = GC.@preserve field y0 ys offsets times given enter(
        :forward, arguments(
            ForwardCall; vector = address_of(FLOAT64), field = address_of(field), times = at(times), times_count = length(times),
            y0 = at(y0), ys = at(ys), size = 2, offsets = at(offsets), segments = 1, settings = address_of(given), more...,
        ),
    )
    return found, ends[1:min(end, found.times_count)], ys
end

retcode(found) = found.retcode == 0 ? :Other : RETCODES[found.retcode]

@testset "declarations as text" begin
    lines = split(PySeminorm.declarations(), '\n')
    @test length(lines) == 9 && startswith(lines[1], "ForwardCall: vector Int64, times Int64")
    @test any(startswith("PassResult: retcode Int64, t Float64, naccept Int64"), lines)
    @test last(lines) == "TIMES: 128, 4096, 32" && sizeof(PassResult) <= 128
    @test length(PySeminorm.c_functions()) == length(C_FUNCTIONS) && all(>(0), PySeminorm.c_functions())
end

@testset "a forward pass" begin
    p, times = [1.0, 0.5], [0.0, 0.5, 1.0]
    found, ends, ys = forward(decay(p), times)
    @test retcode(found) === :Success && found.reached == 3 && found.finite == 1 && found.outcome == 0 && found.t == 1
    @test ys ≈ [1, 2] .* exp.(-p .* times') rtol = 1.0e-7
    @test issorted(ends) && last(ends) == 1 && length(ends) == found.naccept
    warm, steps, _ = forward(decay(p), times; dt = found.proposed)
    @test first(steps) ≈ found.proposed > first(ends) && warm.naccept < found.naccept
end

@testset "a forward and a backward pass" begin
    p, times, field = [1.0, 0.5], [0.0, 0.5, 1.0], decay([1.0, 0.5])
    _, _, ys = forward(field, times)
    g, back, rows, moves = [0.0 1.0 3.0; 0.0 2.0 -1.0], [1.0, 0.5, 0.0], Int64[1], Int64[0, 0, 2]
    exact_λ = sum(g[:, i] .* exp.(-p .* times[i]) for i in 2:3)
    exact_p = sum(-times[i] .* g[:, i] .* [1, 2] .* exp.(-p .* times[i]) for i in 2:3)
    offsets, given = Int64[0, 2, 2, 4], settings()
    z = [g[:, 3]; ys[:, 3]; zeros(2)]
    GC.@preserve field ys g back rows moves offsets z given begin
        found, _ = enter(
            :adjoint, arguments(
                AdjointCall; vector = address_of(FLOAT64), field = address_of(field), times = at(back), times_count = 3,
                rows = at(rows), rows_count = 1, z = at(z), length = length(z), ys = at(ys), cotangents = at(g), size = 2,
                offsets = at(offsets), segments = 2, settings = address_of(given), anchored = true, moves = at(moves),
                moves_count = 1, params_size = 2, y = at(field.work.u),
            ),
        )
    end
    @test retcode(found) === :Success && found.reached == 1
    @test z[1:2] ≈ exact_λ rtol = 1.0e-6
    @test z[5:6] ≈ exact_p rtol = 1.0e-6
    # The same by the sweep over steps that the forward pass keeps.
    heun = settings("midpoint")
    c, a, b, dense = [0.0, 0.5], [0.0, 0, 0.5, 0], [0.0, 1], [1.0, -1, 0, 1]
    tableau = GC.@preserve c a b dense PySeminorm.tableau(2, 2, at(c), at(a), at(b), at(b), at(dense), at(dense), 2, false)
    found, _, _ = forward(field, times; given = heun, dt = 0.001, keep = 1)
    @test retcode(found) === :Success && found.steps > 0
    λ, one_part, other_part = zeros(2), zeros(1), zeros(1)
    parts, lengths = Int64[at(one_part), at(other_part)], Int64[1, 1]
    GC.@preserve field g times moves λ one_part other_part parts lengths heun tableau begin
        swept, _ = enter(
            :sweep, arguments(
                SweepCall; field = address_of(field), tableau = address_of(tableau), steps = found.steps, times = at(times),
                times_count = 3, reached = 3, cotangents = at(g), settings = address_of(heun), moves = at(moves), moves_count = 1,
                params_size = 2, parts = at(parts), lengths = at(lengths), parts_count = 2, adjoint = at(λ),
            ),
        )
    end
    @test retcode(swept) === :Success && swept.naccept == swept.last_step == found.naccept && swept.finite == 1
    @test λ ≈ exact_λ rtol = 1.0e-5
    @test [one_part; other_part] ≈ exact_p rtol = 1.0e-5
end

@testset "what Python lets go of" begin
    field = decay([1.0, 0.5])
    numbers = [forward(field, [0.0, 1.0]; keep = 1)[1].steps for _ in 1:3]
    @test all(number -> haskey(PySeminorm.HELD, number), numbers)
    released = Int64[2, numbers[1], numbers[3]]
    r = [1.0]
    lowered = PySeminorm.toy_lowered_field(Float64, r)
    GC.@preserve lowered r enter(:load, LoadCall(address_of(lowered)), released)
    @test released[1] == 0
    @test [haskey(PySeminorm.HELD, number) for number in numbers] == [false, true, false]
    @test PySeminorm.take_handle!(numbers[2]) isa PySeminorm.Steps && !haskey(PySeminorm.HELD, numbers[2])
end

@testset "passes that end early" begin
    found, ends, _ = forward(decay([1.0, 0.5]), [0.0, 1.0]; given = settings(max_steps = 3))
    outcome = PySeminorm.take_handle!(found.outcome)
    @test retcode(found) === :MaxIters && PySeminorm.retcode(outcome) == "MaxIters" && found.t < 1
    u = fill(NaN, 2)
    accepted = fill(NaN, PySeminorm.steps_taken(outcome))
    GC.@preserve u accepted PySeminorm.copy_results!(outcome, at(accepted), at(u))
    @test accepted == ends && isapprox(u, [1, 2] .* exp.(-[1.0, 0.5] .* found.t); rtol = 1.0e-6)
    broken = decay([1.0, 0.5]; fails_after = 20)
    found, _, _ = forward(broken, [0.0, 1.0])
    @test retcode(found) === :CallbackFailure && PySeminorm.native_failure(broken) == "mine"
    PySeminorm.take_handle!(found.outcome)
end

@testset "more steps than fit behind a result" begin
    found, ends, _ = forward(decay([1.0, 0.5]), [0.0, 1.0]; given = settings("euler"), dt = 1 / 5000)
    @test found.naccept == found.times_count > PySeminorm.MOST_TIMES && found.outcome > 0
    @test all(iszero, ends)
    @test length(PySeminorm.take_handle!(found.outcome).accepted) == found.naccept
end

@testset "errors" begin
    given = settings("NoSuchMethod")
    @test_throws PySeminorm.UnknownAlgorithm forward(decay([1.0, 0.5]), [0.0, 1.0]; given)
    @test PySeminorm.retcode_number(:Success) == 1 && PySeminorm.retcode_number(:Terminated) == 0
end
