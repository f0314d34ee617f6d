using PySeminorm
using Test

# A file for each noun of src/, with names of its own; names of files among the arguments choose.
nouns = (
    "seminorm", "last_stages", "vector_field", "algorithms", "attempts", "parameter_integral", "function", "right_hand_sides",
    "jacobian", "kernels", "lowered", "sweep", "c_functions", "profile", "hygiene",
)

function include_alone(noun)
    space = Module(Symbol("test_", noun))
    Core.eval(space, :(using PySeminorm, Test))
    Core.eval(space, :(using PySeminorm: Seminorm, VectorField, algorithm))
    Core.eval(space, :(using OrdinaryDiffEqTsit5: Tsit5))
    Core.eval(space, :(using SciMLBase: ODEProblem, solve))
    return Base.include(space, joinpath(@__DIR__, "$noun.jl"))
end

@testset "PySeminorm" begin
    @testset "$noun" for noun in filter(noun -> isempty(ARGS) || noun in ARGS, nouns)
        include_alone(noun)
    end
end
