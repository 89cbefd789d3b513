#include "comm/cpu/cpu_device.h"
#include "tests/attention/kernels_conformance.h"

namespace longspan::test {

INSTANTIATE_TEST_SUITE_P(Cpu, MergeConformance,
                         testing::Values(KernelsBackend{
                             "Cpu", [] { return std::make_unique<CpuDevice>(1); },
                             [](Device&, const HeadShape& shape, float scale) {
                               return new_cpu_attention_kernels(shape, scale);
                             }}),
                         backend_name);

}  // namespace longspan::test
