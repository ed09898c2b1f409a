#include "multi_index.h"

#include <pybind11/stl.h>

#include <memory>
#include <tuple>

#include "bindings/bind.h"

namespace py = pybind11;

namespace fasthash {
namespace {

// start, width, and the addresses of offsets, rows and codes
using TableTuple = std::tuple<int, int, std::uintptr_t, std::uintptr_t, std::uintptr_t>;

// The caller keeps the arrays alive.
struct TableList {
  explicit TableList(const std::vector<TableTuple>& tuples) {
    for (const auto& [start, width, offsets, rows, codes] : tuples)
      tables.push_back(
          {start, width, at<const uint32_t>(offsets), at<const uint32_t>(rows), at<const uint64_t>(codes)});
  }
  std::vector<SubstringTable> tables;
};

void build(std::uintptr_t codes, int64_t nb, int64_t bytes, int start, int width, int threads, std::uintptr_t scratch,
           std::uintptr_t offsets, std::uintptr_t rows, std::uintptr_t copies) {
  const TableBuild build = {at<const uint8_t>(codes), nb, bytes, start, width, threads, signal_raised,
                            at<uint64_t>(scratch)};
  bool complete;
  {
    const py::gil_scoped_release no_gil;
    complete = multi_index_build_cpu(build, at<uint32_t>(offsets), at<uint32_t>(rows), at<uint64_t>(copies));
  }
  if (!complete) throw py::error_already_set();
}

MultiIndexStats topk(const HammingSearch& search, const TableList& list, double patience, int64_t k,
                     std::uintptr_t distances, std::uintptr_t ids) {
  const SubstringTables tables{list.tables, patience};
  MultiIndexStats stats;
  bool complete;
  {
    const py::gil_scoped_release no_gil;
    complete = multi_index_topk_cpu(search, tables, k, at<int32_t>(distances), at<int64_t>(ids), &stats);
  }
  if (!complete) throw py::error_already_set();
  return stats;
}

std::tuple<std::unique_ptr<MultiRangeHits>, MultiIndexStats> range(const HammingSearch& search, const TableList& list,
                                                                   double patience, int radius) {
  const SubstringTables tables{list.tables, patience};
  auto hits = std::make_unique<MultiRangeHits>();
  MultiIndexStats stats;
  bool complete;
  {
    const py::gil_scoped_release no_gil;
    complete = hits->search(search, tables, radius, &stats);
  }
  if (!complete) throw py::error_already_set();
  return {std::move(hits), stats};
}

}  // namespace

void bind_multi_index(py::module_& m) {
  py::class_<MultiIndexStats>(m, "MultiIndexStats")
      .def_readonly("by_tables", &MultiIndexStats::by_tables)
      .def_readonly("by_scan", &MultiIndexStats::by_scan)
      .def_readonly("buckets", &MultiIndexStats::buckets)
      .def_readonly("codes", &MultiIndexStats::codes);
  py::class_<TableList>(m, "SubstringTables").def(py::init<const std::vector<TableTuple>&>());
  py::class_<MultiRangeHits, RangeHits>(m, "MultiRangeHits");
  m.def("multi_index_build", &build, "csrc/multi_index.h: multi_index_build_cpu");
  m.def("multi_index_topk", &topk, "csrc/multi_index.h: multi_index_topk_cpu");
  m.def("multi_index_range", &range, "csrc/multi_index.h: MultiRangeHits::search");
}

}  // namespace fasthash
