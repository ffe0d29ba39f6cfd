"""Fast paths on the CPU, compiled or with gradients written by hand."""
