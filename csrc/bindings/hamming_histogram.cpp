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

void stable_cuts(std::uintptr_t queries, int64_t nq, std::uintptr_t database, int64_t nb, int64_t bytes, int bits,
                 std::uintptr_t query_labels, std::uintptr_t database_labels, int words, int threads, int isa,
                 std::uintptr_t counts, std::uintptr_t relevant, std::uintptr_t ranks, int64_t rank_count,
                 std::uintptr_t hits, int64_t hit_count, std::uintptr_t rank_sums, std::uintptr_t rank_hits,
                 std::uintptr_t hit_sums) {
  const HammingEvaluation evaluation =
      make_evaluation(queries, nq, database, nb, bytes, bits, query_labels, database_labels, words, threads, isa);
  bool complete;
  {
    const py::gil_scoped_release no_gil;
    complete = hamming_stable_cuts_cpu(evaluation, at<const int64_t>(counts), at<const int64_t>(relevant),
                                       {at<const int64_t>(ranks), rank_count, at<const int64_t>(hits), hit_count},
                                       {at<double>(rank_sums), at<int64_t>(rank_hits), at<double>(hit_sums)});
  }
  if (!complete) throw py::error_already_set();
}

void graded_histogram(std::uintptr_t queries, int64_t nq, std::uintptr_t database, int64_t nb, int64_t bytes, int bits,
                      std::uintptr_t query_labels, std::uintptr_t database_labels, int words, int threads, int isa,
                      std::uintptr_t gains, int64_t grades, std::uintptr_t counts, std::uintptr_t relevant,
                      std::uintptr_t gained, std::uintptr_t totals) {
  const HammingEvaluation evaluation =
      make_evaluation(queries, nq, database, nb, bytes, bits, query_labels, database_labels, words, threads, isa);
  bool complete;
  {
    const py::gil_scoped_release no_gil;
    complete =
        hamming_graded_histogram_cpu(evaluation, {at<const double>(gains), grades, at<int64_t>(counts),
                                                  at<int64_t>(relevant), at<double>(gained), at<int64_t>(totals)});
  }
  if (!complete) throw py::error_already_set();
}

void rank_cut(std::uintptr_t n, std::uintptr_t r, std::uintptr_t n0, std::uintptr_t r0, std::uintptr_t places,
              std::uintptr_t before, std::uintptr_t gap, int64_t nq, int threads, std::uintptr_t expected,
              std::uintptr_t hit) {
  const RankCut cut{at<const int64_t>(n),      at<const int64_t>(r),     at<const int64_t>(n0), at<const int64_t>(r0),
                    at<const int64_t>(places), at<const double>(before), at<const double>(gap)};
  interruptible([&] { expected_rank_cut_cpu(cut, nq, threads, at<double>(expected), at<double>(hit)); });
}

void hit_cut(std::uintptr_t n, std::uintptr_t r, std::uintptr_t n0, std::uintptr_t r0, std::uintptr_t hits,
             std::uintptr_t place, std::uintptr_t gap, int64_t nq, int threads, std::uintptr_t expected) {
  const HitCut cut{at<const int64_t>(n),    at<const int64_t>(r),     at<const int64_t>(n0), at<const int64_t>(r0),
                   at<const int64_t>(hits), at<const int64_t>(place), at<const double>(gap)};
  interruptible([&] { expected_hit_cut_cpu(cut, nq, threads, at<double>(expected)); });
}

}  // namespace

void bind_hamming_histogram(py::module_& m) {
  m.def("hamming_histogram", &histogram, "csrc/hamming_histogram.h: hamming_histogram_cpu");
  m.def("hamming_stable_precision", &stable_precision, "csrc/hamming_histogram.h: hamming_stable_precision_cpu");
  m.def("hamming_stable_cuts", &stable_cuts, "csrc/hamming_histogram.h: hamming_stable_cuts_cpu");
  m.def("hamming_graded_histogram", &graded_histogram, "csrc/hamming_histogram.h: hamming_graded_histogram_cpu");
  m.def("expected_rank_cut", &rank_cut, "csrc/hamming_histogram.h: expected_rank_cut_cpu");
  m.def("expected_hit_cut", &hit_cut, "csrc/hamming_histogram.h: expected_hit_cut_cpu");
}

}  // namespace fasthash
