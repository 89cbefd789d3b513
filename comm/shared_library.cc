#include "comm/shared_library.h"

#include <dlfcn.h>

#include "comm/error.h"
#include "comm/str.h"

namespace longspan {

SharedLibrary::SharedLibrary(std::initializer_list<std::string> names, const std::string& remedy) {
  std::string reasons;
  for (const std::string& name : names) {
    name_ = name;
    handle_ = dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (handle_ != nullptr) return;
    reasons += str("{}{}", reasons.empty() ? "" : "; ", dlerror());
  }
  throw DeviceError(str("cannot load {} ({}): {}", *names.begin(), reasons, remedy));
}

void* SharedLibrary::address(const char* symbol) const {
  void* const found = dlsym(handle_, symbol);
  if (found == nullptr) {
    throw DeviceError(
        str("{} has no {}: it is of another version than this build expects", name_, symbol));
  }
  return found;
}

}  // namespace longspan
