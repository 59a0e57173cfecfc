#include "placement/rules.h"

namespace quorate::placement {

namespace {

using Messages = google::protobuf::RepeatedPtrField<v1::PlacementLabel>;

Labels LabelsOf(const Messages& messages) {
  Labels labels;
  for (const v1::PlacementLabel& label : messages) labels.emplace_back(label.name(), label.value());
  return labels;
}

void Fill(const Labels& labels, Messages* messages) {
  for (const auto& [name, value] : labels) {
    v1::PlacementLabel* label = messages->Add();
    label->set_name(name);
    label->set_value(value);
  }
}

}  // namespace

Rule RuleOf(const v1::PlacementRule& rule) {
  return {rule.from(),
          rule.to(),
          rule.replicas(),
          LabelsOf(rule.require()),
          LabelsOf(rule.prefer()),
          LabelsOf(rule.leaders())};
}

v1::PlacementRule ToProto(const Rule& rule) {
  v1::PlacementRule message;
  message.set_from(rule.from);
  message.set_to(rule.to);
  message.set_replicas(rule.replicas);
  Fill(rule.require, message.mutable_require());
  Fill(rule.prefer, message.mutable_prefer());
  Fill(rule.leaders, message.mutable_leaders());
  return message;
}

}  // namespace quorate::placement
