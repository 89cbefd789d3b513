// Whether what is sent between the GPUs of a host arrives, and how fast: drivers, containers and
// switches differ in what they let CUDA IPC do.
#pragma once

#include <string>

#include "comm/communicator.h"
#include "comm/cuda/cuda_device.h"

namespace longspan {

/// Sends messages of all sizes that matter between all pairs of ranks, and looks at them. Every
/// rank calls it. Returns a line for a log: what a link carries. Throws CommError where something
/// else arrived, and what exchanges throw.
std::string try_out(Communicator& peers, CudaDevice& gpu);

}  // namespace longspan
