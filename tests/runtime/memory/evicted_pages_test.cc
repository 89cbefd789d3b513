#include "tests/comm/cpu/cpu_backend.h"
#include "tests/runtime/memory/evicted_pages_conformance.h"

namespace longspan::test {
namespace {

INSTANTIATE_TEST_SUITE_P(Cpu, EvictedPagesConformance, testing::Values(cpu_backend()));

}  // namespace
}  // namespace longspan::test
