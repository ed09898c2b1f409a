#include "pair_loss.h"

#include <pybind11/stl.h>

#include "bindings/bind.h"

namespace py = pybind11;

namespace fasthash {
namespace {

// (rows' address, how many, stride in floats, labels' address or 0, words from row to row, weights' address or 0,
// gradient's address or 0)
using Operand = std::tuple<std::uintptr_t, int64_t, int64_t, std::uintptr_t, int64_t, std::uintptr_t, std::uintptr_t>;

PairOperand operand(const Operand& from) {
  const auto& [x, rows, stride, labels, label_stride, weights, grad] = from;
  return {at<const float>(x),       rows,           stride, at<const int64_t>(labels), label_stride,
          at<const float>(weights), at<float>(grad)};
}

// What all losses are told: both operands, columns, mask words (0: class ids), addresses of a dense similarity or
// target and of pair weights or 0.
using Problem = std::tuple<Operand, Operand, int64_t, int64_t, std::uintptr_t, std::uintptr_t, float>;

template <typename Loss>
double run(const Problem& from, Loss loss) {
  const auto& [a, b, d, words, dense, weights, factor] = from;
  const PairLoss problem = {operand(a), operand(b), d, words, at<const float>(dense), at<const float>(weights),
                            factor,     false};
  return interruptible([&] { return loss(problem); });
}

}  // namespace

void bind_pair_loss(py::module_& m) {
  m.def(
      "pairwise_nll",
      [](const Problem& from, float scale, int isa, int threads, int bf16, bool bf16_codes) {
        return run(from, [&](PairLoss problem) {
          problem.bf16_codes = bf16_codes;
          return pairwise_nll_cpu(problem, scale, static_cast<Isa>(isa), threads, static_cast<Bf16>(bf16));
        });
      },
      py::arg("problem"), py::arg("scale"), py::arg("isa"), py::arg("threads"), py::arg("bf16") = 0,
      py::arg("bf16_codes") = false);
  m.def("cosine_reconstruction", [](const Problem& from, int isa, int threads) {
    return run(from, [&](const PairLoss& problem) {
      return cosine_reconstruction_cpu(problem, static_cast<Isa>(isa), threads);
    });
  });
  m.def("margin_euclidean", [](const Problem& from, float margin, int isa, int threads) {
    return run(from, [&](const PairLoss& problem) {
      return margin_euclidean_cpu(problem, margin, static_cast<Isa>(isa), threads);
    });
  });
}

}  // namespace fasthash
