"""Learn a spiral with a vector field written in Julia: no Python runs inside a solve.

python examples/julia_function.py     (needs a Julia: see `pyseminorm setup`)
"""

import torch

import pyseminorm

# Arrays keep torch's memory, so their dimensions are reversed: a state (batch, 2) is a 2×batch matrix here, a weight
# (out, in) an in×out matrix, and torch's y @ W.T + b reads p.W' * u .+ p.b.
FIELD = """
function f!(du, u, p, t)
    h = tanh.(p.W1' * u .+ p.b1)
    du .= p.W2' * h .+ p.b2
end
"""
# λᵀ∂f/∂u and λᵀ∂f/∂p by hand. With SciMLSensitivity in the Julia project, leave vjp= out.
PRODUCT = """
function vjp!(dλ, dp, λ, u, p, t)
    h = tanh.(p.W1' * u .+ p.b1)
    k = (p.W2 * λ) .* (1 .- h .^ 2)
    dp.W2 .= h * λ'
    dp.b2 .= vec(sum(λ; dims = 2))
    dp.W1 .= u * k'
    dp.b1 .= vec(sum(k; dims = 2))
    dλ .= p.W1 * k
end
"""

torch.manual_seed(0)
t = torch.linspace(0, 4, 40)
true = torch.tensor([[-0.1, 2.0], [-2.0, -0.1]])
starts = torch.tensor([[2.0, 0.0], [0.0, 1.5], [-1.0, -1.0]])
data = torch.stack([starts @ torch.linalg.matrix_exp(true * s).T for s in t])  # (times, batch, 2)

hidden = torch.nn.Linear(2, 32), torch.nn.Linear(32, 2)
params = {"W1": hidden[0].weight, "b1": hidden[0].bias, "W2": hidden[1].weight, "b2": hidden[1].bias}
model = pyseminorm.JuliaFunction(FIELD, params, vjp=PRODUCT)
optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
for step in range(301):
    optimiser.zero_grad()
    solution = pyseminorm.solve(model, starts, t, rtol=1e-4, backend="julia")
    loss = (solution.ys - data).pow(2).mean()
    loss.backward()
    optimiser.step()
    if step % 50 == 0:
        spent = solution.stats.forward.seconds + solution.stats.backward.seconds
        print(f"step {step:3d}  loss {loss.item():.4f}  {1000 * spent:.2f} ms in the two solves")
