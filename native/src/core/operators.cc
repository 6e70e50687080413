#include "core/operators.h"

#include "core/error.h"

namespace tierra {

namespace {

Kind kindOf(const c10::Type& type) {
  switch (type.kind()) {
    case c10::TypeKind::TensorType:
      return Kind::tensor;
    case c10::TypeKind::IntType:
    case c10::TypeKind::SymIntType:
    case c10::TypeKind::ScalarTypeType:
    case c10::TypeKind::LayoutType:
    case c10::TypeKind::MemoryFormatType:
      return Kind::integer;
    case c10::TypeKind::FloatType:
    case c10::TypeKind::SymFloatType:
      return Kind::floating;
    case c10::TypeKind::BoolType:
    case c10::TypeKind::SymBoolType:
      return Kind::boolean;
    case c10::TypeKind::NumberType:
      return Kind::scalar;
    case c10::TypeKind::DeviceObjType:
      return Kind::device;
    case c10::TypeKind::StringType:
      return Kind::string;
    case c10::TypeKind::GeneratorType:
      return Kind::generator;
    default:
      return Kind::unsupported;
  }
}

c10::TypePtr withoutOptional(const c10::TypePtr& type, bool& optional) {
  optional = type->kind() == c10::TypeKind::OptionalType;
  return optional ? type->castRaw<c10::OptionalType>()->getElementType() : type;
}

std::string typeText(const c10::Argument& argument) {
  std::string text = argument.real_type()->str();
  if (!argument.N().has_value()) return text;
  const size_t at = text.rfind("[]");
  return at == std::string::npos ? text : text.insert(at + 1, std::to_string(*argument.N()));
}

Parameter parameterOf(const c10::Argument& argument) {
  Parameter out;
  out.name = argument.name();
  out.type = typeText(argument);
  c10::TypePtr type = withoutOptional(argument.real_type(), out.optional);
  if (type->kind() == c10::TypeKind::ListType) {
    out.list = true;
    type = withoutOptional(type->castRaw<c10::ListType>()->getElementType(), out.elementOptional);
    out.fixedSize = static_cast<size_t>(argument.N().value_or(0));
  }
  out.kind = kindOf(*type);
  out.needsBytes = argument.alias_info() == nullptr || argument.alias_info()->isWrite();
  out.defaultValue = argument.default_value();
  return out;
}

}  // namespace

double OperatorTable::find(const std::string& name, const std::string& overload) {
  const std::string full = overload.empty() ? name : name + "." + overload;
  const auto known = byName_.find(full);
  if (known != byName_.end()) return static_cast<double>(known->second);
  const auto handle = c10::Dispatcher::singleton().findSchema({name, overload});
  if (!handle.has_value()) {
    fail("E_OPERATOR", "libtorch " TIERRA_TORCH_VERSION " has no operator " + full,
         "Check the name and the overload against listOperators().", {{"operator", full}});
  }
  Operator op{*handle, full, {}};
  for (const c10::Argument& argument : handle->schema().arguments()) op.parameters.push_back(parameterOf(argument));
  operators_.push_back(std::move(op));
  byName_.emplace(full, operators_.size() - 1);
  return static_cast<double>(operators_.size() - 1);
}

const Operator& OperatorTable::get(double id) const {
  if (!(id >= 0 && id < static_cast<double>(operators_.size()))) {
    fail("E_OPERATOR", "no operator was looked up under this id", "Ids come from findOperator().", {{"id", id}});
  }
  return operators_[static_cast<size_t>(id)];
}

}  // namespace tierra
