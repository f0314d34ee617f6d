using PySeminorm: Attempt, Attempts, StageRecord, Stage, accept!, closure, next!, reject!

"Evaluations at times, as a solve makes them."
evaluate!(attempts, times...) = [next!(attempts, t) for t in times]

# Three stages; the last is evaluated at the new state.
three(fsal) = PySeminorm.Tableau([0.0, 0.5, 1.0], zeros(3, 3), [0.25, 0.5, 0.25], zeros(3), zeros(3, 1), (0.0, 0.0, 0.0), 3, fsal, (Int[], Int[]))
attempts(fsal = true) = Attempts{Stage{Float64}}(three(fsal), () -> Stage{Float64}(1, 0))
from(t, h) = Attempt(t, h, identity)

@testset "a tableau from Python's memory" begin
    c, a, b, dense = [0.0, 0.5, 1.0], [0.0, 0, 0, 0.5, 0, 0, 0, 1, 0], [0.0, 0, 1], [0.0, 0, 0, 1, 1, -1]
    b_error, formula = [1.0, 0.0, -1.0], [2.0, 0.1, 0.75]
    at(x) = UInt(pointer(x))
    found = GC.@preserve c a b b_error dense formula PySeminorm.tableau(
        3, 2, at(c), at(a), at(b), at(b_error), at(dense), at(formula), 3, false,
    )
    @test found.a == [0 0 0; 0.5 0 0; 0 1 0] && found.dense == [0 0; 0 1; 1 -1] && found.c == c && found.b == b
    @test found.b_error == b_error && found.formula == (2.0, 0.1, 0.75) && PySeminorm.estimates(found)
    fill!(a, NaN)
    @test found.a[2, 1] == 0.5      # it is a copy
    @test found.needed == ([1, 2, 3], [1, 2, 3])
    @test closure([2], [0 0 0; 0.5 0 0; 0 1 0]) == [1, 2] && closure(Int[], zeros(2, 2)) == []
end

@testset "stages of accepted and rejected steps" begin
    made = attempts()
    first, second, last = evaluate!(made, 0.0, 0.5, 1.0)
    @test accept!(made, from(0.0, 1.0), nothing) == [first, second, last]
    @test isempty(made.pending) && isempty(made.spare)
    late = evaluate!(made, 1.25, 1.5)                       # first same as last
    @test accept!(made, from(1.0, 0.5), last) == [last, late...]
    bad = evaluate!(made, 1.75, 2.0)
    reject!(made, from(1.5, 0.5))
    @test made.spare == bad                                 # to be written to again
    good = evaluate!(made, 1.625, 1.75)
    @test Set(good) == Set(bad)
    @test accept!(made, from(1.5, 0.25), late[2]) == [late[2], good...]
end

@testset "evaluations beside the stages" begin
    made = attempts(false)
    start, probe, rest... = evaluate!(made, 0.0, 0.01, 0.5, 1.0)
    @test accept!(made, from(0.0, 1.0), nothing) == [start, rest...] && made.spare == [probe]
    made = attempts(false)
    start, rest... = evaluate!(made, 0.0, 0.5, 1.0)
    reject!(made, from(0.0, 1.0))
    @test made.pending == [start] && made.spare == rest     # the next attempt begins there too
    made = attempts()
    evaluate!(made, 0.4, 0.9, 1.0)
    @test accept!(made, from(0.0, 1.0), nothing)[1:2] == [nothing, nothing]     # not where stages should be
    made = attempts()
    evaluate!(made, 0.5)
    @test all(isnothing, accept!(made, from(0.0, 1.0), nothing))                # too few
end

@testset "times are clamped, and may miss by rounding" begin
    made = attempts()
    found = evaluate!(made, 0.0, 0.5, 0.9)
    @test accept!(made, Attempt(0.0, 1.0, t -> min(t, 0.9)), nothing) == found
    found = evaluate!(made, 1.0, 1.5, 2.0 + 1.0e-14)
    @test accept!(made, from(1.0, 1.0), nothing) == found
end

@testset "a record of steps" begin
    record = StageRecord{Float64}(three(true), () -> Stage{Float64}(1, 0))
    first = evaluate!(record.attempts, 0.0, 0.5, 1.0)
    accept!(record, from(0.0, 1.0))
    evaluate!(record.attempts, 1.5, 2.0)
    reject!(record, from(1.0, 1.0))
    second = evaluate!(record.attempts, 1.25, 1.5)
    accept!(record, from(1.0, 0.5))
    @test record.steps == [first, [first[3], second...]]
end
