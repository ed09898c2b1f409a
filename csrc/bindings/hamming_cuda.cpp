#ifdef FASTHASH_WITH_CUDA
#include <string>

#include "bindings/bind.h"
#include "cuda/hamming_histogram.h"
#include "cuda/hamming_range.h"
#include "cuda/hamming_topk.h"

namespace py = pybind11;

namespace fasthash {
namespace {

using Address = std::uintptr_t;

void topk(Address queries, int64_t nq, Address database, int64_t nb, int64_t bytes, int bits, Address allow, int64_t k,
          Address distances, Address ids, Address scratch, size_t scratch_bytes, Address stream,
          const std::string& kernel) {
  hamming_topk_cuda(at<const uint8_t>(queries), nq, at<const uint8_t>(database), nb, bytes, bits,
                    at<const uint8_t>(allow), k, at<int32_t>(distances), at<int64_t>(ids), at<void>(scratch),
                    scratch_bytes, at<void>(stream), kernel.empty() ? nullptr : kernel.c_str());
}

HammingRange make_range(Address queries, int64_t nq, Address database, int64_t nb, int64_t bytes, int bits,
                        Address allow, int64_t radius, Address scratch, size_t scratch_bytes, int64_t budget,
                        Address stream) {
  return {at<const uint8_t>(queries),
          nq,
          at<const uint8_t>(database),
          nb,
          bytes,
          bits,
          at<const uint8_t>(allow),
          radius,
          at<void>(scratch),
          scratch_bytes,
          budget,
          at<void>(stream)};
}

void range_count(Address queries, int64_t nq, Address database, int64_t nb, int64_t bytes, int bits, Address allow,
                 int64_t radius, Address scratch, size_t scratch_bytes, int64_t budget, Address stream, Address lims) {
  hamming_range_count_cuda(
      make_range(queries, nq, database, nb, bytes, bits, allow, radius, scratch, scratch_bytes, budget, stream),
      at<int64_t>(lims));
}

void range_emit(Address queries, int64_t nq, Address database, int64_t nb, int64_t bytes, int bits, Address allow,
                int64_t radius, Address scratch, size_t scratch_bytes, int64_t budget, Address stream, Address lims,
                Address distances, Address ids) {
  hamming_range_emit_cuda(
      make_range(queries, nq, database, nb, bytes, bits, allow, radius, scratch, scratch_bytes, budget, stream),
      at<const int64_t>(lims), at<int32_t>(distances), at<int64_t>(ids));
}

void histogram(Address queries, int64_t nq, Address database, int64_t nb, int64_t bytes, int bits, Address query_labels,
               Address database_labels, int words, Address stream, Address counts, Address relevant) {
  hamming_histogram_cuda(
      {at<const uint8_t>(queries), nq, at<const uint8_t>(database), nb, bytes, bits, at<const uint64_t>(query_labels),
       at<const uint64_t>(database_labels), words, at<void>(stream)},
      at<int64_t>(counts), at<int64_t>(relevant));
}

}  // namespace

void bind_hamming_cuda(py::module_& m) {
  const auto no_gil = py::call_guard<py::gil_scoped_release>();  // none of them touches a Python object
  m.def("hamming_topk_cuda", &topk, no_gil, "csrc/cuda/hamming_topk.h");
  m.def("hamming_topk_cuda_scratch", &hamming_topk_cuda_scratch, "csrc/cuda/hamming_topk.h");
  m.def("hamming_topk_cuda_kernel", &hamming_topk_cuda_kernel, "csrc/cuda/hamming_topk.h");
  m.def("hamming_range_count_cuda", &range_count, no_gil, "csrc/cuda/hamming_range.h");
  m.def("hamming_range_emit_cuda", &range_emit, no_gil, "csrc/cuda/hamming_range.h");
  m.def("hamming_range_cuda_scratch", &hamming_range_cuda_scratch, "csrc/cuda/hamming_range.h");
  m.def("hamming_histogram_cuda", &histogram, no_gil, "csrc/cuda/hamming_histogram.h");
}

}  // namespace fasthash
#endif
