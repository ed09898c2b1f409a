#include "cross_attention.h"

#include <tuple>

#include "bindings/bind.h"

namespace fasthash {
namespace {

// regions, words and their masks; images, regions, captions, words, d; both directions; leak
using Problem = std::tuple<std::uintptr_t, std::uintptr_t, std::uintptr_t, std::uintptr_t, int64_t, int64_t, int64_t,
                           int64_t, int64_t, float, float, float, float, float, float, float>;

CrossAttention problem_of(const Problem& p) {
  return {at<const float>(std::get<0>(p)),
          at<const float>(std::get<1>(p)),
          at<const uint8_t>(std::get<2>(p)),
          at<const uint8_t>(std::get<3>(p)),
          std::get<4>(p),
          std::get<5>(p),
          std::get<6>(p),
          std::get<7>(p),
          std::get<8>(p),
          {std::get<9>(p), std::get<10>(p), std::get<11>(p)},
          {std::get<12>(p), std::get<13>(p), std::get<14>(p)},
          std::get<15>(p)};
}

}  // namespace

void bind_cross_attention(pybind11::module_& m) {
  m.def(
      "cross_attention_score",
      [](const Problem& problem, std::uintptr_t scores, int isa, int threads) {
        interruptible(
            [&] { cross_attention_score_cpu(problem_of(problem), at<float>(scores), static_cast<Isa>(isa), threads); });
      },
      "Writes the scores of all pairs.");
  m.def(
      "cross_attention_score_backward",
      [](const Problem& problem, std::uintptr_t grad, std::uintptr_t grad_regions, std::uintptr_t grad_words, int isa,
         int threads) {
        interruptible([&] {
          cross_attention_score_backward_cpu(problem_of(problem), at<const float>(grad), at<float>(grad_regions),
                                             at<float>(grad_words), static_cast<Isa>(isa), threads);
        });
      },
      "Writes the gradients whose address is not 0.");
}

}  // namespace fasthash
