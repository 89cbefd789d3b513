// Functions of the driver, found at run time: the program starts without one.
#pragma once

#include <cuda.h>

namespace longspan {

/// Throws DeviceError where the driver has no function of that name.
void* find_driver_function(const char* name);

template <typename Function>
Function find_in_driver(const char* name) {
  return reinterpret_cast<Function>(find_driver_function(name));
}

/// Throws DeviceError that says what was attempted.
void driver_check(CUresult code, const char* attempt);

}  // namespace longspan
