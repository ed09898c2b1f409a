// The threads of a search or an evaluation.
#pragma once

#include <cstdint>
#include <functional>

namespace fasthash {

// Calls work(true) on the calling thread and work(false) on up to threads - 1 others, fewer when there are no more to
// be had, so work must be taken from a common counter. While it waits for the others it calls while_waiting every 100
// ms: they may be inside long items when the calling thread runs out of work. Rethrows what was thrown first.
void run_team(int64_t threads, const std::function<void(bool calling)>& work,
              const std::function<void()>& while_waiting);

}  // namespace fasthash
