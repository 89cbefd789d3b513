// A library that is looked for when it is first needed: the program starts, and computes on CPUs,
// where there is none.
#pragma once

#include <initializer_list>
#include <string>

namespace longspan {

class SharedLibrary {
 public:
  /// The first of `names` (or paths) that can be loaded. Throws DeviceError with the loader's
  /// reason and `remedy`: what to install.
  SharedLibrary(std::initializer_list<std::string> names, const std::string& remedy);

  /// The function called `symbol`, whose type is the caller's word. Throws DeviceError.
  template <typename Function>
  Function function(const char* symbol) const {
    return reinterpret_cast<Function>(address(symbol));
  }
  const std::string& name() const { return name_; }

 private:
  void* address(const char* symbol) const;

  std::string name_;
  void* handle_ = nullptr;  // never closed: libraries of this kind keep threads and handlers
};

}  // namespace longspan
