"""
    NotFinite(t)

A value of the function, or a product that enters a gradient, is NaN or infinite at time `t`, or in the step from there.
"""
struct NotFinite <: Exception
    t::Float64
end

"Whether no element is NaN or infinite: by their sum, and by a closer look where that overflows."
all_finite(x) = isfinite(sum(x)) || all(isfinite, x)
