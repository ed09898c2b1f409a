// A first limit for each query of a top-k, guessed from a sample: without one a query accepts k (1 + ln(nb / k)) codes
// on its way, and from some hundreds of them on that costs more than the scan.
#pragma once

#include <vector>

#include "hamming.h"

namespace fasthash {

// Whether the guess repays its cost.
bool guess_pays(const HammingSearch& search, int64_t k);

// limits: [nq], at most those of the search. A limit leaves k codes nearer than itself almost surely; whoever uses it
// checks that it did. Memory: 16 MiB, and 4 bytes a query.
// False: interrupted.
bool guess_limits(const HammingSearch& search, int64_t k, std::vector<int32_t>& limits);

}  // namespace fasthash
