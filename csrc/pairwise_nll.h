// Pairwise negative log-likelihood of label similarity under code inner products, with both gradients, in one pass.
#pragma once

#include <cstdint>

#include "cpu/isa.h"

namespace fasthash {

// Loss sum_ij softplus(theta_ij) - S_ij theta_ij with theta = scale * a b^T, and its gradients. All arrays are
// contiguous. S comes from class ids (words == 0), label masks (words >= 1) or, when it is not null, sim.
struct PairwiseNll {
  const float* a;           // [n, d]
  const float* b;           // [m, d]
  int64_t n, m, d;          // all >= 1
  const int64_t* labels_a;  // [n] class ids or [n, words] masks
  const int64_t* labels_b;  // [m] class ids or [m, words] masks
  int64_t words;
  const float* sim;  // [n, m] or null
  float scale;
  float* grad_a;  // [n, d], or null when it is not wanted
  float* grad_b;  // [m, d], or null
};

// The loss, summed over all pairs. Bitwise the same for any number of threads. Extra memory: O(n + m) and at most about
// 32 MiB of partial gradients.
double pairwise_nll_cpu(const PairwiseNll& problem, Isa isa, int threads);

}  // namespace fasthash
