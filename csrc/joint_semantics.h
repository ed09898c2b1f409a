// Joint semantics (DJSRH): codes whose cosines rebuild an affinity of two modalities' features, with both gradients.
#pragma once

#include <cstdint>

#include "cpu/isa.h"

namespace fasthash {

// The fused affinity S = beta S_image + (1 - beta) S_text of m items, S_image the cosines between rows of features,
// mapped to 2 S - 1 when affine. All matrices are contiguous.
struct JointTeacher {
  const float* affinity;  // S of n items [n, n], symmetric; or null, then it follows from the features
  const float* image;     // [n, p_image] features; not read where affinity is given
  const float* text;      // [n, p_text]
  int64_t p_image, p_text;
  int64_t n, m;          // all >= 1
  const int64_t* index;  // [m] the items' rows, 0 .. n - 1 each; null: all, m == n
  float beta;
  bool affine;
  bool unit;  // rows of features have length 1 or 0; else they are divided by their length
};

// With u, v the normalised codes and T = mu [(1 - eta) S + (eta / m) S S]: the mean over the m x m entries of
// (u v^T - T)^2 + lambda1 (u u^T - T)^2 + lambda2 (v v^T - T)^2.
struct JointCodes {
  const float* image;  // [m, d]
  const float* text;   // [m, d]
  int64_t d;
  double eta, mu, lambda1, lambda2;
  const double* moments;  // traces of S^2, S^3, S^4 of these items (with eta 0 the first alone), or null: computed
  float* grad_image;      // [m, d], or null when it is not wanted
  float* grad_text;       // [m, d], or null
};

// The results are bitwise the same for any number of threads. An index out of range throws std::invalid_argument.

// Up to 128 items: one pass over m x m matrices in the cache. Beyond, S is multiplied by the codes, never by itself,
// but for the moments. Without affinity S is made only where m <= p_image + p_text; else memory and time are linear in
// m.
double joint_semantics_loss_cpu(const JointTeacher& teacher, const JointCodes& codes, Isa isa, int threads);

// T [m, m]
void joint_semantics_affinity_cpu(const JointTeacher& teacher, double eta, double mu, float* target, Isa isa,
                                  int threads);

// traces of S^2 and, with products, of S^3 and S^4 (else 0): in m^3 operations, or m r^2 + r^3 where r = p_image +
// p_text
// + 1 is less than m
void joint_semantics_moments_cpu(const JointTeacher& teacher, bool products, double* moments, Isa isa, int threads);

}  // namespace fasthash
