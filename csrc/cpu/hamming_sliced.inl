// Tables, lookups and comparison of the sliced kernel. Included once for each instruction set, inside its namespace and
// after: Lanes, load, store, sum3, carry_beside, borrow, both, any, all_equal, store_carries.

constexpr int kLaneCodes = 8 * sizeof(Lanes);
constexpr int kParts = kTileCodes / kLaneCodes;  // a block is as many vectors of codes
constexpr int kPartWords = kLaneCodes / 64;
constexpr int kPatternStep = sizeof(Lanes) / kPatternScale;

inline int64_t part_tables(int64_t bytes) { return sliced_tables(bytes) * kPatterns; }  // vectors

// Adds n slices up, overwriting them, and writes the table of every carry and of the two sums left over.
inline void build_tables(Lanes* slices, int64_t n, Lanes* tables) {
  while (n > 2) {
    int64_t sums = 0, b = 0;
    for (; b + 3 <= n; b += 3) {
      const Lanes x = slices[b], y = slices[b + 1], z = slices[b + 2];
      store_carries(x, y, z, tables);
      tables += kPatterns;
      slices[sums++] = sum3(x, y, z);
    }
    for (; b < n; ++b) slices[sums++] = slices[b];
    n = sums;
  }
  store_carries(slices[0], slices[1], Lanes{}, tables);
}

// Walks the tables of a part in order, taking each time the vector of the query's pattern.
struct Lookups {
  const uint8_t* table;
  const uint8_t* pattern;
  Lanes next() {
    const Lanes found = load(table + kPatternStep * static_cast<int64_t>(*pattern));
    table += kPatterns * sizeof(Lanes);
    ++pattern;
    return found;
  }
};

// (low, carry) = low + x + carry
inline void add_carry(Lanes& low, Lanes x, Lanes& carry) {
  const Lanes sum = sum3(low, x, carry);
  carry = carry_beside(sum, low, x, carry);
  low = sum;
}

// Sum of the next 2^kBits - 1 carries; the fewest additions there are, and few values alive at once.
template <int kBits>
struct Sum {
  [[gnu::always_inline]] static inline void of(Lookups& lookups, Lanes* sum) {
    Lanes other[kBits - 1];
    Sum<kBits - 1>::of(lookups, sum);
    Sum<kBits - 1>::of(lookups, other);
    Lanes carry = lookups.next();
    for (int i = 0; i < kBits - 1; ++i) add_carry(sum[i], other[i], carry);
    sum[kBits - 1] = carry;
  }
};
template <>
struct Sum<1> {
  [[gnu::always_inline]] static inline void of(Lookups& lookups, Lanes* sum) { sum[0] = lookups.next(); }
};

// limit: words of equal bits. The lookups stand at the last table.
[[gnu::always_inline]] inline Lanes compare(const Lanes* sum, int bits, const uint64_t* limit, Lookups& lookups) {
  Lanes nearer = lookups.next();
  for (int i = 0; i < bits; ++i) nearer = borrow(sum[i], all_equal(limit[i]), nearer);
  return nearer;
}

// Codes of 2^(kBits - 2) bytes.
template <int kBits>
struct ExactLength {
  [[gnu::always_inline]] static inline Lanes nearer(Lookups lookups, const uint64_t* limit, int64_t) {
    Lanes sum[kBits];
    Sum<kBits>::of(lookups, sum);
    return compare(sum, kBits, limit, lookups);
  }
};

// sum += the next 2^kBits carries
template <int kBits>
inline void add_next(Lookups& lookups, Lanes* sum, int bits) {
  Lanes other[kBits];
  Sum<kBits>::of(lookups, other);
  Lanes carry = lookups.next();
  for (int i = 0; i < kBits; ++i) add_carry(sum[i], other[i], carry);
  for (int i = kBits; i < bits; ++i) {
    const Lanes low = sum[i];
    sum[i] = low ^ carry;
    carry = both(low, carry);
  }
}

