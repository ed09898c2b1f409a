#include "hamming_histogram.h"

#include "bindings/bind.h"

namespace py = pybind11;

namespace fasthash {
namespace {

HammingEvaluation make_evaluation(std::uintptr_t queries, int64_t nq, std::uintptr_t database, int64_t nb,
                                  int64_t bytes, int bits, std::uintptr_t query_labels, std::uintptr_t database_labels,
                                  int words, int threads, int isa) {
  return {at<const uint8_t>(queries),
          nq,
          at<const uint8_t>(database),
          nb,
          bytes,
          bits,
          at<const uint64_t>(query_labels),
          at<const uint64_t>(database_labels),
          words,
          threads,
          static_cast<Isa>(isa),
          signal_raised};
}

void histogram(std::uintptr_t queries, int64_t nq, std::uintptr_t database, int64_t nb, int64_t bytes, int bits,
               std::uintptr_t query_labels, std::uintptr_t database_labels, int words, int threads, int isa,
               std::uintptr_t counts, std::uintptr_t relevant) {
  const HammingEvaluation evaluation =
      make_evaluation(queries, nq, database, nb, bytes, bits, query_labels, database_labels, words, threads, isa);
  bool complete;
  {
    const py::gil_scoped_release no_gil;
    complete = hamming_histogram_cpu(evaluation, at<int64_t>(counts), at<int64_t>(relevant));
  }
  if (!complete) throw py::error_already_set();
}

void stable_precision(std::uintptr_t queries, int64_t nq, std::uintptr_t database, int64_t nb, int64_t bytes, int bits,
                      std::uintptr_t query_labels, std::uintptr_t database_labels, int words, int threads, int isa,
                      std::uintptr_t counts, std::uintptr_t relevant, int64_t k, std::uintptr_t sums,
                      std::uintptr_t hits) {
  const HammingEvaluation evaluation =
      make_evaluation(queries, nq, database, nb, bytes, bits, query_labels, database_labels, words, threads, isa);
  bool complete;
  {
    const py::gil_scoped_release no_gil;
    complete = hamming_stable_precision_cpu(evaluation, at<const int64_t>(counts), at<const int64_t>(relevant), k,
                                            at<double>(sums), at<int64_t>(hits));
  }
  if (!complete) throw py::error_already_set();
}

}  // namespace

void bind_hamming_histogram(py::module_& m) {
  m.def("hamming_histogram", &histogram, "csrc/hamming_histogram.h: hamming_histogram_cpu");
  m.def("hamming_stable_precision", &stable_precision, "csrc/hamming_histogram.h: hamming_stable_precision_cpu");
}

}  // namespace fasthash
