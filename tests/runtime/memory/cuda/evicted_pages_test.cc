#include "tests/comm/cuda/cuda_backend.h"
#include "tests/runtime/memory/evicted_pages_conformance.h"

namespace longspan::test {
namespace {

INSTANTIATE_TEST_SUITE_P(Cuda, EvictedPagesConformance, testing::Values(cuda_backend()));

}  // namespace
}  // namespace longspan::test
