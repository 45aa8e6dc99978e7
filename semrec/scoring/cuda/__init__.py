"""The CUDA engine: Triton kernels and the host code that drives them."""
