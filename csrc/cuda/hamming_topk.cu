// Exact top-k of a batch of queries, all of it queued on one stream without waiting for the device:
//
//   sample    the distances of a share of the codes, spread over the database: its k-th bounds the true one
//   scan      reads the database once and keeps every code within the bound of its query, in any order, in a buffer;
//             for larger k in a few parts, after each of which the bound is tightened
//   select    the k nearest of the buffer, in order
//   count     queries with more survivors than room are answered by two passes of counting, which the device decides:
//             the kernels are always queued, and return at once where no query needs them
//
// With k in the thousands or small databases only sample and count. Bounds, the sets of survivors and counts do not
// depend on the order of execution, and so neither does the result.
#include <algorithm>

#include "cuda/hamming_topk.h"
#include "cuda/hamming_topk_device.h"
#include "cuda/hamming_topk_plan.h"
#include "cuda/launch.h"

namespace fasthash {
namespace {

struct Scratch {
  Survivors survivors;
  Counters counters;
  uint32_t* histogram;  // [nq, bits + 1] of the sample; where the counters' totals come later
  int32_t* lost;
};

Scratch scratch_of(const TopKPlan& plan, void* scratch) {
  auto* memory = static_cast<uint8_t*>(scratch);
  auto* limits = reinterpret_cast<int32_t*>(memory + plan.limits_at);
  auto* lost = reinterpret_cast<int32_t*>(memory + plan.lost_at);
  auto* totals = reinterpret_cast<int64_t*>(memory + plan.totals_at);
  auto* hits = reinterpret_cast<uint32_t*>(memory + plan.hits_at);
  auto* found = reinterpret_cast<unsigned long long*>(memory + plan.found_at);
  const Survivors survivors{reinterpret_cast<uint64_t*>(memory + plan.keys_at), found, limits, plan.capacity};
  const Counters counters{reinterpret_cast<uint32_t*>(memory + plan.keys_at),
                          totals,
                          hits,
                          limits,
                          lost,
                          plan.chunk,
                          static_cast<int>(plan.chunks)};
  return {survivors, counters, reinterpret_cast<uint32_t*>(totals), lost};
}

void scan(TopKKernel kernel, const Codes& codes, const Part& part, const Survivors& to, cudaStream_t stream) {
  const auto run = kernel == TopKKernel::kWgmma ? scan_wgmma : kernel == TopKKernel::kMma ? scan_mma : scan_popcount;
  run(codes, part, to, stream);
}

void search_batch(TopKKernel kernel, const TopKPlan& plan, const Codes& codes, const Scratch& scratch,
                  const Output& out, cudaStream_t stream) {
  const int bits = codes.bytes * 8;
  const auto nq = static_cast<size_t>(codes.nq);
  const bool count_all = kernel == TopKKernel::kCount;
  check_cuda(cudaMemsetAsync(scratch.histogram, 0, nq * (bits + 1) * sizeof(uint32_t), stream), "hamming_topk reset");
  sample_distances(codes, make_part(0, plan.sample, codes.nb), scratch.histogram, stream);
  bound_limits(scratch.histogram, codes.nq, bits, out.k, scratch.survivors.limits, scratch.lost, count_all, stream);
  if (count_all) {
    clear_output(out, codes.nq, stream);
  } else {
    check_cuda(cudaMemsetAsync(scratch.survivors.counts, 0, nq * sizeof(uint64_t), stream), "hamming_topk reset");
    for (int first = 0, last; first < kPeriod; first = last) {
      last = std::min(std::max(first, plan.sample) * plan.growth, kPeriod);
      if (last == 0) last = kPeriod;
      if (first > 0) tighten_limits(scratch.survivors, codes.nq, bits, out.k, stream);
      scan(kernel, codes, make_part(first, last, codes.nb), scratch.survivors, stream);
    }
    select_survivors(scratch.survivors, codes.nq, bits, codes.nb, scratch.lost, out, stream);
  }
  for (int first = 0; first < codes.nq; first += static_cast<int>(plan.counted)) {
    Codes some = codes;
    Counters at = scratch.counters;
    some.queries += int64_t{first} * codes.bytes;
    some.nq = std::min(codes.nq - first, static_cast<int>(plan.counted));
    at.limits += first;
    count_and_emit(some, at, {out.distances + first * out.k, out.ids + first * out.k, out.k}, stream);
  }
}

}  // namespace

size_t hamming_topk_cuda_scratch(int64_t nq, int64_t nb, int64_t bytes, int64_t k) {
  return plan_topk(nq, nb, bytes, k).bytes;
}

const char* hamming_topk_cuda_kernel(int64_t nq, int64_t nb, int64_t bytes, int64_t k) {
  return name_of(choose_topk_kernel(nullptr, plan_topk(nq, nb, bytes, k), nq, nb, k));
}

void hamming_topk_cuda(const uint8_t* queries, int64_t nq, const uint8_t* database, int64_t nb, int64_t bytes, int bits,
                       const uint8_t* allow, int64_t k, int32_t* distances, int64_t* ids, void* scratch,
                       size_t scratch_bytes, void* stream, const char* kernel) {
  const TopKPlan plan = plan_topk(nq, nb, bytes, k);
  check_codes("hamming_topk_cuda", nq, nb, bytes, bits);
  check_argument("hamming_topk_cuda", scratch_bytes >= plan.bytes,
                 "scratch must have " + std::to_string(plan.bytes) + " bytes", static_cast<int64_t>(scratch_bytes));
  const TopKKernel chosen = choose_topk_kernel(kernel, plan, nq, nb, k);
  const Scratch at = scratch_of(plan, scratch);
  for (int64_t first = 0; first < nq; first += plan.batch) {
    const Codes codes{queries + first * bytes,
                      static_cast<int>(std::min(plan.batch, nq - first)),
                      database,
                      nb,
                      static_cast<int>(bytes),
                      bits,
                      allow};
    const Output out{distances + first * k, ids + first * k, k};
    search_batch(chosen, plan, codes, at, out, static_cast<cudaStream_t>(stream));
  }
}

}  // namespace fasthash
