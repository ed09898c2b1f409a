// Runs work on the threads that the process already has.
#pragma once

#include <functional>

namespace fasthash {

// Calls work(0) .. work(k - 1) at the same time and waits for all, k from 1 to threads: fewer when there are no more
// threads to be had, so work must be taken from a common counter. work must not throw.
//
// Where an OpenMP runtime is loaded, as torch does, its pool is used: torch's workers spin for milliseconds after each
// of its operations, and threads of our own would have to share the cores with them.
void run_on_threads(int threads, const std::function<void(int)>& work);

}  // namespace fasthash
