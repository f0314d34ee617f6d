"""What is integrated: a state, a vector field with its products and its Jacobian, and the times where it jumps."""
