#include "bindings/bind.h"
#include "cpu/isa.h"
#include "cpu/pair_bf16_trial.h"

#ifndef FASTHASH_NO_CUDA_REASON
#define FASTHASH_NO_CUDA_REASON ""
#endif
#ifndef FASTHASH_CUDA_ARCHS
#define FASTHASH_CUDA_ARCHS ""
#endif

namespace {

// Where an array's data begins, by the buffer protocol.
std::uintptr_t address_of(pybind11::handle array) {
  Py_buffer view;
  if (PyObject_GetBuffer(array.ptr(), &view, PyBUF_STRIDED_RO) != 0) throw pybind11::error_already_set();
  const auto address = reinterpret_cast<std::uintptr_t>(view.buf);
  PyBuffer_Release(&view);
  return address;
}

}  // namespace

PYBIND11_MODULE(_C, m) {
  m.doc() = "Native kernels of fasthash; fasthash/_native.py is the only caller.";
  m.def("best_isa", [] { return static_cast<int>(fasthash::best_isa()); }, "csrc/cpu/isa.h");
  m.def("best_bf16", [] { return static_cast<int>(fasthash::trusted_bf16().best); }, "csrc/cpu/isa.h");
  m.def("why_not_amx", [] { return fasthash::trusted_bf16().why_not_amx; }, "or an empty string");
  m.def("address", &address_of, "of an array's first byte");
  m.attr("cuda_archs") = FASTHASH_CUDA_ARCHS;
  m.attr("no_cuda_reason") = FASTHASH_NO_CUDA_REASON;
  m.attr("compiler") = __VERSION__;
  fasthash::bind_cross_attention(m);
  fasthash::bind_hamming(m);
#ifdef FASTHASH_WITH_CUDA
  fasthash::bind_hamming_cuda(m);
#endif
  fasthash::bind_hamming_histogram(m);
  fasthash::bind_joint_semantics(m);
  fasthash::bind_multi_index(m);
  fasthash::bind_pair_loss(m);
  fasthash::bind_proxy_pair(m);
}
