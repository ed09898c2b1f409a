#include "cpu/hamming_block.h"

#include <cstring>
#include <initializer_list>

#include "cpu/hamming_rows.h"
#include "cpu/hamming_sliced.h"

namespace fasthash {
namespace {

int64_t no_bytes(int64_t) { return 0; }
void prepare_nothing(const uint64_t*, int64_t, uint8_t*) {}
void set_nothing(int, int64_t, uint8_t*) {}

const uint64_t* load_nothing(const uint8_t*, int64_t, int64_t, uint64_t*) { return nullptr; }

int64_t tile_bytes(int64_t bytes) { return 8 * kTileStride * words_of(bytes); }

template <Isa kIsa>
const uint64_t* load_words(const uint8_t* codes, int64_t count, int64_t bytes, uint64_t* scratch) {
  if (bytes == 8 && count == kTileCodes && reinterpret_cast<uintptr_t>(codes) % alignof(uint64_t) == 0)
    return reinterpret_cast<const uint64_t*>(codes);
  tile_loader(kIsa)(codes, count, bytes, scratch);
  return scratch;
}

template <Isa kIsa>
int64_t scan_words(const QueryGroup& queries, const Block& block, uint16_t* near, uint64_t* masks) {
  const int words = words_of(block.bytes);
  const TileNear is_near = tile_near(kIsa, words);
  return scan_queries(queries, block, near, masks, [&](const uint64_t* query, int limit, uint64_t* mask) {
    return is_near(query, block.loaded, words, block.allow, limit, mask);
  });
}

struct Kernels {
  BlockKernel rows, popcount, sliced;
};

template <Isa kIsa>
Kernels make_kernels(decltype(BlockKernel::scan) rows, decltype(BlockKernel::load) load_sliced,
                     decltype(BlockKernel::scan) scan_sliced) {
  return {
      {"rows", no_bytes, no_bytes, prepare_nothing, set_nothing, load_nothing, rows},
      {"popcount", no_bytes, tile_bytes, prepare_nothing, set_nothing, load_words<kIsa>, scan_words<kIsa>},
      {"sliced", sliced_query_bytes, sliced_block_bytes, prepare_sliced, set_limit_sliced, load_sliced, scan_sliced}};
}

const Kernels& kernels_of(Isa isa) {
#if defined(__x86_64__)
  static const Kernels avx512 = make_kernels<Isa::kAvx512>(scan_rows_avx512, load_sliced_avx512, scan_sliced_avx512);
  static const Kernels avx2 = make_kernels<Isa::kAvx2>(scan_rows_avx2, load_sliced_avx2, scan_sliced_avx2);
  if (isa == Isa::kAvx512) return avx512;
  if (isa == Isa::kAvx2) return avx2;
#elif defined(__aarch64__)
  static const Kernels neon = make_kernels<Isa::kNeon>(scan_rows_scalar, load_sliced_neon, scan_sliced_neon);
  if (isa == Isa::kNeon) return neon;
#endif
  (void)isa;
  static const Kernels scalar = make_kernels<Isa::kScalar>(scan_rows_scalar, load_sliced_scalar, scan_sliced_scalar);
  return scalar;
}

// Codes of up to max_bytes: rows for fewer queries than `popcount`, popcount for fewer than `sliced`, else sliced.
struct Calibration {
  Isa isa;
  int64_t max_bytes;
  int64_t popcount, sliced;
};
constexpr Calibration kCalibration[] = {
#include "cpu/hamming_calibration.inc"
};

}  // namespace

const BlockKernel* find_block_kernel(Isa isa, const char* name) {
  const Kernels& kernels = kernels_of(isa);
  for (const BlockKernel* kernel : {&kernels.rows, &kernels.popcount, &kernels.sliced})
    if (std::strcmp(kernel->name, name) == 0) return kernel;
  return nullptr;
}

const BlockKernel& choose_block_kernel(Isa isa, int64_t bytes, int64_t queries, int64_t codes) {
  constexpr int64_t kFewCodes = 16 * kTileCodes;  // fewer do not repay the preparing of queries for the sliced kernel
  const Kernels& kernels = kernels_of(isa);
  for (const Calibration& row : kCalibration)
    if (row.isa == isa && bytes <= row.max_bytes)
      return queries < row.popcount                      ? kernels.rows
             : queries < row.sliced || codes < kFewCodes ? kernels.popcount
                                                         : kernels.sliced;
  return kernels.sliced;
}

BlockKeys block_keys(Isa isa) {
#if defined(__x86_64__)
  if (isa == Isa::kAvx512) return block_keys_avx512;
  if (isa == Isa::kAvx2) return block_keys_avx2;
#endif
  (void)isa;
  return block_keys_scalar;
}

}  // namespace fasthash
