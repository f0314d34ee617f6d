# Refinement of a quadrature over the steps of a backward solve until its error is what is asked for: the same as that of
# pyseminorm/engines/torch/gauss_nodes.py, which says why.

"Of a step: no shorter part is halved."
const FINEST = 2.0^-12

"Of the tolerance: so small a difference is believed at once."
const CLEAR = 0.2

"Keep the step that was just accepted, with its dense output."
function keep_step!(nodes::Nodes{V}, integrator, t) where {V}
    (; tprev, dt, differential_vars) = integrator
    u0, u1, k, cache = copy(integrator.uprev), copy(integrator.u), map(copy, integrator.k), used_cache(integrator.cache)
    function step!(z, at)
        OrdinaryDiffEqCore.ode_interpolant!(z, (at - tprev) / dt, dt, u0, u1, k, cache, nothing, Val{0}, differential_vars)
        return nothing
    end
    push!(nodes.parts, Part{V}(StateAt{V}(step!), tprev, t, abs(t - tprev)))
    return nothing
end

used_cache(cache) = cache
used_cache(cache::OrdinaryDiffEqCore.CompositeCache) = cache.caches[cache.current]
used_cache(cache::OrdinaryDiffEqCore.DefaultCache) = getfield(cache, Symbol(:cache, cache.current))

"Halve the largest parts until the rules agree in some of them one after the other."
function refine!(tracker, nodes::Nodes{V}) where {V}
    (; parts, rtol) = nodes
    isempty(parts) && return nothing
    sort!(parts; by = length_of)
    agreed, enough, shortest = Part{V}[], 2, FINEST * length_of(last(parts))
    whole, looked = sum(length_of, parts), 0.0
    while !isempty(parts) && length(agreed) < enough
        nodes.left = share(parts) * difference!(tracker, nodes, last(parts))
        isnan(nodes.left) && return nothing
        looked += length_of(last(parts))
        push!(agreed, pop!(parts))
        if nodes.left <= rtol || length_of(last(agreed)) < shortest
            enough == 2 && nodes.left <= CLEAR * rtol && (enough = 1)
            continue
        end
        foreach(part -> halve!(tracker, nodes, part), agreed)
        empty!(agreed)
        enough = 4
    end
    nodes.cancellation = whole / looked * call_evaluator(nodes, LOOKED_SIZE)
    return nothing
end

"How much larger the error of parts is than that of the largest, the last one."
share(parts::Vector{<:Part}) = sqrt(sum(part -> (length_of(part) / length_of(last(parts)))^(2 * ERROR_GROWTH), parts))

"Let the finer rule take the place of the other in a part, and give the difference, over the sums."
function difference!(tracker, nodes::Nodes{V}, (; step!, a, b)::Part) where {V}
    (; check_points, check_weights, capacity) = nodes
    for (i, (point, weight)) in enumerate(zip(check_points, check_weights))
        place_node!(tracker, step!, a, b, point, weight, capacity + i - 1)
    end
    synchronize(V)
    return call_evaluator(nodes, -length(check_points))
end

"Let two halves take the place of a part, of which the finer rule is in the sums."
function halve!(tracker, nodes::Nodes{V}, part::Part) where {V}
    (; points, weights, check_points, check_weights, parts) = nodes
    (; step!, a, b) = part
    finer = 1:(length(check_points) - length(points))
    add_rule!(tracker, step!, a, b, view(check_points, finer), -view(check_weights, finer))
    middle, half_length = (a + b) / 2, length_of(part) / 2
    for half in (Part{V}(step!, a, middle, half_length), Part{V}(step!, middle, b, half_length))
        add_rule!(tracker, step!, half.a, half.b, points, weights)
        insert!(parts, searchsortedlast(parts, half; by = length_of) + 1, half)
    end
    evaluate!(nodes)
    return nothing
end
