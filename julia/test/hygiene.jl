@testset "hygiene" begin
    @test isempty(Test.detect_ambiguities(PySeminorm))
    @test isempty(Test.detect_unbound_args(PySeminorm))
    # Pkg.test brings Aqua; a project that runs this file by itself may not have it.
    if Base.find_package("Aqua") !== nothing
        Core.eval(Main, :(using Aqua))
        Base.invokelatest(Core.eval(Main, :(Aqua.test_all)), PySeminorm; persistent_tasks = false)
    end
end
