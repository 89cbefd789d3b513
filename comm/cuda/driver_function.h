// Functions of the driver, found at run time: the program starts without one.
#pragma once

#include <cuda.h>

namespace longspan {

/// `since`: the version of CUDA that has it, as 1000 x major + 10 x minor. Throws DeviceError where
/// the driver has no function of that name.
void* find_driver_function(const char* name, unsigned since);

template <typename Function>
Function find_in_driver(const char* name, unsigned since = 11070) {
  return reinterpret_cast<Function>(find_driver_function(name, since));
}

/// Throws DeviceError that says what was attempted.
void driver_check(CUresult code, const char* attempt);

}  // namespace longspan
