// Two codes to a vector, CNT on their bytes; see hamming_tile.h for the contract.
#include <arm_neon.h>

#include "cpu/hamming_tile.h"

namespace fasthash {
namespace {

constexpr int kVectors = 8;  // accumulators: 16 codes are decided together
constexpr int kCodes = 2 * kVectors;
constexpr int kWordsPerByte = 31;  // a byte holds the counts of 31 words: 31 * 8 = 248

// sums[v], lane i = distance to code 2 v + i.
inline void block_distances(const uint64_t* query, const uint64_t* codes, int words, uint64x2_t* sums) {
  for (int v = 0; v < kVectors; ++v) sums[v] = vdupq_n_u64(0);
  for (int start = 0; start < words; start += kWordsPerByte) {
    const int stop = words < start + kWordsPerByte ? words : start + kWordsPerByte;
    uint8x16_t bytes[kVectors];
    for (int v = 0; v < kVectors; ++v) bytes[v] = vdupq_n_u8(0);
    for (int w = start; w < stop; ++w) {
      const uint64x2_t word = vdupq_n_u64(query[w]);
      for (int v = 0; v < kVectors; ++v) {
        const uint64x2_t differ = veorq_u64(word, vld1q_u64(codes + w * kTileStride + 2 * v));
        bytes[v] = vaddq_u8(bytes[v], vcntq_u8(vreinterpretq_u8_u64(differ)));
      }
    }
    for (int v = 0; v < kVectors; ++v) sums[v] = vpadalq_u32(sums[v], vpaddlq_u16(vpaddlq_u8(bytes[v])));
  }
}

}  // namespace

void tile_distances_neon(const uint64_t* query, const uint64_t* tile, int words, uint16_t* out) {
  uint64x2_t sums[kVectors];
  for (int64_t start = 0; start < kTileCodes; start += kCodes) {
    block_distances(query, tile + start, words, sums);
    for (int v = 0; v < kVectors; ++v) {
      out[start + 2 * v] = static_cast<uint16_t>(vgetq_lane_u64(sums[v], 0));
      out[start + 2 * v + 1] = static_cast<uint16_t>(vgetq_lane_u64(sums[v], 1));
    }
  }
}

bool tile_near_neon(const uint64_t* query, const uint64_t* tile, int words, const uint64_t* allow, int limit,
                    uint64_t* mask) {
  const uint64x2_t bound = vdupq_n_u64(static_cast<uint64_t>(limit));
  uint64x2_t sums[kVectors];
  uint64_t found[kTileCodes / 64] = {}, any = 0;
  for (int block = 0; block < kTileCodes / kCodes; ++block) {
    const uint64_t allowed = allow[block / 4] >> (block % 4 * kCodes) & 0xffff;
    block_distances(query, tile + block * kCodes, words, sums);
    uint64x2_t less = vcltq_u64(sums[0], bound);
    for (int v = 1; v < kVectors; ++v) less = vorrq_u64(less, vcltq_u64(sums[v], bound));
    if (vmaxvq_u32(vreinterpretq_u32_u64(less)) == 0) continue;
    uint64_t nearer = 0;
    for (int v = 0; v < kVectors; ++v) {
      const uint64x2_t lanes = vcltq_u64(sums[v], bound);
      nearer |= ((vgetq_lane_u64(lanes, 0) & 1) | (vgetq_lane_u64(lanes, 1) & 2)) << (2 * v);
    }
    any |= nearer &= allowed;
    found[block / 4] |= nearer << (block % 4 * kCodes);
  }
  if (any != 0) __builtin_memcpy(mask, found, sizeof found);
  return any != 0;
}

}  // namespace fasthash
