"""Vector fields captured once as ATen graphs: f and its products without autograd or the user's Python."""
