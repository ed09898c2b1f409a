// Losses that are sums over all pairs of two sets of rows, with both gradients, in one pass that writes no [n, m]
// matrix.
#pragma once

#include <cstdint>

#include "cpu/isa.h"

namespace fasthash {

// One set of rows, contiguous within a row.
struct PairOperand {
  const float* x;  // [rows, stride]
  int64_t rows;    // >= 1
  int64_t stride;  // floats from row to row, of x and of grad
  const int64_t* labels;
  int64_t label_stride;  // words from row to row
  const float* weights;  // [rows], factors of every pair of the row, or null
  float* grad;           // [rows, stride], written whole, or null when it is not wanted
};

// Whether a pair is similar comes from class ids (words == 0), label masks (words >= 1) or, when it is not null, dense.
struct PairLoss {
  PairOperand a, b;
  int64_t d;  // columns, >= 1
  int64_t words;
  const float* dense;    // [a.rows, b.rows] similarity or target, or null
  const float* weights;  // [a.rows, b.rows] factors of each pair, or null
  float factor;          // of the loss and of the gradients
  bool bf16_codes;       // every code is a bfloat16 number
};

// All three return the loss, summed over all pairs, bitwise the same for any number of threads. Extra memory: a copy of
// rows whose width is not a whole number of vectors (and of all rows for cosine), O(n + m), and partial gradients: at
// most 32 MiB, or 132 rows for each of up to 64 lanes where those take more (from 1,000 columns on).

// softplus(theta) - S theta, theta = scale * a . b. With `bf16`, all but small problems use its products: bf16_codes
// are multiplied as they are and the residual is rounded to bfloat16 (gradients within 3e-3, norm-wise); by AMX, all
// other codes and the residual are sums of two bfloat16 numbers (gradients within 1e-5).
double pairwise_nll_cpu(const PairLoss& problem, float scale, Isa isa, int threads, Bf16 bf16 = Bf16::kNone);

// (cos(a, b) - dense)^2; a row shorter than 1e-12 has cosine 0 and no gradient. Takes no weights.
double cosine_reconstruction_cpu(const PairLoss& problem, Isa isa, int threads);

// (S delta)^2 + ((1 - S) margin - min((1 - S) delta, margin))^2, delta = |a - b|. Takes no weights.
double margin_euclidean_cpu(const PairLoss& problem, float margin, Isa isa, int threads);

}  // namespace fasthash
