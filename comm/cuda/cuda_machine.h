// The machine of a rank that computes on a GPU: the host's machine, with the GPU for its device and
// NCCL or the memory of peers between the GPUs. Control messages go as before.
#pragma once

#include <memory>

#include "comm/machine.h"

namespace longspan {

/// Sets, where nobody has, what CUDA and NCCL read when they start. Before either is first called.
void prepare_cuda_environment();

/// Every rank calls this alike with its own `host`. A rank takes the GPU of its place among the
/// host's ranks, counted round the GPUs it sees. Throws, on all ranks alike, DeviceError where a
/// rank sees no GPU, two ranks would share one and NCCL is to link them, or the driver is too old.
/// Where peers cannot be linked by their memory, NCCL links them, and a line in the log says why.
/// If `options` name no backend, a job whose ranks all see no GPU gets `host` back.
std::unique_ptr<Machine> open_cuda_machine(std::unique_ptr<Machine> host,
                                           const MachineOptions& options);

}  // namespace longspan
