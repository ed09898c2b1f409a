// csrc/cuda/hamming_topk.cu as a library for tests/native/test_hamming_kernels.py.
#include <cuda_runtime.h>

#include "cuda/launch.h"
// The kernels follow; nothing in them is changed.
#include "cuda/hamming_topk.cu"

// Returns null, or what was thrown.
extern "C" const char* hamming_topk(const uint8_t* queries, int64_t nq, const uint8_t* database, int64_t nb,
                                    int64_t bytes, const uint8_t* allow, int64_t k, int32_t* distances, int64_t* ids,
                                    void* scratch, int64_t scratch_bytes) {
  static std::string error;
  try {
    fasthash::hamming_topk_cuda(queries, nq, database, nb, bytes, allow, k, distances, ids, scratch,
                                static_cast<size_t>(scratch_bytes), nullptr);
  } catch (const std::exception& e) {
    error = e.what();
    return error.c_str();
  }
  return nullptr;
}

extern "C" int64_t hamming_topk_scratch(int64_t nq, int64_t nb, int64_t bytes, int64_t k) {
  return static_cast<int64_t>(fasthash::hamming_topk_cuda_scratch(nq, nb, bytes, k));
}
