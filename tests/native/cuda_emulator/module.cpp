// The bindings of csrc/bindings/hamming_cuda.cpp alone, above kernels that run on the CPU: tests/cuda_emulation.py.
#include "bindings/bind.h"

PYBIND11_MODULE(emulated_cuda, m) { fasthash::bind_hamming_cuda(m); }
