// libtorch's operators, looked up once, with what their schemas say about each argument.
#pragma once

#include <ATen/core/dispatch/Dispatcher.h>
#include <node_api.h>

#include <deque>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

namespace tierra {

enum class Kind { tensor, integer, floating, boolean, scalar, device, string, generator, unsupported };

struct Parameter {
  std::string name;
  // The schema's own words, for messages: "Tensor?", "int[2]".
  std::string type;
  Kind kind = Kind::unsupported;
  bool optional = false;
  bool list = false;
  bool elementOptional = false;
  // A list of fixed size also takes one value for all its places.
  size_t fixedSize = 0;
  // False for views, which need no bytes of what they look at.
  bool needsBytes = true;
  std::optional<c10::IValue> defaultValue;
};

struct Operator {
  c10::OperatorHandle handle;
  std::string name;
  std::vector<Parameter> parameters;
};

class OperatorTable {
 public:
  double find(const std::string& name, const std::string& overload);
  const Operator& get(double id) const;

 private:
  std::deque<Operator> operators_;
  std::unordered_map<std::string, size_t> byName_;
};

// One argument as libtorch takes it. `value` is not undefined.
c10::IValue toIValue(napi_env env, const Operator& op, const Parameter& parameter, napi_value value);
// What an operator left on the stack, as JavaScript sees it: one value plain, several as an array. Tensors become
// handles; none does when any value cannot be passed.
napi_value toResult(napi_env env, const Operator& op, const torch::jit::Stack& stack);

void registerOperators(napi_env env, napi_value exports);

}  // namespace tierra
