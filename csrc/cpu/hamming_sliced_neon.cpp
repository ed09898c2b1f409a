// 128 codes to a vector; see hamming_sliced.h.
#include <arm_neon.h>

#include "cpu/hamming_sliced.h"

namespace fasthash {
namespace {

typedef uint64x2_t Lanes;

inline Lanes load(const void* from) { return vreinterpretq_u64_u8(vld1q_u8(static_cast<const uint8_t*>(from))); }
inline void store(uint64_t* to, Lanes x) { vst1q_u64(to, x); }
inline Lanes sum3(Lanes a, Lanes b, Lanes c) {
#if defined(__ARM_FEATURE_SHA3)
  return veor3q_u64(a, b, c);
#else
  return veorq_u64(veorq_u64(a, b), c);
#endif
}
// Where a and b differ, c decides.
inline Lanes majority(Lanes a, Lanes b, Lanes c) { return vbslq_u64(veorq_u64(a, b), c, a); }
// majority(~sum, limit, nearer): where sum and limit differ, the limit decides.
inline Lanes borrow(Lanes sum, Lanes limit, Lanes nearer) { return vbslq_u64(veorq_u64(sum, limit), limit, nearer); }
inline Lanes carry_beside(Lanes, Lanes a, Lanes b, Lanes c) { return majority(a, b, c); }
inline Lanes both(Lanes a, Lanes b) { return vandq_u64(a, b); }
inline bool any(Lanes x) { return vmaxvq_u32(vreinterpretq_u32_u64(x)) != 0; }
inline Lanes all_equal(uint64_t word) { return vdupq_n_u64(word); }

inline Lanes complement(Lanes x) { return vreinterpretq_u64_u8(vmvnq_u8(vreinterpretq_u8_u64(x))); }

// table[p] = majority of the three, each complemented where its bit of p is set.
inline void store_carries(Lanes a, Lanes b, Lanes c, Lanes* table) {
  const Lanes same_ab = complement(veorq_u64(a, b)), differ_ac = veorq_u64(a, c);
  const Lanes carries[4] = {majority(a, b, c), vbslq_u64(same_ab, c, b), vbslq_u64(same_ab, c, a),
                            vbslq_u64(differ_ac, a, b)};
  table[0] = carries[0], table[7] = complement(carries[0]);
  table[1] = carries[1], table[6] = complement(carries[1]);
  table[2] = carries[2], table[5] = complement(carries[2]);
  table[4] = carries[3], table[3] = complement(carries[3]);
}

#include "cpu/hamming_sliced.inl"

// One bit of each of 16 bytes, bit j of the result from byte j; `bit` holds that bit in every byte, `weight` 1 2 4 ..
// 128 twice.
inline uint16_t gather_bit(uint8x16_t bytes, uint8x16_t bit, uint8x16_t weight) {
  const uint8x16_t set = vandq_u8(vtstq_u8(bytes, bit), weight);
  return static_cast<uint16_t>(vaddv_u8(vget_low_u8(set)) | vaddv_u8(vget_high_u8(set)) << 8);
}

void slice_part(const uint64_t* tile, int words, int part, Lanes* slices) {
  static const uint8_t kWeights[16] = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
  const uint8x16_t weight = vld1q_u8(kWeights);
  for (int w = 0; w < words; ++w)
    for (int g = 0; g < kLaneCodes / 16; ++g) {
      const uint64_t* codes = tile + w * kTileStride + part * kLaneCodes + 16 * g;
      auto* to = reinterpret_cast<uint16_t*>(slices + 64 * w) + g;
      for (int b = 0; b < 8; ++b) {
        uint8_t column[16];
        for (int j = 0; j < 16; ++j) column[j] = static_cast<uint8_t>(codes[j] >> (8 * b));
        const uint8x16_t bytes = vld1q_u8(column);
        for (int s = 0; s < 8; ++s) {
          const uint16_t bits = gather_bit(bytes, vdupq_n_u8(static_cast<uint8_t>(1 << s)), weight);
          __builtin_memcpy(to + (8 * b + s) * (sizeof(Lanes) / 2), &bits, sizeof bits);
        }
      }
    }
}

}  // namespace

const uint64_t* load_sliced_neon(const uint8_t* codes, int64_t count, int64_t bytes, uint64_t* scratch) {
  return load_parts(codes, count, bytes, scratch);
}

int64_t scan_sliced_neon(const QueryGroup& queries, const Block& block, uint16_t* near, uint64_t* masks) {
  return scan_sliced(queries, block, near, masks);
}

}  // namespace fasthash
