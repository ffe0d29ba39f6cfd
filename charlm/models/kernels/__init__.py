"""Fast paths on the CPU: what the models compute, compiled or with gradients written by hand."""
