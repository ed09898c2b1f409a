#include "cpu/hamming_guess.h"

#include <algorithm>
#include <cmath>

#include "cpu/count_bits.h"
#include "cpu/hamming_scan.h"
#include "cpu/row_words.h"
#include "hamming_histogram.h"

namespace fasthash {
namespace {

constexpr int64_t kShare = 128;                        // one code of so many is looked at
constexpr int64_t kSampleBytes = int64_t{8} << 20;     // at most: of a larger database a smaller share
constexpr int64_t kRunBytes = 4096;                    // the sample is made of runs: a page is read whole anyway ...
constexpr int64_t kMinRuns = 64;                       // ... shorter ones where these would be fewer
constexpr int64_t kHistogramBytes = int64_t{8} << 20;  // of as many queries as are held at once
constexpr int64_t kMinQueries = 16;                    // fewer do not repay the sample,
constexpr int64_t kMinHits = 32;                       // nor does a smaller k,
constexpr int64_t kMinDatabase = 16384;                // nor do fewer allowed codes
constexpr int64_t kMinCodesPerHit = 2;                 // allowed codes for each one wanted: of more most are accepted

int64_t count_allowed(const HammingSearch& search) {
  if (search.allow == nullptr) return search.nb;
  int64_t allowed = 0, at = 0;
  for (; at + 64 <= search.nb; at += 64) allowed += static_cast<int64_t>(count_bits(load_word(search.allow + at / 8)));
  for (; at < search.nb; ++at) allowed += search.allow[at / 8] >> (7 - at % 8) & 1;
  return allowed;
}

struct Sample {
  std::vector<uint8_t> codes;  // those of its rows that are allowed
  int64_t rows = 0;
};

// One run in each of as many equal stretches of the database.
Sample take_sample(const HammingSearch& search) {
  const int64_t share = std::max(kShare, search.nb * search.bytes / kSampleBytes);
  const int64_t longest = std::max<int64_t>(kRunBytes / search.bytes, 1);
  const int64_t run = std::clamp<int64_t>(search.nb / (share * kMinRuns), 1, longest);
  Sample sample;
  const auto add = [&](int64_t from, int64_t to) {
    sample.codes.insert(sample.codes.end(), search.database + from * search.bytes, search.database + to * search.bytes);
  };
  const int64_t step = run * share;
  for (int64_t i = 0; i * step < search.nb; ++i) {
    const uint64_t jump = static_cast<uint64_t>(i) * 0x9e3779b97f4a7c15u >> 32;  // codes may come in a rhythm
    const int64_t from = i * step + static_cast<int64_t>(jump % static_cast<uint64_t>(step - run + 1));
    const int64_t begin = std::min(from, search.nb), end = std::min(from + run, search.nb);
    sample.rows += end - begin;
    if (search.allow == nullptr) add(begin, end);
    for (int64_t j = begin; search.allow != nullptr && j < end; ++j)
      if (search.allow[j / 8] >> (7 - j % 8) & 1) add(j, j + 1);
  }
  return sample;
}

}  // namespace

bool guess_pays(const HammingSearch& search, int64_t k) {
  if (search.nq < kMinQueries || search.nb < kMinDatabase || k < kMinHits) return false;
  const int64_t allowed = count_allowed(search);
  return allowed >= kMinDatabase && k <= allowed / kMinCodesPerHit;
}

bool guess_limits(const HammingSearch& search, int64_t k, std::vector<int32_t>& limits) {
  const Sample sample = take_sample(search);
  const int bits = static_cast<int>(8 * search.bytes);
  limits.resize(static_cast<size_t>(search.nq));
  for (int64_t q = 0; q < search.nq; ++q) limits[q] = first_limit(search, q);
  // As many of the sample as k codes of all have there, and four standard deviations more.
  const double expected = static_cast<double>(k) * static_cast<double>(sample.rows) / static_cast<double>(search.nb);
  const auto rank = static_cast<int64_t>(expected + 4 * std::sqrt(expected) + 2);
  HammingEvaluation evaluation{};
  evaluation.database = sample.codes.data();
  evaluation.nb = static_cast<int64_t>(sample.codes.size()) / search.bytes;
  evaluation.bytes = search.bytes;
  evaluation.bits = bits;
  evaluation.threads = search.threads;
  evaluation.isa = search.isa;
  evaluation.interrupted = search.interrupted;
  const int64_t batch = std::clamp<int64_t>(kHistogramBytes / (16 * (bits + 1)), 1, search.nq);
  std::vector<int64_t> counts(static_cast<size_t>(batch * (bits + 1))), relevant(counts.size());
  for (int64_t first = 0; first < search.nq; first += batch) {
    evaluation.queries = search.queries + first * search.bytes;
    evaluation.nq = std::min(batch, search.nq - first);
    if (!hamming_histogram_cpu(evaluation, counts.data(), relevant.data())) return false;
    for (int64_t q = 0; q < evaluation.nq; ++q) {
      int64_t nearer = 0;
      for (int d = 0; d <= bits && nearer < rank; ++d) {
        nearer += counts[q * (bits + 1) + d];
        if (nearer >= rank) limits[first + q] = std::min(limits[first + q], d + 1);
      }
    }
  }
  return true;
}

}  // namespace fasthash
