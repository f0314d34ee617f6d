@testset "algorithms" begin
    @test algorithm("tsit5")[2] && !algorithm("rk4")[2]
    @test algorithm("Vern9")[2] && !algorithm("Euler")[2]
    @test algorithm(("Vern7", (("lazy", false),)))[1] == PySeminorm.Vern7(lazy = false)
    @test algorithm(Tsit5()) == (Tsit5(), true)
    @test PySeminorm.traits("dopri5") == ("DP5", 5, true, false)
    @test_throws PySeminorm.UnknownAlgorithm algorithm("NoSuchMethod")
    @test_throws ArgumentError algorithm(1)
end
