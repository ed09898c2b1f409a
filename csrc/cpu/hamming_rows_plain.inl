// The rows kernel and the decoding of hits without vectors. Included after hamming_rows.inl.

template <int kBytes>
int keys_one_by_one(const uint64_t* query, const Block& block, const uint64_t* mask, int64_t first, uint64_t* keys) {
  int found = 0;
  for (int w = 0; w < kMaskWords; ++w)
    found +=
        keys_of<kBytes>(query, block.codes + 64 * w * block.bytes, block.bytes, mask[w], first + 64 * w, keys + found);
  return found;
}

inline int keys_of_block(const uint64_t* query, const Block& block, const uint64_t* mask, int64_t first,
                         uint64_t* keys) {
  switch (block.bytes) {
    case 8:
      return keys_one_by_one<8>(query, block, mask, first, keys);
    case 16:
      return keys_one_by_one<16>(query, block, mask, first, keys);
    case 32:
      return keys_one_by_one<32>(query, block, mask, first, keys);
    default:
      return keys_one_by_one<0>(query, block, mask, first, keys);
  }
}

// near_rows over a whole block.
template <int kBytes>
bool near_block_by_rows(const uint64_t* query, const Block& block, int limit, uint64_t* mask) {
  uint64_t found[kMaskWords], any = 0;
  for (int w = 0; w < kMaskWords; ++w) {
    const int64_t left = block.count - 64 * w;
    found[w] = block.allow[w] == 0 ? 0
                                   : near_rows<kBytes>(query, block.codes + 64 * w * block.bytes, left < 64 ? left : 64,
                                                       block.bytes, block.allow[w], limit);
    any |= found[w];
  }
  if (any != 0) __builtin_memcpy(mask, found, sizeof found);
  return any != 0;
}

inline int64_t scan_by_rows(const QueryGroup& queries, const Block& block, uint16_t* near, uint64_t* masks) {
  const auto kernel = block.bytes == 8    ? near_block_by_rows<8>
                      : block.bytes == 16 ? near_block_by_rows<16>
                      : block.bytes == 32 ? near_block_by_rows<32>
                      : block.bytes == 64 ? near_block_by_rows<64>
                                          : near_block_by_rows<0>;
  return scan_queries(queries, block, near, masks, [&](const uint64_t* query, int limit, uint64_t* mask) {
    return kernel(query, block, limit, mask);
  });
}
