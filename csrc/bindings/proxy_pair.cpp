#include "proxy_pair.h"

#include "bindings/bind.h"

namespace fasthash {

void bind_proxy_pair(pybind11::module_& m) {
  m.def(
      "proxy_pair",
      [](std::uintptr_t x, std::uintptr_t y, std::uintptr_t proxies, std::uintptr_t labels, int64_t rows, int64_t d,
         int64_t classes, int64_t words, float threshold, float negative_pairs, float positive_pairs, float variance,
         bool relevant, std::uintptr_t results, std::uintptr_t grad_x, std::uintptr_t grad_y,
         std::uintptr_t grad_proxies, int isa, int threads) {
        const ProxyPair problem{at<const float>(x),
                                at<const float>(y),
                                at<const float>(proxies),
                                at<const int64_t>(labels),
                                rows,
                                d,
                                classes,
                                words,
                                threshold,
                                negative_pairs,
                                positive_pairs,
                                variance,
                                relevant,
                                at<float>(results),
                                at<float>(grad_x),
                                at<float>(grad_y),
                                at<float>(grad_proxies)};
        interruptible([&] { proxy_pair_cpu(problem, static_cast<Isa>(isa), threads); });
      },
      "Writes five terms and the loss to results, and the three gradients unless their addresses are 0.");
}

}  // namespace fasthash
