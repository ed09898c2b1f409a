// Expectations over a random order of the items at one distance, where a cut falls among them: sums over how many
// relevant items the cut keeps, or over where the last of them stands. Weights are multiplied up from the likeliest
// value in both directions until nothing is left of them: no factorial, no digit lost, no memory.
#include <algorithm>
#include <cmath>

#include "cpu/run_on_threads.h"
#include "hamming_histogram.h"

namespace fasthash {
namespace {

constexpr int64_t kTogether = 16;  // queries a task: some take a hundred times as long as others
// Of the likeliest value's weight. Both distributions are log-concave: what follows falls faster and faster.
constexpr double kNothing = 1e-22;

// A sum that keeps what each addition rounds off (Kahan).
struct Sum {
  double value = 0, lost = 0;
  void add(double x) {
    const double y = x - lost, t = value + y;
    lost = (t - value) - y;
    value = t;
  }
};

// How many of the r relevant items are among t drawn from n: hypergeometric.
void cut_by_rank(const RankCut& cut, int64_t q, double* expected, double* hit) {
  const int64_t n = cut.n[q], r = cut.r[q], t = cut.places[q], r0 = cut.r0[q];
  const int64_t low = std::max<int64_t>(0, t - (n - r)), high = std::min(r, t);
  const auto likeliest = static_cast<int64_t>((t + 1.0) * (r + 1.0) / (n + 2.0));
  const int64_t mode = std::clamp(likeliest, low, high);
  // t places in random order: what each hit adds by itself, and each ordered pair of them.
  const double once = (r0 + 1) * cut.gap[q] / t;
  const double twice = t > 1 ? (t - (cut.n0[q] + 1) * cut.gap[q]) / (static_cast<double>(t) * (t - 1)) : 0;
  Sum weights, values;
  double none = 0;
  const auto take = [&](int64_t h, double weight) {
    weights.add(weight);
    if (r0 + h == 0)
      none = weight;
    else
      values.add(weight * (cut.before[q] + h * (once + (h - 1) * twice)) / (r0 + h));
  };
  double weight = 1;
  take(mode, weight);
  for (int64_t h = mode; h < high && weight > kNothing; ++h) {
    weight *= static_cast<double>(r - h) * (t - h) / (static_cast<double>(h + 1) * (n - r - t + h + 1));
    take(h + 1, weight);
  }
  weight = 1;
  for (int64_t h = mode; h > low && weight > kNothing; --h) {
    weight *= static_cast<double>(h) * (n - r - t + h) / (static_cast<double>(r - h + 1) * (t - h + 1));
    take(h - 1, weight);
  }
  *expected = values.value / weights.value;
  *hit = 1 - none / weights.value;
}

// Where the s-th relevant item stands among n of which r > s are relevant: negative hypergeometric. The s - 1 before it
// are in random order among the places before its own.
double cut_by_hits(const HitCut& cut, int64_t q) {
  const int64_t n = cut.n[q], r = cut.r[q], s = cut.hits[q], n0 = cut.n0[q], r0 = cut.r0[q];
  const int64_t low = s, high = n - r + s, mode = cut.place[q];
  Sum weights, values;
  const auto take = [&](int64_t place, double gap, double weight) {
    const double before = static_cast<double>(place - 1), others = static_cast<double>(s - 1);
    double value = static_cast<double>(r0 + s) / static_cast<double>(n0 + place);
    if (s > 2) {
      const double pairs = (others - 1) * (before - static_cast<double>(n0 + 1) * gap);
      value += others * (static_cast<double>(r0 + 1) * gap * (before - 1) + pairs) / (before * (before - 1));
    } else if (s == 2) {
      value += static_cast<double>(r0 + 1) * gap / before;
    }
    weights.add(weight);
    values.add(weight * value);
  };
  double weight = 1;
  Sum gap;  // 1 / (n0 + 1) + .. + 1 / (n0 + place - 1)
  gap.add(cut.gap[q]);
  take(mode, gap.value, weight);
  for (int64_t place = mode; place < high && weight > kNothing; ++place) {
    weight *= static_cast<double>(place) * (high - place) / (static_cast<double>(place - s + 1) * (n - place));
    gap.add(1.0 / static_cast<double>(n0 + place));
    take(place + 1, gap.value, weight);
  }
  weight = 1;
  gap = Sum();
  gap.add(cut.gap[q]);
  for (int64_t place = mode; place > low && weight > kNothing; --place) {
    weight *= static_cast<double>(place - s) * (n - place + 1) / (static_cast<double>(place - 1) * (high - place + 1));
    gap.add(-1.0 / static_cast<double>(n0 + place - 1));
    take(place - 1, gap.value, weight);
  }
  return values.value / weights.value;
}

template <typename One>
void each_query(int64_t nq, int threads, const One& one) {
  run_tasks((nq + kTogether - 1) / kTogether, threads, [&](int64_t task, int) {
    const int64_t stop = std::min(nq, (task + 1) * kTogether);
    for (int64_t q = task * kTogether; q < stop; ++q) one(q);
  });
}

}  // namespace

void expected_rank_cut_cpu(const RankCut& cut, int64_t nq, int threads, double* expected, double* hit) {
  each_query(nq, threads, [&](int64_t q) { cut_by_rank(cut, q, expected + q, hit + q); });
}

void expected_hit_cut_cpu(const HitCut& cut, int64_t nq, int threads, double* expected) {
  each_query(nq, threads, [&](int64_t q) { expected[q] = cut_by_hits(cut, q); });
}

}  // namespace fasthash
