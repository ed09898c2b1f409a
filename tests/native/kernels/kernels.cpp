// Every block kernel of this machine's instruction sets against counting bits one by one: for machines and instruction
// sets that Python does not run on here (another architecture under an emulator, a sanitizer build).
//
// Prints what differs and returns 1, or prints how many searches agreed.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <vector>

#include "cpu/hamming_block.h"
#include "hamming.h"

namespace {

using fasthash::BlockKernel;
using fasthash::HammingSearch;
using fasthash::Isa;

struct Problem {
  int64_t nq, nb, bytes;
  std::vector<uint8_t> queries, database, allow;
};

Problem make_problem(int64_t nq, int64_t nb, int64_t bytes, bool filtered, std::mt19937& random) {
  Problem p{nq, nb, bytes, std::vector<uint8_t>(nq * bytes), std::vector<uint8_t>(nb * bytes), {}};
  for (auto& byte : p.queries) byte = static_cast<uint8_t>(random());
  for (auto& byte : p.database) byte = static_cast<uint8_t>(random());
  for (int64_t j = nb / 2; j < nb; ++j)  // ties
    std::copy_n(&p.database[random() % (nb / 2 + 1) * bytes], bytes, &p.database[j * bytes]);
  std::copy_n(p.database.begin(), bytes, p.queries.begin());
  if (filtered)
    for (int64_t j = 0; j < (nb + 7) / 8; ++j) p.allow.push_back(static_cast<uint8_t>(random()));
  return p;
}

std::vector<std::pair<int, int64_t>> ranking(const Problem& p, int64_t q) {
  std::vector<std::pair<int, int64_t>> found;
  for (int64_t j = 0; j < p.nb; ++j) {
    if (!p.allow.empty() && (p.allow[j / 8] >> (7 - j % 8) & 1) == 0) continue;
    int distance = 0;
    for (int64_t b = 0; b < p.bytes; ++b)
      for (int x = p.queries[q * p.bytes + b] ^ p.database[j * p.bytes + b]; x != 0; x &= x - 1) ++distance;
    found.emplace_back(distance, j);
  }
  std::sort(found.begin(), found.end());
  return found;
}

bool same_topk(const Problem& p, const HammingSearch& search, int64_t k) {
  std::vector<int32_t> distances(p.nq * k);
  std::vector<int64_t> ids(p.nq * k);
  fasthash::hamming_topk_cpu(search, k, distances.data(), ids.data());
  for (int64_t q = 0; q < p.nq; ++q) {
    const auto want = ranking(p, q);
    for (int64_t i = 0; i < k; ++i) {
      const bool there = i < static_cast<int64_t>(want.size());
      if (distances[q * k + i] != (there ? want[i].first : fasthash::kNoDistance)) return false;
      if (ids[q * k + i] != (there ? want[i].second : fasthash::kNoId)) return false;
    }
  }
  return true;
}

bool same_range(const Problem& p, const HammingSearch& search, int radius) {
  fasthash::RangeHits hits;
  hits.search(search, radius);
  std::vector<int64_t> lims(p.nq + 1);
  hits.lims(lims.data());
  std::vector<int32_t> distances(lims.back());
  std::vector<int64_t> ids(lims.back());
  hits.take(distances.data(), ids.data());
  for (int64_t q = 0; q < p.nq; ++q) {
    int64_t at = lims[q];
    for (const auto& [distance, id] : ranking(p, q)) {
      if (distance > radius) break;
      if (at == lims[q + 1] || distances[at] != distance || ids[at] != id) return false;
      ++at;
    }
    if (at != lims[q + 1]) return false;
  }
  return true;
}

}  // namespace

int main() {
  std::mt19937 random(1);
  const Isa best = fasthash::best_isa();
  std::vector<Isa> sets{Isa::kScalar};
  if (best == Isa::kNeon) sets.push_back(best);
  if (best == Isa::kAvx2 || best == Isa::kAvx512) sets.push_back(Isa::kAvx2);
  if (best == Isa::kAvx512) sets.push_back(best);
  int done = 0;
  for (const int64_t bytes : {1, 2, 3, 4, 5, 7, 8, 9, 12, 16, 23, 32, 33, 40, 64, 65, 100, 128, 300, 512})
    for (const int64_t nb : {1, 511, 513, 1100})
      for (const bool filtered : {false, true}) {
        const Problem p = make_problem(3, nb, bytes, filtered, random);
        for (const Isa isa : sets)
          for (const char* name : {"rows", "popcount", "sliced"}) {
            const HammingSearch search{p.queries.data(),
                                       p.nq,
                                       p.database.data(),
                                       p.nb,
                                       p.bytes,
                                       filtered ? p.allow.data() : nullptr,
                                       1,
                                       isa,
                                       {},
                                       fasthash::find_block_kernel(isa, name)};
            if (!same_topk(p, search, 9) || !same_range(p, search, static_cast<int>(4 * bytes - 1))) {
              std::printf("set %d, kernel %s, %ld codes of %ld bytes%s: not the hits of brute force\n",
                          static_cast<int>(isa), name, static_cast<long>(nb), static_cast<long>(bytes),
                          filtered ? ", filtered" : "");
              return 1;
            }
            done += 2;
          }
      }
  std::printf("%d searches agree, %d instruction sets\n", done, static_cast<int>(sets.size()));
  return 0;
}
