#include "pairwise_nll.h"

#include "bindings/bind.h"

namespace fasthash {

void bind_pairwise_nll(pybind11::module_& m) {
  m.def(
      "pairwise_nll",
      [](std::uintptr_t a, std::uintptr_t b, int64_t n, int64_t rows_b, int64_t d, std::uintptr_t labels_a,
         std::uintptr_t labels_b, int64_t words, std::uintptr_t sim, float scale, std::uintptr_t grad_a,
         std::uintptr_t grad_b, int isa, int threads) {
        const PairwiseNll problem{at<const float>(a),
                                  at<const float>(b),
                                  n,
                                  rows_b,
                                  d,
                                  at<const int64_t>(labels_a),
                                  at<const int64_t>(labels_b),
                                  words,
                                  at<const float>(sim),
                                  scale,
                                  at<float>(grad_a),
                                  at<float>(grad_b)};
        pybind11::gil_scoped_release release;
        return pairwise_nll_cpu(problem, static_cast<Isa>(isa), threads);
      },
      "Loss in nats, summed over all pairs; writes the gradients whose address is not 0.");
}

}  // namespace fasthash
