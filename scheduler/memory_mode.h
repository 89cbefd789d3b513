// What a request that named a limit is promised when it starts.
#pragma once

namespace longspan {

enum class MemoryMode {
  kNoEvict,  // all that it can ever need: once it has started it goes on to its end
  kUtilize,  // its prompt and a part of its answer: more run at once, and some begin again
};

}  // namespace longspan
