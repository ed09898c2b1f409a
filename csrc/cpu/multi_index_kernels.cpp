#include "cpu/multi_index_kernels.h"

namespace fasthash {

const BucketKernels& bucket_kernels(Isa isa) {
#if defined(__x86_64__)
  if (isa == Isa::kAvx512) return kBucketsAvx512;
  if (isa == Isa::kAvx2) return kBucketsAvx2;
#endif
  (void)isa;
  return kBucketsScalar;
}

}  // namespace fasthash
