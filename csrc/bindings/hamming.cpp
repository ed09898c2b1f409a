#include "hamming.h"

#include <memory>

#include "bindings/bind.h"
#ifdef FASTHASH_WITH_CUDA
#include "cuda/hamming_topk.h"
#endif

namespace py = pybind11;

namespace fasthash {
namespace {

// Ctrl-C reaches a long search: Python's handlers run here, and what they raise ends it.
bool signal_raised() {
  const py::gil_scoped_acquire gil;
  return PyErr_CheckSignals() != 0;
}

HammingSearch make_search(std::uintptr_t queries, int64_t nq, std::uintptr_t database, int64_t nb, int64_t bytes,
                          std::uintptr_t allow, int threads, int isa) {
  return {at<const uint8_t>(queries), nq,      at<const uint8_t>(database), nb,           bytes,
          at<const uint8_t>(allow),   threads, static_cast<Isa>(isa),       signal_raised};
}

void topk(std::uintptr_t queries, int64_t nq, std::uintptr_t database, int64_t nb, int64_t bytes, std::uintptr_t allow,
          int threads, int isa, int64_t k, std::uintptr_t distances, std::uintptr_t ids) {
  const HammingSearch search = make_search(queries, nq, database, nb, bytes, allow, threads, isa);
  bool complete;
  {
    const py::gil_scoped_release no_gil;
    complete = hamming_topk_cpu(search, k, at<int32_t>(distances), at<int64_t>(ids));
  }
  if (!complete) throw py::error_already_set();
}

std::unique_ptr<RangeHits> range(std::uintptr_t queries, int64_t nq, std::uintptr_t database, int64_t nb, int64_t bytes,
                                 std::uintptr_t allow, int threads, int isa, int radius) {
  const HammingSearch search = make_search(queries, nq, database, nb, bytes, allow, threads, isa);
  auto hits = std::make_unique<RangeHits>();
  bool complete;
  {
    const py::gil_scoped_release no_gil;
    complete = hits->search(search, radius);
  }
  if (!complete) throw py::error_already_set();
  return hits;
}

#ifdef FASTHASH_WITH_CUDA
void topk_cuda(std::uintptr_t queries, int64_t nq, std::uintptr_t database, int64_t nb, int64_t bytes,
               std::uintptr_t allow, int64_t k, std::uintptr_t distances, std::uintptr_t ids, std::uintptr_t scratch,
               size_t scratch_bytes, std::uintptr_t stream) {
  hamming_topk_cuda(at<const uint8_t>(queries), nq, at<const uint8_t>(database), nb, bytes, at<const uint8_t>(allow), k,
                    at<int32_t>(distances), at<int64_t>(ids), at<void>(scratch), scratch_bytes, at<void>(stream));
}
#endif

}  // namespace

void bind_hamming(py::module_& m) {
  const auto no_gil = py::call_guard<py::gil_scoped_release>();  // for what touches no Python object
  m.def("hamming_topk", &topk, "csrc/hamming.h: hamming_topk_cpu");
  m.def("hamming_range", &range, "csrc/hamming.h: RangeHits::search");
#ifdef FASTHASH_WITH_CUDA
  m.def("hamming_topk_cuda", &topk_cuda, no_gil, "csrc/cuda/hamming_topk.h");
  m.def("hamming_topk_cuda_scratch", &hamming_topk_cuda_scratch, "csrc/cuda/hamming_topk.h");
#endif
  py::class_<RangeHits>(m, "RangeHits")
      .def(
          "lims", [](const RangeHits& hits, std::uintptr_t out) { hits.lims(at<int64_t>(out)); }, no_gil)
      .def(
          "take",
          [](RangeHits& hits, std::uintptr_t distances, std::uintptr_t ids) {
            hits.take(at<int32_t>(distances), at<int64_t>(ids));
          },
          no_gil);
}

}  // namespace fasthash
