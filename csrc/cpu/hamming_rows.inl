// Distances of single row-major codes. Included once for each instruction set, inside its namespace and after its
// count_bits(uint64_t).

// kBytes 0: the length is known at run time only.
template <int kBytes>
inline uint64_t row_distance(const uint64_t* query, const uint8_t* code, int64_t length) {
  const int64_t bytes = kBytes ? kBytes : length;
  uint64_t sum = 0;
  for (int64_t w = 0; w < bytes / 8; ++w) sum += count_bits(query[w] ^ load_word(code + 8 * w));
  if (bytes % 8 != 0) sum += count_bits(query[bytes / 8] ^ load_tail(code, bytes, static_cast<int>(bytes % 8)));
  return sum;
}

// The keys of those of up to 64 rows that `mask` names; first: position of the first row.
template <int kBytes>
inline int keys_of(const uint64_t* query, const uint8_t* rows, int64_t bytes, uint64_t mask, int64_t first,
                   uint64_t* keys) {
  int found = 0;
  for (; mask != 0; mask &= mask - 1) {
    const int64_t j = __builtin_ctzll(mask);
    keys[found++] = key_of(row_distance<kBytes>(query, rows + j * bytes, bytes), first + j);
  }
  return found;
}

// Up to 64 rows, one after the other; bit j: row j is allowed and nearer than the limit.
template <int kBytes>
inline uint64_t near_rows(const uint64_t* query, const uint8_t* rows, int64_t count, int64_t bytes, uint64_t allowed,
                          int limit) {
  uint64_t near = 0;
  for (int64_t j = 0; j < count; ++j)
    near |= static_cast<uint64_t>(row_distance<kBytes>(query, rows + j * bytes, bytes) < static_cast<uint64_t>(limit))
            << j;
  return near & allowed;
}
