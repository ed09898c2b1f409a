#include <algorithm>
#include <cstring>

#include "cuda/hamming_topk_device.h"
#include "cuda/hamming_topk_plan.h"
#include "cuda/launch.h"

namespace fasthash {
namespace {

constexpr const char* kOp = "hamming_topk_cuda";
constexpr int64_t kBytes = int64_t{64} << 20;  // of the survivors or counters of a batch
constexpr int64_t kMaxBatch = 1024;            // queries
constexpr int64_t kRows = 128;                 // queries that a tile of the tensor cores has
constexpr int64_t kMinChunk = 4096, kMaxChunks = 4096;
constexpr int64_t kBusy = 256;  // chunks that keep the device busy where few queries have to be counted
constexpr int64_t kMaxK = 2147483647, kMaxSelect = 8192;  // of any kernel; keys that are sorted in shared memory
constexpr int64_t kMinCapacity = 4096;
constexpr int64_t kMinScan = 65536;  // codes: below, a scan has nothing to save
constexpr int kGrowth = 8;

// One rule a line: the first that fits is taken.
struct Rule {
  TopKKernel kernel;
  int64_t min_nq;
  int min_capability, max_capability;  // 10 * major + minor
};
constexpr Rule kRules[] = {
    {TopKKernel::kWgmma, 33, 90, 90},
    {TopKKernel::kMma, 17, 80, 90},
    {TopKKernel::kPopcount, 1, 0, 1000},
};
constexpr const char* kNames[] = {"count", "popcount", "mma", "wgmma"};  // in the order of TopKKernel

// Codes in the sample, so that k * growth or so of the next part survive; 0: it would be most of the database.
int sample_tiles(int64_t nb, int64_t k) {
  const int64_t wanted = std::max({nb / kPeriod, 32 * k, int64_t{16384}});
  const int64_t tiles = ceil_div(wanted * kPeriod, nb);
  return tiles > kPeriod / 4 ? 0 : static_cast<int>(tiles);
}

// Survivors to be expected are k times the growth in each scan, up to three times as many because distances are whole
// numbers.
int64_t survivor_capacity(int64_t nb, int64_t k, int sample, int* growth) {
  const int64_t at_once = k * kPeriod / std::max(sample, 1);
  *growth = at_once <= kMinCapacity ? kPeriod : kGrowth;
  int64_t scans = 1;
  for (int64_t seen = int64_t{std::max(sample, 1)} * kGrowth; seen < kPeriod; seen *= kGrowth) ++scans;
  const int64_t expected = at_once <= kMinCapacity ? at_once : k * kGrowth * scans;
  return std::clamp(4 * expected, std::max(kMinCapacity, std::min(k, nb)), std::max(kMinCapacity, nb));
}

}  // namespace

TopKPlan plan_topk(int64_t nq, int64_t nb, int64_t bytes, int64_t k) {
  check_codes(kOp, nq, nb, bytes, 8 * bytes);
  check_argument(kOp, nb < int64_t{1} << kIdBits, "nb must be below 2^50", nb);
  check_argument(kOp, k >= 1 && k <= kMaxK, "k must be 1 to 2147483647", k);
  const int64_t distances = bytes * 8 + 1, cells = kBytes / (4 * distances);
  const int64_t most_chunks = std::min(ceil_div(nb, kMinChunk), kMaxChunks);
  TopKPlan plan{};
  plan.growth = kPeriod;
  plan.sample = sample_tiles(nb, k);
  plan.batch = kMaxBatch;
  if (k <= kMaxSelect) {
    plan.capacity = survivor_capacity(nb, k, plan.sample, &plan.growth);
    const int64_t fits = kBytes / (8 * plan.capacity);
    plan.batch = std::clamp<int64_t>(fits >= kRows ? fits / kRows * kRows : fits, 1, kMaxBatch);
  }
  plan.batch = std::min(plan.batch, nq);
  plan.counted = std::min(plan.batch, cells / std::min(most_chunks, kBusy));
  plan.chunk = ceil_div(ceil_div(nb, std::min(cells / plan.counted, most_chunks)), 256) * 256;
  plan.chunks = ceil_div(nb, plan.chunk);
  size_t at = 0;
  const auto place = [&at](int64_t size) {
    const size_t here = at;
    at += static_cast<size_t>(ceil_div(size, 256) * 256);
    return here;
  };
  plan.keys_at = place(std::max(plan.counted * distances * plan.chunks * 4, plan.batch * plan.capacity * 8));
  plan.totals_at = place(std::max(plan.counted * distances * 8, plan.batch * distances * 4));
  plan.limits_at = place(plan.batch * 4);
  plan.hits_at = place(plan.counted * plan.chunks * 4);
  plan.found_at = place(plan.batch * 8);
  plan.lost_at = place(4);
  plan.bytes = at;
  return plan;
}

const char* name_of(TopKKernel kernel) { return kNames[static_cast<int>(kernel)]; }

TopKKernel choose_topk_kernel(const char* name, const TopKPlan& plan, int64_t nq, int64_t nb, int64_t k) {
  if (name == nullptr) {
    if (plan.capacity == 0 || plan.sample == 0 || nb < kMinScan) return TopKKernel::kCount;
    const int capability = current_device().capability;
    for (const Rule& rule : kRules)
      if (nq >= rule.min_nq && capability >= rule.min_capability && capability <= rule.max_capability &&
          (rule.kernel != TopKKernel::kWgmma || has_wgmma()))
        return rule.kernel;
    return TopKKernel::kCount;
  }
  for (const TopKKernel kernel : {TopKKernel::kCount, TopKKernel::kPopcount, TopKKernel::kMma, TopKKernel::kWgmma}) {
    if (std::strcmp(name, name_of(kernel)) != 0) continue;
    check_argument(kOp, kernel == TopKKernel::kCount || plan.capacity > 0,
                   std::string("k must be at most 8192 for the kernel ") + name, k);
    if (kernel == TopKKernel::kMma)
      check_argument(kOp, current_device().capability >= 80, "the kernel mma needs compute capability 8.0",
                     current_device().capability);
    if (kernel == TopKKernel::kWgmma)
      check_argument(kOp, has_wgmma(), "the kernel wgmma needs compute capability 9.0 and a build for 9.0a",
                     current_device().capability);
    return kernel;
  }
  throw std::invalid_argument(std::string(kOp) + ": kernel must be count, popcount, mma or wgmma, got " + name);
}

}  // namespace fasthash
