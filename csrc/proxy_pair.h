// The loss group of proxies and label pairs (DCGH, DSPH) with all gradients, in one call.
#pragma once

#include <cstdint>

#include "cpu/isa.h"

namespace fasthash {

// All arrays are contiguous. Cosines are of rows; a row shorter than 1e-12 has cosine 0 and no gradient.
struct ProxyPair {
  const float* x;         // [m, d]
  const float* y;         // [m, d]
  const float* proxies;   // [classes, d]
  const int64_t* labels;  // [m, words] masks: class k is bit k % 64 of word k / 64
  int64_t m, d, classes, words;
  float threshold;                                 // that cosines of dissimilar rows may reach
  float negative_pairs, positive_pairs, variance;  // weights
  bool relevant;                                   // variance over a row's own classes instead of all
  float* results;  // [6]: proxy positive, proxy negative, positive pairs, negative pairs, variance, and the loss
  float* grad_x;   // [m, d], or null, then the others are null too
  float* grad_y;
  float* grad_proxies;  // [classes, d]
};

// Bitwise the same for any number of threads. Extra memory: O((m + classes) d).
void proxy_pair_cpu(const ProxyPair& problem, Isa isa, int threads);

}  // namespace fasthash
