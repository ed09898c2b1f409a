#include "cpu/pair_bf16_trial.h"

#include <cmath>
#include <cstdint>
#include <vector>

#include "pair_loss.h"

namespace fasthash {
namespace {

constexpr int64_t kRows = 150, kBank = 300, kColumns = 72;  // ragged in all three

struct Found {
  double loss;
  std::vector<float> a, b;
};

// Multiples of 1 / 8 below 2, which are bfloat16 numbers, and with `more` what makes them none.
std::vector<float> codes(int64_t rows, uint32_t seed, float more) {
  std::vector<float> x(static_cast<size_t>(rows * kColumns));
  for (float& value : x) {
    seed = seed * 1664525u + 1013904223u;
    value = (static_cast<float>(seed >> 27) - 15.5f + more) / 8.0f;
  }
  return x;
}

Found likelihood(Bf16 bf16, bool bf16_codes) {
  const float more = bf16_codes ? 0.5f : 0.4999f;
  const std::vector<float> a = codes(kRows, 1, more), b = codes(kBank, 2, more);
  std::vector<int64_t> ids(static_cast<size_t>(kBank));
  for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<int64_t>(i % 5);
  Found found{0, std::vector<float>(a.size()), std::vector<float>(b.size())};
  PairLoss problem{};
  problem.a = {a.data(), kRows, kColumns, ids.data(), 1, nullptr, found.a.data()};
  problem.b = {b.data(), kBank, kColumns, ids.data(), 1, nullptr, found.b.data()};
  problem.d = kColumns;
  problem.factor = 1.0f;
  problem.bf16_codes = bf16_codes;
  found.loss = pairwise_nll_cpu(problem, 0.05f, Isa::kAvx512, 1, bf16);
  return found;
}

// |x - y| <= limit |y|; false for NaN
bool near(const std::vector<float>& x, const std::vector<float>& y, double limit) {
  double difference = 0, size = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    difference += (double{x[i]} - y[i]) * (double{x[i]} - y[i]);
    size += double{y[i]} * y[i];
  }
  return std::sqrt(difference) <= limit * std::sqrt(size);
}

bool agrees(bool bf16_codes, double loss_limit, double limit) {
  const Found tiles = likelihood(Bf16::kAmx, bf16_codes), vectors = likelihood(Bf16::kNone, bf16_codes);
  return std::fabs(tiles.loss - vectors.loss) <= loss_limit * std::fabs(vectors.loss) &&
         near(tiles.a, vectors.a, limit) && near(tiles.b, vectors.b, limit);
}

}  // namespace

bool amx_agrees_with_avx512() { return agrees(false, 1e-5, 2e-5) && agrees(true, 1e-5, 1e-2); }

Bf16Support trusted_bf16() {
  static const Bf16Support support = [] {
    const Bf16Support found = bf16_support();
    if (found.best != Bf16::kAmx || amx_agrees_with_avx512()) return found;
    return Bf16Support{Bf16::kAvx512, "a trial of AMX disagreed with AVX-512"};
  }();
  return support;
}

}  // namespace fasthash
