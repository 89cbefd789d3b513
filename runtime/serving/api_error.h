// Why a request is not answered, as a client of OpenAI's API reads it.
//
// A request that is refused is no failure of ours: the message is for the person who wrote the
// request, and says what is legal and what to do.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <stdexcept>
#include <string>

namespace longspan {

struct ApiError {
  int status = 400;  // of HTTP
  std::string type = "invalid_request_error";
  std::string code = "invalid_value";
  std::string message;
  std::string param;  // the field that is wrong; empty: no single one is
  bool retriable = false;
};

/// Ends the reading of one request, and nothing else.
class ApiRefusal : public std::runtime_error {
 public:
  explicit ApiRefusal(ApiError error)
      : std::runtime_error(error.message), error_(std::move(error)) {}
  const ApiError& error() const { return error_; }

 private:
  ApiError error_;
};

/// What is wrong with a field's value.
ApiRefusal invalid_value(const std::string& param, const std::string& message);
/// A field that is understood and not done: it is never half honoured.
ApiRefusal unsupported_parameter(const std::string& param, const std::string& message);

/// {"message", "type", "param", "code", "request_id", "retriable"}; a param or request id that is
/// empty is null.
nlohmann::ordered_json error_object(const ApiError& error, const std::string& request_id);

}  // namespace longspan