// Any other length: 64 bits at a time, then what is left by halves.
struct AnyLength {
  static inline Lanes nearer(Lookups lookups, const uint64_t* limit, int64_t bytes) {
    const int bits = sliced_count_bits(bytes);
    Lanes sum[kMaxCountBits] = {};
    int64_t left = bytes;
    if (bytes >= 8) {
      Sum<5>::of(lookups, sum);
      for (left -= 8; left >= 8; left -= 8) add_next<5>(lookups, sum, bits);
      if (left & 4) add_next<4>(lookups, sum, bits);
      if (left & 2) add_next<3>(lookups, sum, bits);
      if (left & 1) add_next<2>(lookups, sum, bits);
    } else if (bytes >= 4) {
      Sum<4>::of(lookups, sum);
      if (left & 2) add_next<3>(lookups, sum, bits);
      if (left & 1) add_next<2>(lookups, sum, bits);
    } else {
      Sum<3>::of(lookups, sum);  // 2 or 3 bytes: a single one is of exact length
      if (left & 1) add_next<2>(lookups, sum, bits);
    }
    return compare(sum, bits, limit, lookups);
  }
};

template <typename Length>
int64_t scan_length(const QueryGroup& queries, const Block& block, uint16_t* near, uint64_t* masks) {
  const int64_t bytes = block.bytes, query_bytes = sliced_query_bytes(bytes), bits_at = sliced_bits_at(bytes);
  int64_t found = 0;
  for (int part = 0; part < kParts; ++part) {
    const Lanes allow = load(block.allow + part * kPartWords);
    if (!any(allow)) continue;
    const auto* tables = reinterpret_cast<const uint8_t*>(block.loaded) + part * part_tables(bytes) * sizeof(Lanes);
    for (int64_t q = 0; q < queries.n; ++q) {
      const uint8_t* prepared = queries.prepared + q * query_bytes;
      const auto* limit = reinterpret_cast<const uint64_t*>(prepared + bits_at);
      if (part == 0) fetch_next(block, q, queries.n);
      if (queries.limits[q] <= 0) continue;
      Lanes mask = allow;
      if (queries.limits[q] <= 8 * bytes) mask = both(mask, Length::nearer({tables, prepared}, limit, bytes));
      if (!any(mask)) continue;
      uint64_t* to = masks + found * kMaskWords;
      __builtin_memset(to, 0, sizeof(uint64_t) * kMaskWords);
      store(to + part * kPartWords, mask);
      near[found++] = static_cast<uint16_t>(q);
    }
  }
  return found;
}

inline int64_t scan_sliced(const QueryGroup& queries, const Block& block, uint16_t* near, uint64_t* masks) {
  switch (block.bytes) {
    case 1:
      return scan_length<ExactLength<2>>(queries, block, near, masks);
    case 4:
      return scan_length<ExactLength<4>>(queries, block, near, masks);
    case 8:
      return scan_length<ExactLength<5>>(queries, block, near, masks);
    case 16:
      return scan_length<ExactLength<6>>(queries, block, near, masks);
    case 32:
      return scan_length<ExactLength<7>>(queries, block, near, masks);
    case 64:
      return scan_length<ExactLength<8>>(queries, block, near, masks);
    default:
      return scan_length<AnyLength>(queries, block, near, masks);
  }
}

// Where the parts of a block's scratch memory begin: tables, then the slices of a part, then a tile.
struct Scratch {
  Lanes* tables;
  Lanes* slices;
  uint64_t* tile;
};
inline Scratch scratch_of(uint64_t* scratch, int64_t bytes) {
  auto* tables = reinterpret_cast<Lanes*>(scratch);
  Lanes* slices = tables + kParts * part_tables(bytes);
  return {tables, slices, scratch + kTileCodes / 64 * (part_tables(bytes) + 64 * words_of(bytes))};
}

// slices[b] = bit b of the codes of one part of a word-major tile; each instruction set has its own.
void slice_part(const uint64_t* tile, int words, int part, Lanes* slices);

[[maybe_unused]] const uint64_t* load_parts(const uint8_t* codes, int64_t count, int64_t bytes, uint64_t* scratch) {
  const Scratch memory = scratch_of(scratch, bytes);
  load_tile(codes, count, bytes, memory.tile);
  for (int part = 0; part < kParts; ++part) {
    slice_part(memory.tile, words_of(bytes), part, memory.slices);
    build_tables(memory.slices, 8 * bytes, memory.tables + part * part_tables(bytes));
  }
  return scratch;
}
