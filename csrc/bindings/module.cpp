#include "bindings/bind.h"
#include "cpu/isa.h"

#ifndef FASTHASH_NO_CUDA_REASON
#define FASTHASH_NO_CUDA_REASON ""
#endif
#ifndef FASTHASH_CUDA_ARCHS
#define FASTHASH_CUDA_ARCHS ""
#endif

PYBIND11_MODULE(_C, m) {
  m.doc() = "Native kernels of fasthash; fasthash/_native.py is the only caller.";
  m.def("best_isa", [] { return static_cast<int>(fasthash::best_isa()); }, "csrc/cpu/isa.h");
  m.attr("cuda_archs") = FASTHASH_CUDA_ARCHS;
  m.attr("no_cuda_reason") = FASTHASH_NO_CUDA_REASON;
  m.attr("compiler") = __VERSION__;
  fasthash::bind_hamming(m);
#ifdef FASTHASH_WITH_CUDA
  fasthash::bind_hamming_cuda(m);
#endif
  fasthash::bind_hamming_histogram(m);
  fasthash::bind_multi_index(m);
  fasthash::bind_pairwise_nll(m);
}
