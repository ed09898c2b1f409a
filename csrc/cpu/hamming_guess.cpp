#include "cpu/hamming_guess.h"

#include <algorithm>
#include <cmath>

#include "cpu/count_bits.h"
#include "cpu/row_words.h"
#include "hamming_histogram.h"

namespace fasthash {
namespace {

constexpr int64_t kShare = 128;      // one code of so many is looked at
constexpr int64_t kMinQueries = 16;  // fewer do not repay the sample
constexpr int64_t kMinDatabase = 65536;
constexpr int64_t kMinCodesPerHit =
    64;                              // allowed codes for each one wanted: the nearer to all of them, the fewer saved
constexpr int64_t kRunBytes = 4096;  // the sample is made of runs: a page of a mapped file is read whole anyway
constexpr int64_t kBatch = 4096;     // queries whose histograms are held at once

int64_t count_allowed(const HammingSearch& search) {
  if (search.allow == nullptr) return search.nb;
  int64_t allowed = 0, at = 0;
  for (; at + 64 <= search.nb; at += 64) allowed += static_cast<int64_t>(count_bits(load_word(search.allow + at / 8)));
  for (; at < search.nb; ++at) allowed += search.allow[at / 8] >> (7 - at % 8) & 1;
  return allowed;
}

// Allowed codes of runs that lie evenly over the database.
std::vector<uint8_t> take_sample(const HammingSearch& search) {
  const int64_t run = std::max<int64_t>(kRunBytes / search.bytes, 1), step = run * kShare;
  std::vector<uint8_t> sample;
  sample.reserve(static_cast<size_t>((search.nb / step + 1) * run * search.bytes));
  const auto add = [&](int64_t from, int64_t to) {
    sample.insert(sample.end(), search.database + from * search.bytes, search.database + to * search.bytes);
  };
  for (int64_t start = 0; start < search.nb; start += step) {
    const int64_t end = std::min(start + run, search.nb);
    if (search.allow == nullptr) add(start, end);
    for (int64_t j = start; search.allow != nullptr && j < end; ++j)
      if (search.allow[j / 8] >> (7 - j % 8) & 1) add(j, j + 1);
  }
  return sample;
}

}  // namespace

bool guess_pays(const HammingSearch& search, int64_t k) {
  return search.nq >= kMinQueries && search.nb >= kMinDatabase && k <= search.nb / kMinCodesPerHit &&
         k <= count_allowed(search) / kMinCodesPerHit;
}

bool guess_limits(const HammingSearch& search, int64_t k, std::vector<int32_t>& limits) {
  const std::vector<uint8_t> sample = take_sample(search);
  const int bits = static_cast<int>(8 * search.bytes);
  limits.assign(static_cast<size_t>(search.nq), bits + 1);
  // As many of the sample as k codes of all have there, and four standard deviations more.
  const double share = static_cast<double>(k) / kShare;
  const auto rank = static_cast<int64_t>(share + 4 * std::sqrt(share) + 2);
  HammingEvaluation evaluation{};
  evaluation.database = sample.data();
  evaluation.nb = static_cast<int64_t>(sample.size()) / search.bytes;
  evaluation.bytes = search.bytes;
  evaluation.bits = bits;
  evaluation.threads = search.threads;
  evaluation.isa = search.isa;
  evaluation.interrupted = search.interrupted;
  const int64_t batch = std::min(kBatch, search.nq);
  std::vector<int64_t> counts(static_cast<size_t>(batch * (bits + 1))), relevant(counts.size());
  for (int64_t first = 0; first < search.nq; first += batch) {
    evaluation.queries = search.queries + first * search.bytes;
    evaluation.nq = std::min(batch, search.nq - first);
    if (!hamming_histogram_cpu(evaluation, counts.data(), relevant.data())) return false;
    for (int64_t q = 0; q < evaluation.nq; ++q) {
      int64_t nearer = 0;
      for (int d = 0; d <= bits && nearer < rank; ++d) {
        nearer += counts[q * (bits + 1) + d];
        if (nearer >= rank) limits[first + q] = d + 1;
      }
    }
  }
  return true;
}

}  // namespace fasthash
