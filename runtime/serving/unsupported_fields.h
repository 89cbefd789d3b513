// Fields of OpenAI's API and of vLLM's that are understood and not done: refused, unless they say
// what is done anyway. Half honoured, they would give answers that look right.
#pragma once

#include "runtime/serving/openai_request.h"
#include "runtime/serving/request_fields.h"

namespace longspan {

/// Throws ApiRefusal for the first one that would change the answer; the others, and those that
/// never change one, count as known.
void refuse_unsupported(RequestFields& fields, Endpoint endpoint);

}  // namespace longspan
