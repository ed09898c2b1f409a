// Walks blocks of queries over the database: a run of tiles is loaded once for all queries of a block.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "cpu/hamming_histogram_kernels.h"
#include "cpu/line_buffer.h"
#include "hamming_histogram.h"

namespace fasthash {

// One thread's worker: begin, then take for each run in order of database index, then end; block after block.
class BlockWorker {
 public:
  virtual ~BlockWorker() = default;
  virtual void begin(int64_t first_query, int count) = 0;
  virtual void take(const Run& run) = 0;
  virtual void end() = 0;
};

// Largest block of queries that run_blocks forms.
constexpr int kBlockQueries = 32;

// False: interrupted. Rethrows what a worker threw.
bool run_blocks(const HammingEvaluation& evaluation, const std::function<std::unique_ptr<BlockWorker>()>& make_worker);

}  // namespace fasthash
