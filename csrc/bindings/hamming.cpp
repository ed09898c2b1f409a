#include "hamming.h"

#include <memory>
#include <stdexcept>
#include <string>

#include "bindings/bind.h"
#include "cpu/hamming_block.h"

namespace py = pybind11;

namespace fasthash {
namespace {

// kernel: the name of a block kernel, or empty for the one that the calibration names.
HammingSearch make_search(std::uintptr_t queries, int64_t nq, std::uintptr_t database, int64_t nb, int64_t bytes,
                          std::uintptr_t allow, int threads, int isa, const std::string& kernel) {
  const auto set = static_cast<Isa>(isa);
  const BlockKernel* forced = kernel.empty() ? nullptr : find_block_kernel(set, kernel.c_str());
  if (!kernel.empty() && forced == nullptr) throw std::invalid_argument("no such Hamming kernel: " + kernel);
  return {at<const uint8_t>(queries),
          nq,
          at<const uint8_t>(database),
          nb,
          bytes,
          at<const uint8_t>(allow),
          threads,
          set,
          signal_raised,
          forced};
}

void topk(const HammingSearch& search, int64_t k, std::uintptr_t distances, std::uintptr_t ids) {
  bool complete;
  {
    const py::gil_scoped_release no_gil;
    complete = hamming_topk_cpu(search, k, at<int32_t>(distances), at<int64_t>(ids));
  }
  if (!complete) throw py::error_already_set();
}

std::unique_ptr<RangeHits> range(const HammingSearch& search, int radius) {
  auto hits = std::make_unique<RangeHits>();
  bool complete;
  {
    const py::gil_scoped_release no_gil;
    complete = hits->search(search, radius);
  }
  if (!complete) throw py::error_already_set();
  return hits;
}

}  // namespace

void bind_hamming(py::module_& m) {
  const auto no_gil = py::call_guard<py::gil_scoped_release>();  // for what touches no Python object
  m.attr("hamming_kernels") = py::make_tuple("rows", "popcount", "sliced");
  // The caller keeps the arrays alive.
  py::class_<HammingSearch>(m, "HammingSearch").def(py::init(&make_search));
  m.def("hamming_topk", &topk, "csrc/hamming.h: hamming_topk_cpu");
  m.def("hamming_range", &range, "csrc/hamming.h: RangeHits::search");
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
