using PySeminorm: LastStages, spares!

spared(stages, times) = [spares!(stages, t) for t in times]

@testset "evaluations at the end of a fixed step that nothing reads" begin
    rk4 = LastStages("rk4", 0.0, [0.3, 1.0], nothing; dense = false)
    @test spared(rk4, [0.0, 0.15, 0.15, 0.3, 0.3]) == [false, false, false, false, true]
    @test spared(rk4, [0.3, 0.65, 0.65, 1.0, 1.0 - 1.0e-16]) == [false, false, false, false, true]
    backwards = LastStages("euler", 1.0, [0.5, 0.0], nothing; dense = false)
    @test spared(backwards, [1.0, 0.75, 0.5, 0.5, 0.25, 1.0e-17]) == [false, false, true, false, false, true]
    for (method, dense) in (("euler", true), ("tsit5", false), (:an_algorithm, false))
        @test !any(spared(LastStages(method, 0.0, [1.0], nothing; dense), [0.0, 0.5, 1.0, 1.0]))
    end
    inside = LastStages("midpoint", 0.0, [1.0], nothing; dense = false)
    inside.output = 0.9
    @test !any(spared(inside, [0.0, 0.5, 1.0]))
    # Stops that rounding cannot tell apart are left alone.
    @test LastStages("euler", 0.0, [0.5, nextfloat(0.5), 1.0], nothing; dense = false).stops == [1.0]
end
