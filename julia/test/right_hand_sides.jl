@testset "Scatter" begin
    moves, out = Int64[0, 2, 2, 2, 0, 1], zeros(5)     # columns (from, to, length)
    scatter = GC.@preserve moves PySeminorm.Scatter(UInt(pointer(moves)), 2, 4)
    PySeminorm.add!(out, 1, [1.0, 2.0, 3.0], scatter)
    @test out == [0, 3, 0, 1, 2]
end
