// The pair losses with their AMX kernels over the software tiles of immintrin.h, for ctypes.
#include <immintrin.h>

#include <cstdint>

#include "cpu/pair_bf16_trial.h"
#include "pair_loss.h"

#define EXPORT extern "C" __attribute__((visibility("default")))

struct Side {
  const float* x;
  int64_t rows, stride;
  const int64_t* labels;
  int64_t label_stride;
  const float* weights;
  float* grad;
};

namespace {

fasthash::PairOperand operand(const Side& from) {
  return {from.x, from.rows, from.stride, from.labels, from.label_stride, from.weights, from.grad};
}

}  // namespace

EXPORT double pairwise_nll(const Side* a, const Side* b, int64_t d, int64_t words, const float* dense,
                           const float* weights, float factor, float scale, int bf16_codes, int threads) {
  const fasthash::PairLoss problem = {operand(*a), operand(*b), d, words, dense, weights, factor, bf16_codes != 0};
  return fasthash::pairwise_nll_cpu(problem, scale, fasthash::Isa::kAvx512, threads, fasthash::Bf16::kAmx);
}

// Whether the trial before AMX's first use passes where every product is `fault` times what it should be.
EXPORT int trial(float fault) {
  amx_emulator::fault = fault;
  const bool agrees = fasthash::amx_agrees_with_avx512();
  amx_emulator::fault = 1.0f;
  return agrees;
}

EXPORT long products() { return amx_emulator::products; }             // of the calling thread
EXPORT int configured() { return amx_emulator::configured ? 1 : 0; }  // likewise
